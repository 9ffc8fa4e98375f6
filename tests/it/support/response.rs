//! An HTTP answer that a test looks at: first the status, then the body.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::contract::CONTRACT;

/// Status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as text.
    pub(crate) text: String,
}

impl Answer {
    /// Reads an answer of the broker's traffic listener to its end, and holds it against `openapi.yaml`.
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let path = response.url().path().to_owned();
        let answer = Self::unchecked(response).await;
        CONTRACT.check(&path, &answer);
        answer
    }

    /// Reads an answer that `openapi.yaml` does not describe: to HEAD, to a preflight, from another listener.
    pub(crate) async fn unchecked(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts a 200 and gives its JSON.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Asserts a problem: status, code, and the form that every problem has.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(
            problem["request_id"].as_str(),
            self.header("x-request-id"),
            "{self:?}"
        );
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(
            status == 401,
            self.header("www-authenticate").is_some(),
            "{self:?}"
        );
        if matches!(status, 429 | 503) {
            let wait: u64 = self
                .header("retry-after")
                .expect("Retry-After")
                .parse()
                .unwrap();
            assert!(wait >= 1, "{self:?}");
        }
        problem
    }
}
