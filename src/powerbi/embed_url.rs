//! Which embed URLs may go to a page.
//!
//! The page puts the URL into an iframe and hands that frame the embed token, so a URL on a foreign host would leak
//! it. The rules are those of powerbi-client's own `util.ts`: https (or plain http to this machine, for the sandbox),
//! a host on the list, and no `autoAuth`.

use url::{Host, Url};

use crate::config;

/// Whether `url` may be passed on. `hosts` are exact names, `*.` and a domain for any name below it, or either with a
/// `:port`; without one the URL must not name one either.
pub(super) fn is_allowed(url: &str, hosts: &[String]) -> bool {
    // The URL parser forgives tabs, line ends and backslashes; a browser's may read them differently.
    let plain = !url
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '\\');
    let Ok(parsed) = Url::parse(url) else {
        return false;
    };
    plain
        && config::secure_or_loopback(&parsed)
        && parsed.username().is_empty()
        && parsed.password().is_none()
        && !parsed.query_pairs().any(|(key, value)| {
            format!("{key}={value}")
                .to_ascii_lowercase()
                .contains("autoauth=true")
        })
        && hosts.iter().any(|pattern| fits(&parsed, pattern))
}

fn fits(url: &Url, pattern: &str) -> bool {
    let (pattern, port) = match pattern.rsplit_once(':') {
        // `[::1]` ends with a bracket, so the last colon of a bare IPv6 address is not taken for a port's.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (pattern, None),
    };
    let right_port = match port {
        Some(port) => url.port_or_known_default() == Some(port),
        None => url.port().is_none(),
    };
    let right_host = match (url.host(), pattern.strip_prefix("*.")) {
        (Some(Host::Domain(name)), Some(domain)) => name
            .to_ascii_lowercase()
            .strip_suffix(&domain.to_ascii_lowercase())
            .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        (Some(host), None) => host.to_string().eq_ignore_ascii_case(pattern),
        (Some(Host::Ipv4(_) | Host::Ipv6(_)), Some(_)) | (None, _) => false,
    };
    right_port && right_host
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn only_listed_hosts_over_https_pass() {
        let hosts: Vec<String> = [
            "*.powerbi.com",
            "app.powerbi.cn",
            "localhost:8090",
            "[::1]:9",
        ]
        .map(Into::into)
        .into();
        for (url, allowed) in [
            (
                "https://app.powerbi.com/reportEmbed?reportId=r&groupId=g&config=eyJ",
                true,
            ),
            ("https://a.b.powerbi.com/", true),
            ("https://APP.powerbi.COM/", true),
            ("https://app.powerbi.com:443/", true),
            ("https://app.powerbi.cn/rdlEmbed?x=1", true),
            ("http://localhost:8090/embed", true),
            ("https://localhost:8090/embed", true),
            ("http://[::1]:9/embed", true),
            ("https://powerbi.com/", false),
            ("https://.powerbi.com/", false),
            ("https://evilpowerbi.com/", false),
            ("https://app.powerbi.com.evil.example/", false),
            ("https://app.powerbi.com@evil.example/", false),
            ("https://user@app.powerbi.com/", false),
            ("https://:secret@app.powerbi.com/", false),
            ("https://evil.example/?x=app.powerbi.com", false),
            ("https://evil.example\\.powerbi.com/", false),
            ("https://app.powerbi.com\\@evil.example/", false),
            ("https://app.power\tbi.com/", false),
            ("https://app.powerbi.com./", false),
            ("https://app.powerbi.com:8443/", false),
            ("https://www.app.powerbi.cn/", false),
            ("http://app.powerbi.com/", false),
            ("http://localhost/embed", false),
            ("http://localhost:8091/embed", false),
            ("https://app.powerbi.com/?autoAuth=true", false),
            ("https://app.powerbi.com/?a=1&AUTOAUTH=true", false),
            ("https://app.powerbi.com/?auto%41uth=true", false),
            ("https://app.powerbi.com/?x=autoAuth%3Dtrue", false),
            ("https://app.powerbi.com/?autoAuth=false", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("//app.powerbi.com/", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(url, &hosts), allowed, "{url}");
        }
    }
}
