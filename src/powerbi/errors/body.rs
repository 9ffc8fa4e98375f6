//! Code and message of a refusal, from any of the four shapes of a body, or from the headers.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// Code and message of an answer that is no success.
pub(super) struct ErrorBody {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl ErrorBody {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let details = header("X-PowerBI-Error-Details")
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .map(|value| Self::of_json(&value));
        let body = match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::of_json(&value),
            Err(_) => Self {
                code: None,
                message: String::from_utf8_lossy(body).into_owned(),
            },
        };
        let info = header("X-PowerBI-Error-Info").and_then(sane_code);
        let (details_code, details_message) =
            details.map_or((None, String::new()), |body| (body.code, body.message));
        Self {
            code: info.or(details_code).or(body.code),
            message: format!("{details_message} {}", body.message)
                .trim()
                .to_owned(),
        }
    }

    /// `{"error":{"code","message","pbi.error":{"code","details":[{"code","detail":{"value"}}]}}}`, `{"Message"}`,
    /// `{"message"}`, `{"code","message","target"}`.
    fn of_json(value: &Value) -> Self {
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let error = value.get("error").filter(|error| error.is_object());
        let shell = error.unwrap_or(value);
        let inner = shell.get("pbi.error").unwrap_or(&Value::Null);
        let details = [shell, inner]
            .into_iter()
            .filter_map(|holder| holder.get("details")?.as_array())
            .flatten()
            .filter_map(|detail| {
                text(detail, "message").or_else(|| text(detail.get("detail")?, "value"))
            });
        let own = ["message", "Message"]
            .into_iter()
            .find_map(|name| text(shell, name));
        Self {
            code: [text(shell, "code"), text(inner, "code")]
                .into_iter()
                .flatten()
                .find_map(|code| sane_code(&code)),
            message: own.into_iter().chain(details).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A code goes into errors and logs, so it must look like one.
fn sane_code(code: &str) -> Option<String> {
    let code = code.trim();
    let sane = (1..=100).contains(&code.len())
        && code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    sane.then(|| code.to_owned())
}

/// A message for the debug log: short, and without words so long that they could be a token.
pub(super) fn excerpt(message: &str) -> String {
    message
        .split_whitespace()
        .map(|word| if word.len() > 40 { "[…]" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(200)
        .collect()
}
