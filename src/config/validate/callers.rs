//! How callers sign in: where their tokens stand, and who issues them.

use std::collections::HashSet;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use url::Url;

use super::{Report, secure_or_loopback};
use crate::config::{Config, Issuer, Tenants};
use crate::guid::is_guid;

/// RFC 7518 asks for a key at least as long as the hash; RFC 8725 warns of secrets that can be guessed.
const MIN_HMAC_BYTES: usize = 32;

/// Signature algorithms an issuer may list.
const ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
];

pub(super) fn credentials_of_callers(config: &Config, report: &mut Report<'_>) {
    let authn = &config.authn;
    report.unless(
        authn.leeway <= Duration::from_secs(5 * 60),
        "authn.leeway",
        "is over five minutes",
        "forgive clock differences of seconds, such as 30s",
    );
    if let Some(name) = &authn.token_header {
        let valid = name
            .parse::<http::HeaderName>()
            .is_ok_and(|name| name != http::header::AUTHORIZATION && name != http::header::COOKIE);
        report.unless(
            valid,
            "authn.token_header",
            "is no header of its own",
            "name the header that the gateway sets, other than Authorization and Cookie",
        );
    }
    if let Some(name) = &authn.cookie {
        let valid = !name.is_empty() && name.parse::<http::HeaderName>().is_ok();
        report.unless(
            valid,
            "authn.cookie",
            "is no cookie name",
            "use letters, digits, `-` and `_`",
        );
    }
}

pub(super) fn issuers(config: &Config, report: &mut Report<'_>) {
    let issuers = &config.authn.issuers;
    report.unless(
        !issuers.is_empty(),
        "authn.issuers",
        "is empty, so that nobody could sign in",
        "add an issuer",
    );
    let (mut names, mut urls) = (HashSet::new(), HashSet::new());
    for (i, issuer) in issuers.iter().enumerate() {
        let key = format!("authn.issuers[{i}]");
        issuer_name(&key, issuer, report);
        if !names.insert(issuer.name()) {
            report.add(
                format!("{key}.name"),
                format!("`{}` is taken", issuer.name()),
                "give every issuer its own name",
            );
        }
        if !urls.insert(&issuer.issuer) {
            report.add(
                format!("{key}.issuer"),
                "stands twice",
                "give every issuer once, with all its audiences",
            );
        }
        issuer_itself(&key, issuer, report);
        issuer_keys(&key, issuer, report);
        issuer_tenants(&key, issuer, report);
    }
}

/// Policies build keys such as `issuer + '/' + claims.tid`: a name with a slash could end in another issuer's tenant.
fn issuer_name(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    let name = issuer.name();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // One without `issuer` is told of that.
    if name.chars().all(fits) {
        return;
    }
    let (problem, remedy) = if issuer.name.is_empty() {
        (
            format!("is not set, and its default `{name}` has characters that no name may have"),
            "set `name`, of letters, digits, `.`, `_` and `-`",
        )
    } else {
        (
            format!("`{name}` has characters that no name may have"),
            "use letters, digits, `.`, `_` and `-`: policies write the name before a claim, as in `issuer + '/' + claims.tid`",
        )
    };
    report.add(format!("{key}.name"), problem, remedy);
}

fn issuer_itself(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    let has_keys =
        issuer.jwks_uri.is_some() || issuer.jwks_file.is_some() || !issuer.hmac_secrets.is_empty();
    let url = Url::parse(&issuer.issuer).ok().filter(secure_or_loopback);
    if issuer.issuer.is_empty() {
        report.add(
            format!("{key}.issuer"),
            "is missing",
            "give the exact `iss` of the issuer's tokens",
        );
    } else if url.is_none() && !has_keys {
        report.add(
            format!("{key}.issuer"),
            "is no https URL, so that its keys cannot be discovered",
            "give the exact `iss` (https; plain http to loopback hosts only), or jwks_uri, jwks_file or hmac_secret",
        );
    }
    if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
        report.add(
            format!("{key}.audiences"),
            "must name at least one audience, none of them empty",
            "list the `aud` values that tokens for this broker carry",
        );
    }
    report.url(format!("{key}.jwks_uri"), issuer.jwks_uri.as_ref());
}

fn issuer_keys(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    for algorithm in issuer.algorithms() {
        if !ALGORITHMS.contains(&algorithm) {
            report.add(
                format!("{key}.algorithms"),
                format!("`{algorithm}` is not supported"),
                format!("choose among {}", ALGORITHMS.join(", ")),
            );
        }
    }
    let hmac = !issuer.hmac_secrets.is_empty();
    let lists_hmac = issuer.algorithms().any(|a| a == "HS256");
    let only_hmac = lists_hmac && issuer.algorithms().all(|a| a == "HS256");
    if hmac && !only_hmac || lists_hmac && !hmac {
        report.add(
            format!("{key}.algorithms"),
            "HS256 and hmac_secret go together, and with nothing else",
            "with hmac_secret write algorithms: [HS256]; otherwise leave HS256 out",
        );
    }
    let former = issuer.hmac_secret_previous.is_some()
        || issuer.hmac_secret_previous_file.is_some()
        || issuer.hmac_secret_previous_env.is_some();
    let current = issuer.hmac_secret.is_some()
        || issuer.hmac_secret_file.is_some()
        || issuer.hmac_secret_env.is_some();
    report.unless(
        current || !former,
        &format!("{key}.hmac_secret"),
        "is missing beside hmac_secret_previous",
        "give the secret that signs now; the former one is for the time of a rotation only",
    );
    let sources = [issuer.jwks_uri.is_some(), issuer.jwks_file.is_some(), hmac];
    if sources.iter().filter(|&&given| given).count() > 1 {
        report.add(
            key,
            "has more than one source of keys",
            "keep one of jwks_uri, jwks_file and hmac_secret: a shared secret beside public keys invites forgery",
        );
    }
    if issuer
        .hmac_secrets
        .iter()
        .any(|secret| secret.current().expose_secret().len() < MIN_HMAC_BYTES)
    {
        report.add(
            format!("{key}.hmac_secret"),
            format!("is shorter than {MIN_HMAC_BYTES} bytes"),
            "make one with `openssl rand -base64 48`",
        );
    }
}

fn issuer_tenants(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    let multi_tenant = issuer.issuer.contains("{tid}");
    report.unless(
        issuer.issuer.matches("{tid}").count() <= 1,
        &format!("{key}.issuer"),
        "holds {tid} more than once",
        "write it once, where the issuer has the tenant's id",
    );
    match &issuer.tenants {
        None if multi_tenant => report.add(
            format!("{key}.tenants"),
            "is missing, though `issuer` holds {tid}",
            "list the accepted tenant ids, or write `any` and let policy decide",
        ),
        Some(_) if !multi_tenant => {
            report.add(
                format!("{key}.tenants"),
                "needs {tid} in `issuer`",
                "remove it, or use the {tid} form",
            );
        }
        Some(Tenants::Listed(ids)) if ids.is_empty() || ids.iter().any(|id| !is_guid(id)) => {
            report.add(
                format!("{key}.tenants"),
                "must be tenant ids (GUIDs) or `any`",
                "list at least one GUID",
            );
        }
        _ => {}
    }
}

impl Issuer {
    /// The CEL variable `issuer`: the configured name, else the host.
    #[must_use]
    pub fn name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let host = Url::parse(&self.issuer)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        host.unwrap_or_else(|| self.issuer.clone())
    }

    /// Whether callers of more than one tenant may sign in.
    #[must_use]
    pub fn is_multi_tenant(&self) -> bool {
        match &self.tenants {
            None => false,
            Some(Tenants::Any(_)) => true,
            Some(Tenants::Listed(ids)) => ids
                .iter()
                .skip(1)
                .any(|id| !id.eq_ignore_ascii_case(&ids[0])),
        }
    }

    /// Accepted `alg` values.
    pub fn algorithms(&self) -> impl Iterator<Item = &str> {
        const DEFAULT: &[String] = &[];
        let listed = self
            .algorithms
            .as_deref()
            .unwrap_or(DEFAULT)
            .iter()
            .map(String::as_str);
        listed.chain(self.algorithms.is_none().then_some("RS256"))
    }
}
