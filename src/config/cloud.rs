//! The clouds in which Power BI lives, and the hosts of each.
//!
//! Source: "Embed a Power BI content in your application for government and national clouds" (Microsoft, 2024-03-07)
//! and the `CloudConfigs` of Microsoft's samples; embed hosts from powerbi-client's own allow-list (`util.ts`).

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// A cloud of Microsoft's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cloud {
    /// The public cloud.
    #[default]
    Public,
    /// US government community cloud.
    Gcc,
    /// US government community cloud, high.
    GccHigh,
    /// US Department of Defense.
    Dod,
    /// China, operated by 21Vianet.
    China,
}

/// The hosts of one cloud.
#[derive(Clone, Debug)]
pub struct CloudHosts {
    /// Entra authority, without the tenant.
    pub authority: Url,
    /// Scope of an app-only token for Power BI.
    pub scope: &'static str,
    /// Root of the Power BI REST API.
    pub api: Url,
    /// Hosts of embed URLs: exact names, or `*.` and a domain.
    pub embed_hosts: &'static [&'static str],
}

impl Cloud {
    /// The hosts of this cloud.
    #[must_use]
    pub fn hosts(self) -> CloudHosts {
        let (authority, scope, api, embed_hosts): (_, _, _, &'static [&'static str]) = match self {
            Self::Public => (
                "https://login.microsoftonline.com/",
                "https://analysis.windows.net/powerbi/api/.default",
                "https://api.powerbi.com/",
                &["*.powerbi.com", "*.fabric.microsoft.com"],
            ),
            Self::Gcc => (
                "https://login.microsoftonline.com/",
                "https://analysis.usgovcloudapi.net/powerbi/api/.default",
                "https://api.powerbigov.us/",
                &["app.powerbigov.us"],
            ),
            Self::GccHigh => (
                "https://login.microsoftonline.us/",
                "https://high.analysis.usgovcloudapi.net/powerbi/api/.default",
                "https://api.high.powerbigov.us/",
                &["app.high.powerbigov.us"],
            ),
            Self::Dod => (
                "https://login.microsoftonline.us/",
                "https://mil.analysis.usgovcloudapi.net/powerbi/api/.default",
                "https://api.mil.powerbigov.us/",
                &["app.mil.powerbigov.us"],
            ),
            Self::China => (
                "https://login.chinacloudapi.cn/",
                "https://analysis.chinacloudapi.cn/powerbi/api/.default",
                "https://api.powerbi.cn/",
                &["app.powerbi.cn"],
            ),
        };
        CloudHosts {
            authority: constant(authority),
            scope,
            api: constant(api),
            embed_hosts,
        }
    }
}

fn constant(url: &'static str) -> Url {
    #[expect(
        clippy::expect_used,
        reason = "the table above is constant and a unit test parses every row"
    )]
    Url::parse(url).expect("constant URL")
}

#[cfg(test)]
mod tests {
    use super::Cloud;

    #[test]
    fn every_cloud_has_parsable_hosts() {
        for cloud in [
            Cloud::Public,
            Cloud::Gcc,
            Cloud::GccHigh,
            Cloud::Dod,
            Cloud::China,
        ] {
            let hosts = cloud.hosts();
            assert_eq!(hosts.authority.scheme(), "https");
            assert_eq!(hosts.api.scheme(), "https");
            assert!(hosts.scope.ends_with("/.default"));
            assert!(!hosts.embed_hosts.is_empty());
        }
    }
}
