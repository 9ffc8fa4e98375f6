//! One configured issuer: which tokens are its own, what it accepts, and its keys.
//!
//! Everything that can be wrong with the configuration is found by [`Issuer::new`], so that verification has nothing
//! left to interpret. The algorithms are the issuer's, never the token's choice; shared secrets and public keys are
//! never accepted side by side, because a public key must not serve as a shared secret.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::Value;
use time::OffsetDateTime;

use super::fetch::Location;
use super::keys::{KeySet, Pick};
use super::source::{Local, Reader, Remote, Source};
use super::token::{Claims, Header, Unverified, invalid, plain_type};
use super::{Error, IssuerCheck};
use crate::config::{self, AnyTenant, Mistake, Tenants};
use crate::expr::{Expr, Scope};
use crate::outbound::Outbound;

/// The type of back-channel logout tokens (OIDC Back-Channel Logout 1.0, section 2.4): signed by the same keys, and
/// no proof that somebody is signed in.
const LOGOUT_TYPE: &str = "logout+jwt";

/// An issuer, ready to verify.
pub(super) struct Issuer {
    pub(super) name: Arc<str>,
    pub(super) source: Source,
    /// The configured `issuer`, possibly with `{tid}`.
    identifier: String,
    tenants: Option<Tenants>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    token_types: Vec<String>,
    validations: Vec<(Expr, String)>,
}

impl Issuer {
    /// Prepares an issuer; one with the same keys in `previous` shares them.
    pub(super) fn new(
        config: &config::Issuer,
        place: &str,
        outbound: &Outbound,
        max_waiting: usize,
        previous: &[Self],
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let name = name(config);
        if config.audiences.is_empty() || config.audiences.iter().any(String::is_empty) {
            mistakes.push(Mistake::new(
                format!("{place}.audiences"),
                "is missing, or holds an empty value",
                "list the `aud` values of tokens that are meant for this broker",
            ));
        }
        if config.issuer.contains("{tid}") != config.tenants.is_some() {
            mistakes.push(Mistake::new(
                format!("{place}.tenants"),
                "`tenants` and `{tid}` in `issuer` belong together",
                "list the tenant ids (or `any`) with a multi-tenant issuer, and only there",
            ));
        }
        let algorithms = algorithms(config, place).unwrap_or_else(|mut more| {
            mistakes.append(&mut more);
            Vec::new()
        });
        let validations = validations(config, place, &mut mistakes);
        let source = source(config, &name, place, outbound, max_waiting, previous)
            .map_err(|mistake| mistakes.push(mistake));
        match source {
            Ok(source) if mistakes.is_empty() => Ok(Self {
                name,
                source,
                identifier: config.issuer.clone(),
                tenants: config.tenants.clone(),
                audiences: config.audiences.clone(),
                algorithms,
                token_types: config
                    .token_types
                    .iter()
                    .map(|text| plain_type(text))
                    .collect(),
                validations,
            }),
            _ => Err(mistakes),
        }
    }

    /// Reads the keys now, past all caches.
    pub(super) async fn check_keys(&self) -> IssuerCheck {
        IssuerCheck {
            name: Arc::clone(&self.name),
            outcome: self.source.check().await,
        }
    }

    /// Whether a token with this `iss` is this issuer's.
    pub(super) fn is(&self, iss: &str) -> bool {
        match &self.tenants {
            None => self.identifier == iss,
            Some(_) => self.tenant_in(iss).is_some(),
        }
    }

    pub(super) fn is_multi_tenant(&self) -> bool {
        self.tenants.is_some()
    }

    /// What stands in `iss` for `{tid}`.
    fn tenant_in<'t>(&self, iss: &'t str) -> Option<&'t str> {
        let (before, after) = self.identifier.split_once("{tid}")?;
        iss.strip_prefix(before)?
            .strip_suffix(after)
            .filter(|tenant| {
                !tenant.is_empty()
                    && tenant
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || c == '-')
            })
    }

    /// Checks header and signature, and gives the keys that it was checked with.
    pub(super) async fn check_signature(
        &self,
        token: &Unverified<'_>,
    ) -> Result<Arc<KeySet>, Error> {
        self.check_type(&token.header)?;
        // An unknown `alg`, `none` among them, has no name here.
        let algorithm = token
            .header
            .alg
            .parse::<Algorithm>()
            .ok()
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or_else(|| invalid("the token's `alg` is not among the issuer's `algorithms`"))?;
        let kid = token.header.kid.as_deref();
        let knows = |keys: &KeySet| !matches!(keys.pick(algorithm, kid), Pick::Unknown(_));
        let keys = self
            .source
            .keys(knows)
            .await
            .map_err(|error| Error::IssuerUnavailable {
                issuer: Arc::clone(&self.name),
                reason: error.to_string(),
            })?;
        let candidates = match keys.pick(algorithm, kid) {
            Pick::Keys(candidates) => candidates,
            Pick::Unknown(reason) | Pick::Unfit(reason) => return Err(invalid(reason)),
        };
        let iss = &token.issuer;
        let verified = candidates
            .iter()
            .filter(|key| !self.is_multi_tenant() || key.signs_for(iss, &self.identifier))
            .any(|key| key.verifies(algorithm, token.signed, token.signature));
        if verified {
            Ok(keys)
        } else {
            Err(invalid("the signature is not valid"))
        }
    }

    fn check_type(&self, header: &Header) -> Result<(), Error> {
        let token_type = header.token_type();
        if token_type.as_deref() == Some(LOGOUT_TYPE) {
            return Err(invalid("the token is a logout token"));
        }
        let listed = |token_type: String| self.token_types.contains(&token_type);
        if self.token_types.is_empty() || token_type.is_some_and(listed) {
            Ok(())
        } else {
            Err(invalid(
                "the token's `typ` is not among the issuer's `token_types`",
            ))
        }
    }

    /// Checks the claims of a token whose signature is good, and gives its end.
    ///
    /// What is wrong for good comes before `exp`: "expired" tells a front end to fetch a new token, and that must help.
    pub(super) fn check_claims(
        &self,
        claims: &Claims,
        now: OffsetDateTime,
        leeway: time::Duration,
    ) -> Result<OffsetDateTime, Error> {
        claims.subject()?;
        claims.check_audience(&self.audiences)?;
        if claims.0.contains_key("events") {
            return Err(invalid(
                "the token has `events`: it is a logout or security event token",
            ));
        }
        self.check_tenant(claims)?;
        claims.check_not_before(now, leeway)?;
        let expires_at = claims.check_expiry(now, leeway)?;
        self.validate(claims)?;
        Ok(expires_at)
    }

    /// The caller's tenant, where this issuer has several.
    pub(super) fn tenant_of(&self, claims: &Claims) -> Result<Option<Arc<str>>, Error> {
        let tid = self.is_multi_tenant().then(|| claims.text("tid"));
        Ok(tid.transpose()?.map(Arc::from))
    }

    fn check_tenant(&self, claims: &Claims) -> Result<(), Error> {
        let Some(tenants) = &self.tenants else {
            return Ok(());
        };
        let tenant = claims.text("tid")?;
        if self.tenant_in(claims.text("iss")?) != Some(tenant) {
            return Err(invalid("`tid` is not the tenant in `iss`"));
        }
        match tenants {
            Tenants::Any(AnyTenant::Any) => Ok(()),
            Tenants::Listed(listed)
                if listed
                    .iter()
                    .any(|listed| listed.eq_ignore_ascii_case(tenant)) =>
            {
                Ok(())
            }
            Tenants::Listed(_) => Err(invalid("the tenant is not among the issuer's `tenants`")),
        }
    }

    fn validate(&self, claims: &Claims) -> Result<(), Error> {
        if self.validations.is_empty() {
            return Ok(());
        }
        let scope = Scope::new().with("claims", &Value::Object(claims.0.clone()));
        for (rule, message) in &self.validations {
            match rule.eval_bool(&scope) {
                Ok(true) => {}
                Ok(false) => return Err(invalid(message.clone())),
                Err(error) => return Err(invalid(format!("{message} (the rule failed: {error})"))),
            }
        }
        Ok(())
    }
}

/// The configured name, or the host of the issuer.
fn name(config: &config::Issuer) -> Arc<str> {
    if !config.name.is_empty() {
        return config.name.as_str().into();
    }
    url::Url::parse(&config.issuer)
        .ok()
        .and_then(|url| url.host_str().map(Arc::from))
        .unwrap_or_else(|| config.issuer.as_str().into())
}

fn algorithms(config: &config::Issuer, place: &str) -> Result<Vec<Algorithm>, Vec<Mistake>> {
    let shared = !config.hmac_secrets.is_empty();
    let default = if shared { "HS256" } else { "RS256" };
    let names = config
        .algorithms
        .clone()
        .unwrap_or_else(|| vec![default.to_owned()]);
    let mistake = |problem: String, remedy: &str| {
        Mistake::new(format!("{place}.algorithms"), problem, remedy)
    };
    let (mut algorithms, mut mistakes) = (Vec::new(), Vec::new());
    for name in &names {
        match name.parse::<Algorithm>() {
            Ok(Algorithm::HS256) if shared => algorithms.push(Algorithm::HS256),
            Ok(Algorithm::HS256) => mistakes.push(mistake(
                "HS256 without a shared secret".to_owned(),
                "set `hmac_secret_file`, or list the algorithms of the issuer's public keys",
            )),
            Ok(Algorithm::HS384 | Algorithm::HS512) | Err(_) => mistakes.push(mistake(
                format!("`{name}` is not supported"),
                "use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, or HS256 with a shared secret",
            )),
            Ok(_) if shared => mistakes.push(mistake(
                format!("`{name}` beside a shared secret"),
                "list HS256 alone, or remove the shared secret",
            )),
            Ok(algorithm) => algorithms.push(algorithm),
        }
    }
    if names.is_empty() {
        mistakes.push(mistake(
            "is empty".to_owned(),
            "list at least one algorithm, or leave the key out",
        ));
    }
    if mistakes.is_empty() {
        Ok(algorithms)
    } else {
        Err(mistakes)
    }
}

fn validations(
    config: &config::Issuer,
    place: &str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(Expr, String)> {
    let mut rules = Vec::new();
    for (index, validation) in config.validations.iter().enumerate() {
        match Expr::compile(&validation.rule, &["claims"]) {
            Ok(rule) => rules.push((rule, validation.message.clone())),
            Err(error) => mistakes.push(Mistake::new(
                format!("{place}.validations[{index}].rule"),
                error.message,
                "write a CEL expression over `claims` that gives true or false",
            )),
        }
    }
    rules
}

fn source(
    config: &config::Issuer,
    name: &Arc<str>,
    place: &str,
    outbound: &Outbound,
    max_waiting: usize,
    previous: &[Issuer],
) -> Result<Source, Mistake> {
    let shared = !config.hmac_secrets.is_empty();
    let (file, uri) = (
        config.jwks_file.is_some() || config.jwks.is_some(),
        config.jwks_uri.is_some(),
    );
    if usize::from(shared) + usize::from(file) + usize::from(uri) > 1 {
        return Err(Mistake::new(
            format!(
                "{place}.{}",
                if shared { "hmac_secret" } else { "jwks_file" }
            ),
            "more than one source of keys",
            "keep one of `jwks_uri`, `jwks_file` and the shared secret",
        ));
    }
    if shared || file {
        return local(config, name, place).map(Source::Local);
    }
    let location = Location::new(&config.issuer, config.jwks_uri.as_ref()).map_err(|problem| {
        Mistake::new(
            format!("{place}.{}", if uri { "jwks_uri" } else { "issuer" }),
            problem,
            "use an https URL, or set `jwks_uri` or `jwks_file`",
        )
    })?;
    let kept = previous.iter().find_map(|issuer| match &issuer.source {
        Source::Remote(remote) if remote.is_at(name, &location) => Some(Arc::clone(remote)),
        Source::Remote(_) | Source::Local(_) => None,
    });
    if let Some(remote) = &kept {
        remote.fetch_by(outbound);
    }
    let remote =
        kept.unwrap_or_else(|| Remote::new(Arc::clone(name), location, outbound, max_waiting));
    Ok(Source::Remote(remote))
}

fn local(config: &config::Issuer, name: &Arc<str>, place: &str) -> Result<Local, Mistake> {
    let (key, secrets, read, remedy): (_, _, Reader, _) = if config.hmac_secrets.is_empty() {
        let remedy = "write the issuer's public keys into it, as a JSON Web Key Set";
        (
            "jwks_file",
            config.jwks.iter().cloned().collect(),
            KeySet::from_file,
            remedy,
        )
    } else {
        let secrets = config.hmac_secrets.clone();
        (
            "hmac_secret",
            secrets,
            KeySet::from_shared_secrets,
            "use at least 32 random bytes",
        )
    };
    Local::new(Arc::clone(name), key, secrets, read)
        .map_err(|problem| Mistake::new(format!("{place}.{key}"), problem, remedy))
}
