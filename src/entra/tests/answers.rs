//! Whatever a token endpoint may answer.

use super::support::{Answer, Entra, plain_store};
use crate::entra::Error;

async fn error_after(answer: Answer) -> Error {
    let entra = Entra::start().await;
    entra.next(answer);
    let error = plain_store(&entra).with_life("default").await.unwrap_err();
    error.as_ref().clone()
}

#[tokio::test]
async fn entras_refusals_keep_their_code() {
    let by_text = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid.\r\nTrace ID: x"}"#;
    let two = r#"{"error":"invalid_client","error_codes":[5,700027]}"#;
    let none = r#"{"error":"unauthorized_client","error_description":"no number"}"#;
    for (answer, expected) in [
        (
            Answer::refusal("invalid_client", 7_000_215),
            "AADSTS7000215",
        ),
        (
            Answer::refusal("unauthorized_client", 700_016),
            "AADSTS700016",
        ),
        (
            Answer::refusal("invalid_grant", 99_999_999),
            "AADSTS99999999",
        ),
        (Answer::new(400, by_text), "AADSTS7000215"),
        (Answer::new(400, two), "AADSTS700027"),
        (Answer::new(400, none), "unauthorized_client"),
    ] {
        let error = error_after(answer).await;
        let text = error.to_string();
        assert!(text.contains(&format!("{expected}: ")), "{text}");
        match error {
            Error::Rejected { code, remedy, .. } => {
                assert_eq!(code, expected);
                assert!(!remedy.is_empty());
            }
            Error::Unreachable { .. } => panic!("{expected}: {text}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_refusal_of_entras_is_unreachable() {
    let absurd = |life: &str| {
        Answer::new(
            200,
            format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{life}}}"#),
        )
    };
    for (answer, expected) in [
        (
            Answer::new(500, "<html>AADSTS0</html>"),
            "HTTP 500: Entra has a passing fault",
        ),
        (
            Answer::new(503, r#"{"error":"temporarily_unavailable"}"#),
            "temporarily_unavailable",
        ),
        (Answer::refusal("invalid_request", 90_033), "AADSTS90033"),
        (Answer::refusal("invalid_request", 90_055), "AADSTS90055"),
        (Answer::new(404, "<html>"), "check `authority_url`"),
        (Answer::new(403, "blocked by proxy"), "any proxy between"),
        (
            Answer::new(302, "").with("Location", "https://example.com/"),
            "HTTP 302",
        ),
        (Answer::new(200, "<html>"), "not the JSON of a token"),
        (Answer::new(200, "{}"), "not the JSON of a token"),
        (
            Answer::new(
                200,
                r#"{"access_token":"t","token_type":"mac","expires_in":3600}"#,
            ),
            "not a Bearer token",
        ),
        (Answer::token("", 3600), "empty or malformed"),
        (Answer::token("two lines\n", 3600), "empty or malformed"),
        (Answer::token("t", 0), "missing or absurd"),
        (Answer::token("t", -3600), "missing or absurd"),
        (Answer::token("t", i64::MAX), "missing or absurd"),
        (absurd("null"), "missing or absurd"),
        (absurd("\"soon\""), "missing or absurd"),
        (Answer::token("t", 4), "about to expire"),
        (
            Answer::token(&"t".repeat(300 * 1024), 3600),
            "the answer is too long",
        ),
    ] {
        let error = error_after(answer).await;
        let text = error.to_string();
        assert!(
            matches!(error, Error::Unreachable { .. }) && text.contains(expected),
            "{expected}: {text}"
        );
    }
}

#[tokio::test]
async fn no_connection_is_unreachable_and_says_why() {
    let entra = Entra::start().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut authority = entra.url().clone();
    authority.set_port(Some(closed)).unwrap();
    let secret = super::SecretFile::new("s");
    let principal = super::principal(&authority, vec![super::client_secret(&secret)]);
    let tokens = super::try_store(principal, 60).unwrap();
    let error = tokens.with_life("default").await.unwrap_err().to_string();
    assert!(
        error.contains("no connection") && error.contains("refused"),
        "{error}"
    );
    assert!(!error.contains(&closed.to_string()), "no URL in {error}");
}

#[tokio::test]
async fn lives_may_be_strings_as_the_first_version_of_the_endpoint_sends_them() {
    let entra = Entra::start().await;
    entra.next(Answer::new(
        200,
        r#"{"access_token":"v1","token_type":"bearer","expires_in":"3599"}"#,
    ));
    let token = plain_store(&entra).with_life("default").await.unwrap();
    let life = token.expires_at() - time::OffsetDateTime::now_utc();
    assert!(
        (3590..=3599).contains(&life.whole_seconds()),
        "{life} is not that of the answer"
    );
}
