//! One issuer's key set over the network: OIDC discovery, then the keys.
//!
//! Trust rests on TLS and on the configured issuer alone. The discovery document must name exactly that issuer, and keys
//! on the issuer's own host, by the same scheme: a document that somebody has changed must lead the broker neither to keys
//! of theirs nor to an address inside the network. The port may differ, since a certificate speaks for a host whatever the
//! port. An issuer whose keys are on another host, as Google's are, needs `jwks_uri` in the configuration. Redirects are
//! not followed, and bodies are read up to [`MAX_BODY`].

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::keys::KeySet;
use crate::config::secure_or_loopback;
use crate::outbound::{BodyError, Outbound, read_capped};
use crate::shared_task::Aborted;

/// Largest discovery document or key set: Microsoft's, with all certificates, has some 30 KiB.
const MAX_BODY: usize = 100 * 1024;

/// Time for each of the two exchanges, so that both fit into a request's default time.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// As configured, possibly with `{tid}`.
    issuer: String,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// The discovery document's address.
    Discovery(Url),
    /// The key set's own address.
    Keys(Url),
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answers with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: {source}")]
    Body { url: String, source: BodyError },
    #[error("{url} is no OIDC discovery document")]
    NoDiscovery { url: String },
    #[error("{url} speaks for the issuer `{found}`, not for `{expected}`")]
    OtherIssuer {
        url: String,
        found: String,
        expected: String,
    },
    #[error("{url} gives an address of the keys (`jwks_uri`) that is not https")]
    InsecureKeys { url: String },
    #[error(
        "{url} says that the keys are on another host than the issuer: if the issuer publishes them there, set \
         `jwks_uri: {keys}`"
    )]
    OtherHost { url: String, keys: String },
    #[error("{url} is no JSON Web Key Set")]
    NoKeySet { url: String },
    #[error("the fetch was aborted")]
    Aborted(#[from] Aborted),
}

impl FetchError {
    /// For metric labels.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Body { .. } | Self::Aborted(_) => "transport",
            Self::Status { status, .. } if *status >= 500 => "server_error",
            Self::Status { .. } => "rejected",
            Self::NoDiscovery { .. }
            | Self::OtherIssuer { .. }
            | Self::InsecureKeys { .. }
            | Self::OtherHost { .. }
            | Self::NoKeySet { .. } => "malformed",
        }
    }

    /// What an operator should do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check DNS, firewall, proxy variables and tls.extra_ca_file from where the broker runs"
            }
            Self::Status { .. } | Self::NoDiscovery { .. } => {
                "check `issuer`, or set `jwks_uri` when the issuer has no OIDC discovery"
            }
            Self::OtherIssuer { .. } => {
                "write `issuer` exactly as the discovery document and the tokens do, the last slash included"
            }
            Self::InsecureKeys { .. } => "set `jwks_uri` to an https address of the keys",
            Self::OtherHost { .. } => {
                "look up in the issuer's documentation where it publishes its keys, and set `jwks_uri` to that address"
            }
            Self::Body { .. } | Self::NoKeySet { .. } => {
                "check that `jwks_uri` is the address of a JSON Web Key Set"
            }
            Self::Aborted(_) => "try again",
        }
    }
}

impl Location {
    /// Where the keys of `issuer` are; `Err` says what is wrong with the address.
    pub(super) fn new(issuer: &str, jwks_uri: Option<&Url>) -> Result<Self, &'static str> {
        let at = match jwks_uri {
            Some(url) => At::Keys(url.clone()),
            None => At::Discovery(
                discovery_url(issuer).ok_or("is no URL, so its keys cannot be discovered")?,
            ),
        };
        let (At::Discovery(url) | At::Keys(url)) = &at;
        if !secure_or_loopback(url) {
            return Err("is not https, and not on this machine");
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            at,
        })
    }

    /// Whether the keys are found by discovery.
    pub(super) fn by_discovery(&self) -> bool {
        matches!(self.at, At::Discovery(_))
    }

    /// Fetches the keys.
    pub(super) async fn fetch(&self, outbound: &Outbound) -> Result<KeySet, FetchError> {
        let url = match &self.at {
            At::Keys(url) => url.clone(),
            At::Discovery(url) => self.discover(url, outbound).await?,
        };
        let body = get(&url, outbound).await?;
        KeySet::parse(&body).map_err(|_| FetchError::NoKeySet { url: shown(&url) })
    }

    async fn discover(&self, discovery: &Url, outbound: &Outbound) -> Result<Url, FetchError> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: Url,
        }
        let body = get(discovery, outbound).await?;
        let url = shown(discovery);
        let Ok(document) = serde_json::from_slice::<Discovery>(&body) else {
            return Err(FetchError::NoDiscovery { url });
        };
        // Microsoft's multi-tenant document holds `{tenantid}` literally.
        let expected = self.issuer.replace("{tid}", "{tenantid}");
        if document.issuer != expected {
            let found = document.issuer.chars().take(200).collect();
            return Err(FetchError::OtherIssuer {
                url,
                found,
                expected,
            });
        }
        let keys = document.jwks_uri;
        if same_host(discovery, &keys) {
            Ok(keys)
        } else if keys.scheme() == "https" {
            let keys = complete(&keys);
            Err(FetchError::OtherHost { url, keys })
        } else {
            Err(FetchError::InsecureKeys { url })
        }
    }
}

/// Whether both URLs lead to the same host by the same scheme. A dot at the end of a name changes nothing.
fn same_host(one: &Url, other: &Url) -> bool {
    let place = |url: &Url| {
        let host = url.host_str()?;
        let host = host.strip_suffix('.').unwrap_or(host);
        Some((url.scheme().to_owned(), host.to_owned()))
    };
    matches!((place(one), place(other)), (Some(one), Some(other)) if one == other)
}

/// The address of OIDC discovery; that of Microsoft's `common` endpoint for a multi-tenant issuer.
fn discovery_url(issuer: &str) -> Option<Url> {
    let issuer = issuer.replace("{tid}", "common");
    let issuer = issuer.strip_suffix('/').unwrap_or(&issuer);
    Url::parse(&format!("{issuer}/.well-known/openid-configuration")).ok()
}

async fn get(url: &Url, outbound: &Outbound) -> Result<Bytes, FetchError> {
    let response = outbound
        .client(url)
        .get(url.clone())
        .header(http::header::ACCEPT, "application/json")
        .timeout(TIMEOUT)
        .send()
        .await
        .map_err(|error| FetchError::Unreachable {
            url: shown(url),
            reason: reason(&error.without_url()),
        })?;
    // A redirect is no success: whoever moved the keys has to say so in the configuration.
    if response.status() != http::StatusCode::OK {
        let status = response.status().as_u16();
        return Err(FetchError::Status {
            url: shown(url),
            status,
        });
    }
    read_capped(response, MAX_BODY)
        .await
        .map_err(|source| FetchError::Body {
            url: shown(url),
            source,
        })
}

/// An address without what might be secret in it.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// An address that somebody is to copy, out of a public document; without credentials, and of bounded length.
fn complete(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().chars().take(300).collect()
}

/// An error with its causes: "error sending request" alone helps nobody.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_securely_and_not_from_this_machine_on_a_stranger_s_word() {
        for (discovery, keys, allowed) in [
            ("https://login.example", "https://login.example/jwks", true),
            ("https://login.example", "https://LOGIN.example./jwks", true),
            ("https://login.example.", "https://login.example/jwks", true),
            (
                "https://login.example",
                "https://login.example:8443/jwks",
                true,
            ),
            ("http://localhost:1", "http://localhost:2/jwks", true),
            ("http://127.0.0.1:1", "http://127.1:2/jwks", true),
            ("https://[::1]", "https://[0:0::1]/jwks", true),
            ("https://login.example", "http://login.example/jwks", false),
            ("http://localhost:1", "https://localhost/jwks", false),
            ("https://login.example", "https://keys.example/jwks", false),
            (
                "https://login.example",
                "https://login.example.evil.example/jwks",
                false,
            ),
            (
                "https://login.example",
                "https://evil.example/login.example",
                false,
            ),
            (
                "https://login.example",
                "https://login.example@evil.example/jwks",
                false,
            ),
            (
                "https://login.example",
                "https://www.login.example/jwks",
                false,
            ),
            (
                "https://login.example",
                "https://login.example../jwks",
                false,
            ),
            ("https://login.example", "https://10.0.0.1/jwks", false),
            (
                "https://login.example",
                "https://169.254.169.254/latest",
                false,
            ),
            (
                "https://login.example",
                "http://127.0.0.1:9090/metrics",
                false,
            ),
            ("https://login.example", "https://localhost/jwks", false),
            ("https://login.example", "https://localhost./jwks", false),
            (
                "https://login.example",
                "https://[::ffff:127.0.0.1]/jwks",
                false,
            ),
            ("http://localhost:1", "http://127.0.0.1:2/jwks", false),
            ("https://login.example", "file:///etc/passwd", false),
            ("file:///a", "file:///b", false),
        ] {
            let (discovery, keys) = (Url::parse(discovery).unwrap(), Url::parse(keys).unwrap());
            assert_eq!(same_host(&discovery, &keys), allowed, "{discovery} {keys}");
        }
    }

    #[test]
    fn an_address_to_copy_is_complete_but_for_credentials() {
        let url = Url::parse("https://user:word@a.example:8443/keys?appid=7").unwrap();
        assert_eq!(complete(&url), "https://a.example:8443/keys?appid=7");
        let long = Url::parse(&format!("https://a.example/{}", "x".repeat(1_000))).unwrap();
        assert_eq!(complete(&long).len(), 300);
    }

    #[test]
    fn discovery_is_where_the_specification_puts_it() {
        for (issuer, expected) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/b/",
                "https://a.example/b/.well-known/openid-configuration",
            ),
            (
                "https://login.microsoftonline.com/{tid}/v2.0",
                "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(discovery_url(issuer).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn addresses_are_shown_without_what_might_be_secret() {
        let url = Url::parse("https://user:word@a.example:8443/jwks?code=planted#x").unwrap();
        assert_eq!(shown(&url), "https://a.example:8443/jwks");
    }
}
