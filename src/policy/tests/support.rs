//! What the policy tests share.

use serde_json::Value;
use time::OffsetDateTime;

use super::super::*;

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        issuers: vec!["login".to_owned()],
        principals: [("default".to_owned(), false), ("other".to_owned(), false)].into(),
        credential_headers: vec!["x-user-token".to_owned()],
    }
}

#[track_caller]
pub(super) fn policy(text: &str) -> Policy {
    Policy::parse(text, &surroundings()).unwrap_or_else(|mistakes| {
        panic!("{}", crate::config::Mistakes(mistakes));
    })
}

/// A caller of the issuer `login`; `claims` in YAML.
#[track_caller]
pub(super) fn caller(claims: &str) -> Caller {
    let claims: Value = serde_saphyr::from_str(claims).unwrap();
    let claims = claims.as_object().unwrap().clone();
    Caller::assumed("login", claims, OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn ask(items: &[&str]) -> Ask {
    Ask {
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        ..Ask::default()
    }
}
