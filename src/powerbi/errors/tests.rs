//! Every shape and every known reason.

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn classified(status: u16, pairs: &[(&str, &str)], body: &str) -> Failure {
    let status = StatusCode::from_u16(status).unwrap();
    classify(status, &headers(pairs), body.as_bytes())
}

fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Rejected(refusal)
        | Failure::TokenRefused(refusal)
        | Failure::Quota(refusal)
        | Failure::Server(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_code_is_found_in_every_shape() {
    let inner = json!({"error": {"code": "PowerBINotAuthorizedException", "pbi.error": {
        "code": "PowerBINotAuthorizedException", "parameters": {}, "details": [], "exceptionCulprit": 1}}});
    let only_inner =
        json!({"error": {"pbi.error": {"code": "PowerBIEntityNotFound", "details": []}}});
    let plain = json!({"error": {"code": "InvalidRequest", "message": "x"}});
    let details = plain.to_string();
    for (pairs, body, code) in [
        (vec![], plain.to_string(), "InvalidRequest"),
        (vec![], inner.to_string(), "PowerBINotAuthorizedException"),
        (vec![], only_inner.to_string(), "PowerBIEntityNotFound"),
        (
            vec![],
            json!({"code": "Gone", "message": "x", "target": "y"}).to_string(),
            "Gone",
        ),
        (
            vec![],
            json!({"Message": "API is not accessible for application"}).to_string(),
            "403",
        ),
        (vec![], json!({"message": "x"}).to_string(), "403"),
        (vec![], String::new(), "403"),
        (vec![], "<html>no</html>".into(), "403"),
        (vec![], json!({"error": "invalid"}).to_string(), "403"),
        (vec![], json!({"error": {"code": 5}}).to_string(), "403"),
        (
            vec![("X-PowerBI-Error-Info", "GroupNotAccessible")],
            plain.to_string(),
            "GroupNotAccessible",
        ),
        (
            vec![("X-PowerBI-Error-Details", &*details)],
            inner.to_string(),
            "InvalidRequest",
        ),
        (
            vec![("X-PowerBI-Error-Details", "broken")],
            inner.to_string(),
            "PowerBINotAuthorizedException",
        ),
        // What does not look like a code does not get into our errors.
        (
            vec![("X-PowerBI-Error-Info", "two words")],
            String::new(),
            "403",
        ),
        (
            vec![],
            json!({"error": {"code": "<script>"}}).to_string(),
            "403",
        ),
        (
            vec![],
            json!({"error": {"code": "x".repeat(101)}}).to_string(),
            "403",
        ),
    ] {
        assert_eq!(
            refusal(classified(403, &pairs, &body)).code,
            code,
            "{pairs:?} {body}"
        );
    }
}

#[test]
fn a_403_may_be_the_tokens_fault_and_a_401_the_permissions() {
    let blames = |failure: &Failure| matches!(failure, Failure::TokenRefused(_));
    let expired = r#"{"error":{"code":"TokenExpired","message":"Access token has expired"}}"#;
    let claims = ("WWW-Authenticate", r#"Bearer error="insufficient_claims""#);
    let invalid = ("WWW-Authenticate", r#"Bearer error="invalid_token""#);
    for (status, pairs, body, expected) in [
        (
            403,
            vec![("X-PowerBI-Error-Info", "TokenExpired")],
            "",
            true,
        ),
        (
            403,
            vec![("X-PowerBI-Error-Info", "InvalidToken")],
            "",
            true,
        ),
        (403, vec![], expired, true),
        (401, vec![claims], "", true),
        (
            401,
            vec![claims, ("X-PowerBI-Error-Info", "GroupNotAccessible")],
            "",
            true,
        ),
        (401, vec![invalid], "", true),
        (
            401,
            vec![invalid, ("X-PowerBI-Error-Info", "GroupNotAccessible")],
            "",
            false,
        ),
        (
            401,
            vec![("X-PowerBI-Error-Info", "GroupNotAccessible")],
            expired,
            false,
        ),
        (
            401,
            vec![],
            r#"{"error":{"code":"PowerBINotAuthorizedException"}}"#,
            false,
        ),
        (401, vec![("WWW-Authenticate", "Bearer")], "", false),
        (403, vec![], "", false),
        (400, vec![], expired, false),
    ] {
        assert_eq!(
            blames(&classified(status, &pairs, body)),
            expected,
            "{status} {pairs:?} {body}"
        );
    }
}

#[test]
fn each_known_reason_has_its_remedy() {
    let text = |message: &str| {
        json!({"error": {"code": "InvalidRequest", "message": message}}).to_string()
    };
    for (status, body, remedy) in [
        (
            400,
            text(
                "Creating embed token for accessing dataset x requires effective identity to be provided",
            ),
            "RLS added",
        ),
        (
            400,
            text("Creating embed token for accessing dataset x shouldn't have effective identity"),
            "security: none",
        ),
        (
            400,
            text("dataset x requires roles to be included in provided effective identity"),
            "`roles`",
        ),
        (
            400,
            text(
                "requries effective identity username to be identical to the caller's principal name",
            ),
            "object_id",
        ),
        (
            400,
            text("Creating embed token with multiple identities is not supported"),
            "one identity",
        ),
        (
            400,
            text("Embedding a DirectLake dataset is not supported with V1 embed token"),
            "V1",
        ),
        (400, text("something new"), "debug"),
        (
            401,
            json!({"error": {"code": "PowerBINotAuthorizedException"}}).to_string(),
            "Member",
        ),
        (
            403,
            json!({"Message": "API is not accessible for application"}).to_string(),
            "Developer settings",
        ),
        (403, String::new(), "Member"),
        (
            404,
            json!({"error": {"code": "PowerBIEntityNotFound"}}).to_string(),
            "no such item",
        ),
        (
            404,
            json!({"error": {"code": "CapacityNotActive"}}).to_string(),
            "capacity",
        ),
        (
            503,
            json!({"error": {"code": "CapacityNotActive"}}).to_string(),
            "capacity",
        ),
        (307, String::new(), "api_url"),
        (418, String::new(), "debug"),
    ] {
        let found = refusal(classified(status, &[], &body)).remedy;
        assert!(found.contains(remedy), "{status} {body}: {found}");
    }
    let switch = [(
        "X-PowerBI-Error-Info",
        "ServicePrincipalIsNotAllowedByTenantAdminSwitch",
    )];
    assert!(
        refusal(classified(401, &switch, ""))
            .remedy
            .contains("Fabric public APIs")
    );
}

#[test]
fn a_used_up_allowance_is_told_from_throttling() {
    let quota = "You have exceeded the amount of embed token that can be generated on a shared or ProPlus capacity, see https://go.microsoft.com/fwlink/?linkid=868976";
    let throttling = "You have exceeded the amount of requests allowed in the current time frame and further requests will fail.";
    for body in [
        json!({"error": {"code": "Forbidden", "message": quota}}).to_string(),
        json!({"Message": quota}).to_string(),
        quota.to_owned(),
    ] {
        assert!(matches!(classified(403, &[], &body), Failure::Quota(_)));
    }
    match classified(429, &[("Retry-After", "7")], throttling) {
        Failure::Throttled(wait, _) => assert_eq!(wait.as_secs(), 7),
        other => panic!("{other:?}"),
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_within_reason() {
    let wait = |value: &str| retry_after(&headers(&[("Retry-After", value)])).as_secs();
    assert_eq!(wait("0"), 0);
    assert_eq!(wait(" 12 "), 12);
    assert_eq!(wait("999999999999"), 24 * 60 * 60);
    assert_eq!(wait("soon"), DEFAULT_RETRY_AFTER.as_secs());
    assert_eq!(wait("-1"), DEFAULT_RETRY_AFTER.as_secs());
    assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), 0);
    assert_eq!(retry_after(&HeaderMap::new()), DEFAULT_RETRY_AFTER);
}

#[test]
fn upstream_text_never_becomes_part_of_an_error() {
    let secret = "PLANTED";
    let body = json!({"error": {"code": "InvalidRequest", "message": secret,
        "details": [{"message": secret}],
        "pbi.error": {"details": [{"code": "x", "detail": {"type": 1, "value": secret}}]}}});
    for status in [400, 401, 403, 404, 409, 418, 429, 500, 502, 503] {
        let pairs = [
            ("RequestId", "not an id PLANTED"),
            ("X-PowerBI-Error-Details", &*body.to_string()),
        ];
        let error = classified(status, &pairs, &body.to_string()).into_error("default");
        let text = format!("{error} {error:?}");
        assert!(!text.contains(secret), "{status}: {text}");
    }
}

#[test]
fn messages_in_the_debug_log_are_short_and_hold_no_long_words() {
    let token = "x".repeat(60);
    assert_eq!(
        excerpt(&format!("refused {token} for you")),
        "refused […] for you"
    );
    assert!(excerpt(&"word ".repeat(1000)).len() <= 200);
}
