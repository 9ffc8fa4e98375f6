//! What a record holds. `docs/audit.schema.json` describes it for those who read the trail; a test holds the two equal.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// Longest record with its line break: no caller may write more at once, whatever he sends (part of the HTTP contract).
pub(super) const MAX_LINE: usize = 16 * 1024;

/// What is kept of a text, of the items and of the identities of a record that is too long, in bytes of JSON. All texts
/// together with the two lists are less than [`MAX_LINE`].
const MAX_TEXT: usize = 512;
const MAX_ITEMS: usize = 3 * 1024;
const MAX_IDENTITY: usize = 7 * 1024;

/// Room for a record, so that it need not be found while one is written; longer ones take more.
const USUAL_LINE: usize = 1024;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `POST /embed-token`.
    EmbedToken,
    /// `GET /items`.
    Items,
    /// `GET /items/{item}/targets`.
    Targets,
}

/// One record. Members that are not known for a request are left out.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRecord {
    /// When the request came in.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// What was asked for.
    pub event: Event,
    /// `ok`, or the problem's code.
    pub code: &'static str,
    /// Our request id.
    pub request_id: String,
    /// Address of the caller, seen through trusted proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Configured name of the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The caller's tenant, where the issuer has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<String>,
    /// The caller's `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The caller was verified and the rate limit let the request pass: from here on it may fill records.
    #[serde(skip)]
    pub admitted: bool,
    /// Items asked for; of admitted callers only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// The `target` asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The rules that decided, without repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The right granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<&'static str>,
    /// The effective identities in the token; blobs as their SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<[Box<RawValue>]>>,
    /// Configured name of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Id of the service principal profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Id of the token in Power BI's activity log.
    #[serde(rename = "tokenId", skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// SHA-256 of the token, lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// When the token expires.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub expiration: Option<OffsetDateTime>,
    /// `cached` or `minted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// Power BI's request id: of the mint that made the token, or of the call that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// Why it was refused, for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many requests this record stands for, when more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Something was left out, because the record would have been longer than 16 KiB.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl AuditRecord {
    /// A record of which nothing but the request is known yet.
    #[must_use]
    pub fn new(
        event: Event,
        request_id: String,
        client: Option<IpAddr>,
        time: OffsetDateTime,
    ) -> Self {
        Self {
            time,
            event,
            code: "internal",
            request_id,
            client,
            issuer: None,
            tid: None,
            sub: None,
            admitted: false,
            items: Vec::new(),
            target: None,
            rule: None,
            access: None,
            identity: None,
            principal: None,
            profile: None,
            token_id: None,
            token_sha256: None,
            expiration: None,
            source: None,
            upstream_request_id: None,
            reason: None,
            count: None,
            truncated: false,
        }
    }

    /// The record as a line of at most 16 KiB.
    ///
    /// # Errors
    /// None for records as they are: every member can be written as JSON.
    pub(super) fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = Vec::with_capacity(USUAL_LINE);
        serde_json::to_writer(&mut line, self)?;
        if line.len() >= MAX_LINE {
            line = serde_json::to_vec(&shortened(serde_json::to_value(self)?))?;
        }
        line.push(b'\n');
        Ok(line)
    }
}

/// The record with the beginning of each text and list that is too long.
fn shortened(mut record: Value) -> Value {
    for (member, value) in record.as_object_mut().into_iter().flatten() {
        match value {
            Value::String(text) => *text = beginning(text),
            Value::Array(entries) => {
                let mut room = if member == "identity" {
                    MAX_IDENTITY
                } else {
                    MAX_ITEMS
                };
                let fitting = entries.iter().take_while(|entry| {
                    let length = entry.to_string().len() + 1;
                    let fits = length <= room;
                    room = room.saturating_sub(length);
                    fits
                });
                let kept = fitting.count();
                entries.truncate(kept);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
    record["truncated"] = true.into();
    record
}

/// As much of a text as takes [`MAX_TEXT`] bytes of JSON.
fn beginning(text: &str) -> String {
    let mut room = MAX_TEXT;
    text.chars()
        .take_while(|&c| {
            let length = match c {
                '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
                '\0'..='\u{1f}' => 6,
                _ => c.len_utf8(),
            };
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> AuditRecord {
        AuditRecord::new(
            Event::EmbedToken,
            "x".repeat(128),
            Some([0xffff; 8].into()),
            OffsetDateTime::UNIX_EPOCH,
        )
    }

    fn line(record: &AuditRecord) -> Value {
        let line = record.to_line().unwrap();
        assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
        assert_eq!(line.iter().position(|&b| b == b'\n'), Some(line.len() - 1));
        serde_json::from_slice(&line).unwrap()
    }

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    #[test]
    fn a_record_is_at_most_16_kib_whatever_its_members_hold() {
        for c in ['a', '"', '\\', '\0', '\n', '\u{7f}', 'é', '漢', '😀'] {
            let long = || Some(c.to_string().repeat(20_000));
            let identity =
                raw(&json!({ "username": "u", "customData": c.to_string().repeat(500) }));
            let record = AuditRecord {
                issuer: long(),
                tid: long(),
                sub: long(),
                items: vec![c.to_string().repeat(256); 50],
                target: long(),
                rule: long().map(Into::into),
                access: Some("create"),
                identity: Some(vec![identity; 50].into()),
                principal: long(),
                profile: long(),
                token_id: Some("x".repeat(36)),
                token_sha256: Some("x".repeat(64)),
                expiration: Some(OffsetDateTime::UNIX_EPOCH),
                source: Some("minted"),
                upstream_request_id: Some("x".repeat(64)),
                reason: long(),
                count: Some(u64::MAX),
                ..record()
            };
            let written = line(&record);
            assert_eq!(written["truncated"], json!(true));
            assert_eq!(written["request_id"], json!("x".repeat(128)));
            for list in ["items", "identity"] {
                let kept = written[list].as_array().unwrap().len();
                assert!((1..50).contains(&kept), "{c:?}: {kept} of {list}");
            }
        }
    }

    #[test]
    fn nothing_is_left_out_of_a_record_that_fits() {
        let identity = json!({ "username": "u", "roles": vec!["r".repeat(50); 50] });
        let record = AuditRecord {
            reason: Some("r".repeat(2_000)),
            identity: Some([raw(&identity)].into()),
            ..record()
        };
        let written = line(&record);
        assert_eq!(written.get("truncated"), None);
        assert_eq!(written["identity"], json!([identity]));
        assert_eq!(written["reason"], json!("r".repeat(2_000)));
    }
}
