//! From what the stages say to cause and remedy, apart.

use crate::plan::Refusal;
use crate::powerbi::Error;

/// What to do where the stage's own text does not say it.
const LOOK_AGAIN: &str = "run doctor again; if it lasts, see the service's health page";

/// Cause and remedy.
pub(super) type Told = (String, String);

/// Of a failed call to Power BI.
pub(super) fn of_call(error: &Error) -> Told {
    match error {
        Error::ItemUnavailable { what, cause }
        | Error::TargetUnavailable {
            target: what,
            cause,
        } => {
            // Their causes are written as "what is wrong: what to do".
            let (problem, remedy) = cause
                .split_once(": ")
                .unwrap_or((cause, "check ids and names in the policy"));
            (format!("{what}: {problem}"), remedy.to_owned())
        }
        Error::Rejected {
            status,
            code,
            remedy,
            upstream_request_id,
        } => {
            let id = upstream_request_id.as_deref().unwrap_or("none");
            let cause = format!("Power BI answers {status} {code} (request id {id})");
            (cause, remedy.clone())
        }
        Error::Quota { .. } => (
            "the trial allowance for embed tokens is used up".into(),
            "put the workspace on a capacity".into(),
        ),
        Error::Unreachable(_) | Error::TimedOut => (
            error.to_string(),
            "let this host reach the principal's `api_url` or cloud; mind proxies and firewalls"
                .into(),
        ),
        Error::Entra(entra) => of_sign_in(entra),
        Error::Throttled { .. }
        | Error::BreakerOpen { .. }
        | Error::InvalidResponse(_)
        | Error::Aborted => (error.to_string(), LOOK_AGAIN.into()),
    }
}

/// Of a credential that gives no token.
pub(super) fn of_sign_in(error: &crate::entra::Error) -> Told {
    match error {
        crate::entra::Error::Rejected { code, remedy, .. } => {
            (format!("Entra refuses it ({code})"), remedy.clone())
        }
        crate::entra::Error::Unreachable { reason, .. } => (
            format!("Entra gives no usable answer ({reason})"),
            "let this host reach the principal's authority (`cloud`, `authority_url`); mind proxies and firewalls"
                .into(),
        ),
    }
}

/// Of a plan that is refused: what callers of the rule will meet.
pub(super) fn of_refusal(refusal: &Refusal) -> Told {
    let (code, remedy) = match refusal {
        Refusal::RlsMissing(_) => (
            "rls_missing",
            "publish the model with its roles, or declare `security: none` for it if it holds nothing to filter",
        ),
        Refusal::NotPermitted(_) => (
            "not_permitted",
            "give the report by id, or let reports be saved into another workspace",
        ),
        Refusal::IdentityRequired(_) => (
            "identity_required",
            "give the rule an identity; to show everything, one with a role that has no filter",
        ),
        Refusal::SecurityMismatch(_) => (
            "security_mismatch",
            "let `security` in the policy say what Power BI shows, and the rule give what such a source takes",
        ),
        Refusal::IdentityUnmappable(_) => (
            "identity_unmappable",
            "let the rule give what the source takes",
        ),
        Refusal::ItemUnavailable(_) => ("item_unavailable", "correct the item in the policy"),
        Refusal::BlobMissing(_) => ("blob_missing", "send the header"),
        Refusal::NotCombinable(_) => ("items_not_combinable", "let the rule agree with itself"),
        Refusal::SessionEnds => ("token_expired", "set `tokens.lifetime` to a minute or more"),
    };
    (format!("{code}: {refusal}"), remedy.into())
}
