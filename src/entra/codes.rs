//! What Entra's error codes mean, and what to do about each.
//!
//! Sources: "Microsoft Entra authentication and authorization error codes" (entra-docs `reference-error-codes.md`) and
//! `v2-oauth2-client-creds-grant-flow.md`. Microsoft says that numbers may change, so HTTP status and OAuth `error`
//! decide first; the number gives the remedy, and decides only where those two say nothing.

use std::time::Duration;

/// What a refusal asks us to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody has to change something first; another credential may still work.
    Permanent,
    /// The account is locked or about to be: every further try makes it worse.
    Lockout,
    /// Too many requests.
    Throttled,
    /// Passes by itself.
    Transient,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) class: Class,
    /// What it means; what to do.
    pub(super) remedy: &'static str,
}

use Class::{Lockout, Permanent, Throttled, Transient};

#[rustfmt::skip]
const TABLE: &[(u32, Class, &str)] = &[
    // The application and its tenant.
    (700_016, Permanent, "the application is unknown in this tenant: check `client_id` and `tenant_id`"),
    (7_000_112, Permanent, "the application is disabled: enable it under Enterprise applications"),
    (90_002, Permanent, "the tenant is unknown: check `tenant_id` and `cloud`"),
    (90_038, Permanent, "the tenant lives in another national cloud: set `cloud`"),
    (70_011, Permanent, "the scope is not valid: remove `scope`, or check `cloud`"),
    (500_011, Permanent, "Power BI is not known in this tenant: check `cloud` and `scope`, and that the tenant has a Power BI licence"),
    (700_022, Permanent, "the scope names more than one resource: remove `scope`"),
    (53_003, Permanent, "a conditional access policy blocks this sign-in: exempt the service principal, or allow this network"),
    (530_035, Permanent, "the tenant's security defaults block this sign-in: use a service principal"),
    (65_001, Permanent, "consent is missing: let an administrator consent to the application's permissions"),
    (90_094, Permanent, "an administrator must consent to the application's permissions"),
    // Client secret.
    (7_000_215, Permanent, "the client secret is wrong: give the secret's value, not its id, and check that it belongs to `client_id`"),
    (7_000_222, Permanent, "the client secret has expired: create a new one and put it into the secret's file"),
    (7_000_218, Permanent, "neither secret nor assertion arrived: check `credentials`; for a master user allow public client flows"),
    // Certificate and federated token.
    (700_027, Permanent, "the assertion's signature does not fit: register this certificate with the application"),
    (50_012, Permanent, "the certificate or assertion is not valid: check the registered certificate and this machine's clock"),
    (500_133, Permanent, "the assertion is outside its time window: check this machine's clock"),
    (700_024, Permanent, "the assertion is outside its time window: check this machine's clock, and that the federated token is renewed"),
    (70_021, Permanent, "no federated credential fits the token: check issuer, subject and audience registered with the application"),
    (700_213, Permanent, "no federated credential fits the token's subject: register this service account with the application"),
    // Master user.
    (50_126, Permanent, "user name or password is wrong: correct it before the account is locked; better use a service principal"),
    (50_053, Lockout, "the account is locked, or this address is blocked: wait, then correct the password; better use a service principal"),
    (50_076, Permanent, "the user must pass multi-factor authentication, which no service can: use a service principal"),
    (50_079, Permanent, "the user must enrol for multi-factor authentication, which no service can: use a service principal"),
    (50_074, Permanent, "the user must pass strong authentication, which no service can: use a service principal"),
    (50_055, Permanent, "the user's password has expired: change it; better use a service principal"),
    (50_057, Permanent, "the user is disabled: enable the account; better use a service principal"),
    (50_034, Permanent, "the user does not exist in this tenant: check `username` and `tenant_id`"),
    // Passing.
    (50_196, Lockout, "Entra sees the same request too often: check how many replicas share this principal"),
    (90_055, Throttled, "the tenant sends too many requests"),
    (50_033, Transient, "Entra has a passing fault"),
    (90_006, Transient, "Entra has a passing fault"),
    (90_012, Transient, "Entra's request timed out"),
    (90_024, Transient, "Entra has a passing fault"),
    (90_033, Transient, "Entra is unavailable at the moment"),
];

/// The meaning of one AADSTS number.
pub(super) fn aadsts(number: u32) -> Option<Meaning> {
    TABLE
        .iter()
        .find(|(known, ..)| *known == number)
        .map(|&(_, class, remedy)| Meaning { class, remedy })
}

/// The class of a refusal with HTTP status `status`, OAuth error `error` and AADSTS number `number`.
pub(super) fn class(status: u16, error: Option<&str>, number: Option<u32>) -> Class {
    match (status, error) {
        (429, _) => Throttled,
        (408 | 500..=599, _) | (_, Some("temporarily_unavailable" | "server_error")) => Transient,
        _ => number
            .and_then(aadsts)
            .map_or(Permanent, |known| known.class),
    }
}

impl Class {
    /// How long the next fetch waits: short enough to recover within a minute, long enough not to hammer Entra.
    pub(super) fn cool_down(self, retry_after: Option<Duration>) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        let asked = retry_after.map(|asked| asked.clamp(Duration::from_secs(1), LONGEST));
        match self {
            Permanent => Duration::from_secs(30),
            Lockout => LONGEST,
            Throttled => asked.unwrap_or(Duration::from_secs(30)),
            Transient => asked.unwrap_or(Duration::from_secs(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_stands_once_and_has_a_remedy() {
        let codes: BTreeSet<u32> = TABLE.iter().map(|(code, ..)| *code).collect();
        assert_eq!(codes.len(), TABLE.len());
        assert!(TABLE.iter().all(|(.., remedy)| !remedy.is_empty()));
    }

    #[test]
    fn multi_factor_remedies_say_use_a_service_principal() {
        for code in [50_076, 50_079, 50_074] {
            let remedy = aadsts(code).unwrap().remedy;
            assert!(remedy.ends_with("use a service principal"), "{code}");
        }
    }

    #[test]
    fn status_and_error_decide_before_the_number() {
        for (status, error, number, expected) in [
            (400, Some("invalid_client"), Some(7_000_222), Permanent),
            (401, Some("invalid_client"), None, Permanent),
            (400, Some("invalid_grant"), Some(50_053), Lockout),
            (400, Some("invalid_request"), Some(90_033), Transient),
            (
                400,
                Some("temporarily_unavailable"),
                Some(7_000_215),
                Transient,
            ),
            (503, Some("invalid_client"), Some(7_000_215), Transient),
            (500, None, None, Transient),
            (429, None, None, Throttled),
            (400, None, Some(90_055), Throttled),
            (404, None, None, Permanent),
        ] {
            assert_eq!(
                class(status, error, number),
                expected,
                "{status} {error:?} {number:?}"
            );
        }
    }

    #[test]
    fn no_cool_down_is_longer_than_a_minute() {
        for class in [Permanent, Lockout, Throttled, Transient] {
            for asked in [
                None,
                Some(Duration::ZERO),
                Some(Duration::from_secs(86_400)),
            ] {
                let wait = class.cool_down(asked);
                assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(60));
            }
        }
    }
}
