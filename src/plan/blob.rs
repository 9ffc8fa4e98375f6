//! Identity blobs: the end user's own token for a source with single sign-on, as a request header brings it.
//!
//! Power BI and the source verify a blob; here only its `exp` is read, unverified, to know how long a token that was
//! minted with it may be kept. What does not read as a JWT with an `exp` is opaque and never kept.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;

use super::request::Blob;
use super::{CacheUntil, Refusal};

/// The one claim of a blob that matters here.
#[derive(Deserialize)]
struct Claims {
    exp: serde_json::Number,
}

/// The blob that `header` brings, and how long what is made of it may be kept.
pub(super) fn read(
    header: &str,
    blobs: &BTreeMap<String, SecretString>,
    now: OffsetDateTime,
) -> Result<(Blob, CacheUntil), Refusal> {
    let blob = blobs
        .get(header)
        .filter(|blob| !blob.expose_secret().trim().is_empty())
        .ok_or_else(|| {
            Refusal::BlobMissing(format!(
                "the request needs the end user's own token for the data source in header `{header}`"
            ))
        })?;
    let keep = match expiry(blob.expose_secret()) {
        None => CacheUntil::Never,
        Some(end) if end <= now => {
            return Err(Refusal::BlobMissing(format!(
                "the end user's token for the data source in header `{header}` has expired"
            )));
        }
        Some(end) => CacheUntil::At(end),
    };
    Ok((Blob(blob.clone()), keep))
}

/// `exp` of a JWT, without verification; `None` for everything else.
fn expiry(blob: &str) -> Option<OffsetDateTime> {
    let [_, payload, _] = blob.split('.').collect::<Vec<_>>().try_into().ok()?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a fraction of a second is cut off, and what is out of range is refused by the next step"
    )]
    let seconds = exp
        .as_i64()
        .or_else(|| exp.as_f64().map(|exp| exp as i64))?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

impl CacheUntil {
    /// The stricter of two bounds.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
            (Self::At(bound), Self::Expiration) | (Self::Expiration, Self::At(bound)) => {
                Self::At(bound)
            }
            (Self::Expiration, Self::Expiration) => Self::Expiration,
        }
    }
}
