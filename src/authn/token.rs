//! A compact JWS taken apart, strictly, before anything in it is believed.
//!
//! Not `jsonwebtoken::decode`: that takes a missing `aud` or `sub`, a list for `iss`, a `crit` header and a repeated
//! claim, and reads the clock itself. The signature check is the library's; what a token must look like is ours.
//!
//! The headers `jku`, `x5u`, `x5c` and `jwk` are not even read: a token never says where its own key is.
//! Reasons are fixed texts, because serde's messages repeat what they found.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::Error;

/// Longest token; claims of one person, groups included, fit well.
const MAX_LENGTH: usize = 16 * 1024;

/// Longest `sub` in characters (part of the configuration contract): it stands in each of the caller's audit records.
const MAX_SUBJECT: usize = 256;

/// 9999-12-31: what RFC 3339, and so our answer, can write.
const LAST_SECOND: i64 = 253_402_300_799;

/// A token in its parts, none of them verified.
pub(super) struct Unverified<'a> {
    /// What the signature is over: header and payload as they came.
    pub(super) signed: &'a str,
    /// Still in base64url.
    pub(super) signature: &'a str,
    pub(super) header: Header,
    /// The `iss` claim.
    pub(super) issuer: String,
    /// The claims as JSON.
    payload: Vec<u8>,
}

/// The header members that we read.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) typ: Option<String>,
    pub(super) kid: Option<String>,
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// The claims of one token; no name occurs twice.
pub(super) struct Claims(pub(super) Map<String, Value>);

/// Before anything else is done with it.
pub(super) fn check_length(token: &str) -> Result<(), Error> {
    if token.len() > MAX_LENGTH {
        return Err(invalid("the token is longer than 16 KiB"));
    }
    Ok(())
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Error> {
        check_length(token)?;
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid("the token has not three parts: it is no JWT"));
        };
        if signature.is_empty() {
            return Err(invalid("the token is not signed"));
        }
        let parsed: Header = object(header)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| {
                invalid("the header is no base64url JSON object with `alg`, or repeats a member")
            })?;
        if parsed.crit {
            return Err(invalid(
                "the header has `crit`, and no extension is understood",
            ));
        }
        let signed = &token[..header.len() + 1 + payload.len()];
        let payload = object(payload).ok_or_else(no_claims)?;
        Ok(Self {
            signed,
            signature,
            header: parsed,
            issuer: issuer(&payload)?,
            payload,
        })
    }

    /// All claims: for a token whose signature is good.
    pub(super) fn claims(&self) -> Result<Claims, Error> {
        serde_json::from_slice(&self.payload).map_err(|_| no_claims())
    }
}

/// The `iss` claim alone. Whatever else the payload holds is passed over and takes no memory.
fn issuer(payload: &[u8]) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        iss: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_slice(payload).map_err(|_| no_claims())?;
    let iss = named.iss.ok_or_else(|| invalid("there is no `iss`"))?;
    let iss: String = serde_json::from_str(iss.get()).map_err(|_| invalid("`iss` is no string"))?;
    if iss.is_empty() {
        return Err(invalid("`iss` is empty"));
    }
    Ok(iss)
}

fn no_claims() -> Error {
    invalid("the payload is no base64url JSON object, or repeats a claim")
}

impl Header {
    /// The `typ`, as it is compared.
    pub(super) fn token_type(&self) -> Option<String> {
        self.typ.as_deref().map(plain_type)
    }
}

/// A media type as it is compared: in lower case, without parameters, white space and the `application/` that RFC 7515,
/// section 4.1.9, lets a sender leave out.
pub(super) fn plain_type(text: &str) -> String {
    let essence = text.split(';').next().unwrap_or_default();
    let essence: String = essence
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match essence.strip_prefix("application/") {
        Some(short) => short.to_owned(),
        None => essence,
    }
}

impl Claims {
    /// A claim that must be a string with something in it.
    pub(super) fn text(&self, name: &str) -> Result<&str, Error> {
        match self.0.get(name) {
            None => Err(invalid(format!("there is no `{name}`"))),
            Some(Value::String(text)) if text.is_empty() => {
                Err(invalid(format!("`{name}` is empty")))
            }
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(invalid(format!("`{name}` is no string"))),
        }
    }

    /// Who the caller is.
    pub(super) fn subject(&self) -> Result<&str, Error> {
        let subject = self.text("sub")?;
        if subject.chars().count() > MAX_SUBJECT {
            return Err(invalid("`sub` is longer than 256 characters"));
        }
        Ok(subject)
    }

    /// Whether `aud`, a string or a list of strings, names one of `accepted`.
    pub(super) fn check_audience(&self, accepted: &[String]) -> Result<(), Error> {
        let named = match self.0.get("aud") {
            Some(Value::Array(list)) if list.is_empty() => return Err(invalid("`aud` is empty")),
            Some(Value::Array(list)) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                texts.ok_or_else(|| invalid("`aud` is no list of strings"))?
            }
            _ => vec![self.text("aud")?],
        };
        if named.iter().any(|name| name.is_empty()) {
            return Err(invalid("`aud` has an empty entry"));
        }
        if named
            .iter()
            .any(|name| accepted.iter().any(|accepted| accepted == name))
        {
            Ok(())
        } else {
            Err(invalid("`aud` names none of the issuer's `audiences`"))
        }
    }

    /// A token may not be used before its `nbf`.
    pub(super) fn check_not_before(
        &self,
        now: OffsetDateTime,
        leeway: time::Duration,
    ) -> Result<(), Error> {
        match self.0.get("nbf") {
            None => Ok(()),
            Some(value) => match instant(value) {
                Some(not_before) if not_before <= now + leeway => Ok(()),
                Some(_) => Err(invalid("`nbf` is in the future")),
                None => Err(invalid("`nbf` is no time")),
            },
        }
    }

    /// When the token ends; refused when that is over.
    pub(super) fn check_expiry(
        &self,
        now: OffsetDateTime,
        leeway: time::Duration,
    ) -> Result<OffsetDateTime, Error> {
        let value = self
            .0
            .get("exp")
            .ok_or_else(|| invalid("there is no `exp`"))?;
        let expires_at =
            instant(value).ok_or_else(|| invalid("`exp` is no time, or out of range"))?;
        // Not `expires_at + leeway`: an end in the last seconds of time has nothing beyond it.
        if expires_at <= now - leeway {
            return Err(Error::Expired);
        }
        Ok(expires_at)
    }
}

/// A `NumericDate` (RFC 7519): seconds since 1970, possibly with a fraction, which is cut off.
fn instant(value: &Value) -> Option<OffsetDateTime> {
    let seconds = match (value.as_i64(), value.as_f64()) {
        (Some(seconds), _) => seconds,
        // Beyond 2^53 a float is no longer exact, and far out of range.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range is checked before"
        )]
        (None, Some(seconds)) if (0.0..9e15).contains(&seconds) => seconds as i64,
        (None, _) => return None,
    };
    if !(0..=LAST_SECOND).contains(&seconds) {
        return None;
    }
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

pub(super) fn invalid(reason: impl Into<String>) -> Error {
    let reason = reason.into();
    Error::Invalid { reason }
}

/// The JSON object that a part of a token holds; only its first character is looked at.
fn object(part: &str) -> Option<Vec<u8>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    // serde would also fill a struct from a list, by position.
    json.trim_ascii_start().starts_with(b"{").then_some(json)
}

/// True whatever the value, `null` included.
fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Claims;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim occurs twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }
        deserializer.deserialize_map(Once)
    }
}
