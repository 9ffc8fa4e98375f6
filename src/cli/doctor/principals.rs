//! Do the issuers give keys, does each credential give a token, does Power BI take it?

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::causes;
use super::report::{Finding, Report, Subject};
use crate::app::Services;
use crate::authn::IssuerCheck;
use crate::config::Principal;
use crate::entra::CredentialCheck;

/// A credential whose end is nearer than this is worth a warning.
const SOON: time::Duration = time::Duration::days(30);

/// The principals that Power BI lets in, with the percentage of the trial allowance that each has used.
pub(super) type Working = BTreeMap<String, Option<f64>>;

/// Every issuer.
pub(super) async fn issuers(services: &Services, report: &mut Report) {
    for IssuerCheck { name, outcome } in services.verifier.check_issuers().await {
        report.add(&match outcome {
            Ok(keys) => {
                let s = if keys == 1 { "" } else { "s" };
                Finding::ok(Subject::Issuer, &*name, format!("{keys} signing key{s}"))
            }
            Err(problem) => Finding::failed(Subject::Issuer, &*name, problem.cause, problem.remedy),
        });
    }
}

/// Every principal.
pub(super) async fn principals(services: &Services, report: &mut Report) -> Working {
    let mut working = Working::new();
    for (name, principal) in &services.config.principals {
        let checks = services.access_tokens.check(name).await;
        for check in &checks {
            report.add(&credential(name, check));
        }
        if principal.master_user().is_some() {
            report.add(&Finding::warning(
                Subject::Principal,
                name,
                "it is a master user, who sees every row of a model where a rule gives no identity",
                "mint with a service principal where the workspaces allow it",
            ));
        }
        let own = principal.object_id.as_deref();
        if own.is_some_and(|own| own.eq_ignore_ascii_case(&principal.client_id)) {
            report.add(&Finding::failed(
                Subject::Principal,
                name,
                "its `object_id` is the application's client id",
                "set `object_id`: the service principal's, from Enterprise applications (not App registrations)",
            ));
        }
        if checks.iter().any(|check| check.outcome.is_ok()) {
            working.extend(lets_in(services, name, principal, report).await);
        }
    }
    working
}

fn credential(principal: &str, check: &CredentialCheck) -> Finding {
    let place = format!("{principal}, {}", check.kind);
    let now = OffsetDateTime::now_utc();
    let expires_at = match &check.outcome {
        Ok(expires_at) => *expires_at,
        Err(error) => {
            let (cause, remedy) = causes::of_sign_in(error);
            return Finding::failed(Subject::Credential, place, cause, remedy);
        }
    };
    let token = format!(
        "gives a token for {} min",
        (expires_at - now).whole_minutes()
    );
    match check.expires_at {
        Some(end) if end - now < SOON => Finding::warning(
            Subject::Credential,
            place,
            format!(
                "{token}, and expires itself in {} days",
                (end - now).whole_days()
            ),
            "make a new one and put it beside this one in `credentials`: the first that works is used",
        ),
        Some(end) => Finding::ok(
            Subject::Credential,
            place,
            format!(
                "{token}; expires itself in {} days",
                (end - now).whole_days()
            ),
        ),
        None if check.kind == "client_secret" => Finding::ok(
            Subject::Credential,
            place,
            format!(
                "{token}; when it expires itself is not known (Entra does not tell; set `expires`)"
            ),
        ),
        None => Finding::ok(Subject::Credential, place, token),
    }
}

/// Whether Power BI takes the principal's token: its audience, the tenant's switches.
async fn lets_in(
    services: &Services,
    name: &str,
    principal: &Principal,
    report: &mut Report,
) -> Option<(String, Option<f64>)> {
    match services.powerbi.trial_usage(name).await {
        Ok(usage) => {
            let used = match usage.percent {
                Some(percent) => format!("{percent} % of its trial tokens are used"),
                None => "how many of its trial tokens are used is not told".to_owned(),
            };
            let cause = format!(
                "Power BI at {} takes its token (scope {}); {used}",
                principal.api_root(),
                principal.scope()
            );
            report.add(&Finding::ok(Subject::Principal, name, cause));
            Some((name.to_owned(), usage.percent))
        }
        Err(error) => {
            let (cause, remedy) = causes::of_call(&error);
            report.add(&Finding::failed(Subject::Principal, name, cause, remedy));
            None
        }
    }
}
