//! Identity blobs: where they go, what is refused without them, and how long they may be kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::policy::DatasourceIdentity;

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "alg": "none" })), part(claims))
}

fn with_blob() -> Identity {
    Identity {
        identity_blob: Some("x-sql-token".into()),
        ..Identity::default()
    }
}

fn with_source(server: &str, header: &str) -> Identity {
    Identity {
        datasource_identities: vec![DatasourceIdentity {
            datasource_type: "Sql".into(),
            connection: [("server", server), ("database", "d")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            blob_header: header.into(),
        }],
        ..Identity::default()
    }
}

fn sso(id: &str, identity: Identity) -> (GrantParts, Artifact) {
    granted(opened_as(report(id, [plain("D1")]), identity), |parts| {
        parts.security = Security::Sso;
    })
}

#[test]
fn a_blob_stands_inside_its_identity_as_an_object() {
    let case = Case::of([sso("R1", with_blob())]).blob("x-sql-token", "secret");
    assert_eq!(
        case.body()["identities"],
        json!([{ "datasets": ["D1"], "identityBlob": { "value": "secret" } }])
    );
}

#[test]
fn a_datasource_identity_stands_beside_them_as_a_string() {
    let case = Case::of([sso("R1", with_source("s", "x-sql-token"))]).blob("x-sql-token", "secret");
    assert_eq!(
        case.body(),
        json!({
            "datasets": [{ "id": "D1" }], "reports": [{ "id": "R1" }],
            "datasourceIdentities": [{ "identityBlob": "secret", "datasources": [
                { "datasourceType": "Sql", "connectionDetails": { "server": "s", "database": "d" } } ] }],
            "lifetimeInMinutes": 10
        })
    );
}

#[test]
fn a_source_that_two_items_share_is_listed_once() {
    let items = [
        sso("R1", with_source("s", "x-sql-token")),
        sso("R2", with_source("s", "x-sql-token")),
    ];
    let body = Case::of(items).blob("x-sql-token", "secret").body();
    assert_eq!(body["datasourceIdentities"].as_array().unwrap().len(), 1);
}

#[test]
fn one_source_with_two_tokens_is_refused() {
    let (mut other, mut facts) = sso("R2", with_source("s", "x-other"));
    if let ContentFacts::Report(report) = &mut facts.content {
        Arc::make_mut(report).dataset_id = Some("D2".into());
    }
    facts.datasets = vec![Arc::new(plain("D2"))];
    other.item = "other".into();
    let case = Case::of([sso("R1", with_source("s", "x-sql-token")), (other, facts)])
        .blob("x-sql-token", "a")
        .blob("x-other", "b");
    assert_eq!(case.outcome(), "items_not_combinable");
}

#[test]
fn without_its_header_nothing_is_minted() {
    for identity in [with_blob(), with_source("s", "x-sql-token")] {
        let case = Case::of([sso("R1", identity)]);
        assert_eq!(case.outcome(), "blob_missing");
        assert_eq!(case.blob("x-sql-token", " ").outcome(), "blob_missing");
    }
}

#[test]
fn single_sign_on_must_be_declared() {
    for identity in [with_blob(), with_source("s", "x-sql-token")] {
        let identity = Identity {
            username: Some("ana".into()),
            roles: vec!["Sales".into()],
            ..identity
        };
        let case = Case::of([opened_as(report("R1", [rls("D1")]), identity)])
            .blob("x-sql-token", "secret");
        assert_eq!(case.outcome(), "security_mismatch");
    }
}

#[test]
fn single_sign_on_takes_what_it_takes() {
    let sql = || Identity {
        identity_blob: Some("x-sql-token".into()),
        ..identity("ana", ["Sales"])
    };
    let rows = [
        // Roles under plain `sso`, whether the model has some or not.
        (Security::Sso, plain("D1"), sql(), "security_mismatch"),
        (Security::Sso, rls("D1"), with_blob(), "security_mismatch"),
        (
            Security::Sso,
            plain("D1"),
            named("ana"),
            "identity_unmappable",
        ),
        (
            Security::Sso,
            on_premises("D1"),
            with_blob(),
            "security_mismatch",
        ),
        (
            Security::SsoCloudRls,
            on_premises("D1"),
            sql(),
            "security_mismatch",
        ),
        (Security::SsoCloudRls, rls("D1"), sql(), "planned"),
        (
            Security::SsoCloudRls,
            rls("D1"),
            with_blob(),
            "identity_unmappable",
        ),
        (
            Security::SsoCloudRls,
            rls("D1"),
            identity("ana", ["Sales"]),
            "identity_unmappable",
        ),
        (
            Security::SsoCloudRls,
            rls("D1"),
            Identity {
                roles: Vec::new(),
                ..sql()
            },
            "identity_unmappable",
        ),
    ];
    for (declared, dataset, identity, expected) in rows {
        let item = opened_as(report("R1", [dataset]), identity.clone());
        let case = Case::of([granted(item, |parts| parts.security = declared)])
            .blob("x-sql-token", "secret");
        assert_eq!(case.outcome(), expected, "{declared:?} with {identity:?}");
    }
}

#[test]
fn a_token_is_kept_no_longer_than_its_blob() {
    let in_an_hour = NOW + Duration::from_secs(3_600);
    let at = CacheUntil::At(in_an_hour);
    let rows = [
        (jwt(&json!({ "exp": in_an_hour.unix_timestamp() })), at),
        (jwt(&json!({ "exp": 1_767_261_600.9 })), at),
        (jwt(&json!({ "sub": "ana" })), CacheUntil::Never),
        (jwt(&json!({ "exp": "soon" })), CacheUntil::Never),
        (jwt(&json!({ "exp": i64::MAX })), CacheUntil::Never),
        ("opaque".to_owned(), CacheUntil::Never),
        ("a.b.c".to_owned(), CacheUntil::Never),
    ];
    for (blob, expected) in rows {
        let plan = Case::of([sso("R1", with_blob())])
            .blob("x-sql-token", &blob)
            .plan();
        assert_eq!(plan.cache_until(), expected, "{blob}");
    }
    let plain = Case::of([report("R1", [plain("D1")])]).plan();
    assert_eq!(plain.cache_until(), CacheUntil::Expiration);
}

#[test]
fn the_strictest_blob_decides() {
    let ends = |minutes: u64| {
        let end = NOW + Duration::from_secs(minutes * 60);
        jwt(&json!({ "exp": end.unix_timestamp() }))
    };
    let mut both = with_source("s", "x-a");
    both.identity_blob = Some("x-b".into());
    let case = Case::of([sso("R1", both)]);
    let keep = |a: &str, b: &str| {
        case.clone()
            .blob("x-a", a)
            .blob("x-b", b)
            .plan()
            .cache_until()
    };
    let soon = CacheUntil::At(NOW + Duration::from_secs(300));
    assert_eq!(keep(&ends(5), &ends(9)), soon);
    assert_eq!(keep(&ends(9), &ends(5)), soon);
    assert_eq!(keep("opaque", &ends(5)), CacheUntil::Never);
}

#[test]
fn a_blob_that_has_expired_is_none() {
    let expired = jwt(&json!({ "exp": NOW.unix_timestamp() }));
    let case = Case::of([sso("R1", with_blob())]).blob("x-sql-token", &expired);
    let text = case.build().unwrap_err().to_string();
    assert_eq!(case.outcome(), "blob_missing");
    assert!(
        text.contains("expired") && !text.contains(&expired),
        "{text}"
    );
}

#[test]
fn blobs_show_in_the_body_alone() {
    let mut both = with_source("s", "x-a");
    both.identity_blob = Some("x-a".into());
    let plan = Case::of([sso("R1", both)]).blob("x-a", "secret").plan();
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    assert_eq!(
        json!(plan.identities()),
        json!([
            { "datasets": ["D1"], "identityBlob": { "sha256": hash } },
            { "datasources": [{ "datasourceType": "Sql", "connectionDetails": { "server": "s", "database": "d" } }],
              "identityBlob": { "sha256": hash } }
        ])
    );
    assert!(!format!("{plan:?}").contains("secret"));
}

#[test]
fn datasource_identities_have_no_v1_form() {
    let item = opened_as(tile([plain("D1")]), with_source("s", "x-a"));
    let item = granted(item, |parts| parts.security = Security::Sso);
    let case = Case::of([item]).blob("x-a", "secret");
    assert_eq!(case.outcome(), "security_mismatch");
}

#[test]
fn a_paginated_report_takes_them_when_declared() {
    let mut both = with_source("s", "x-a");
    both.username = Some("Ana".into());
    let item = opened_as(paginated([]), both);
    let case = Case::of([item.clone()]).blob("x-a", "secret");
    assert_eq!(case.outcome(), "security_mismatch");
    let case =
        Case::of([granted(item, |parts| parts.security = Security::Sso)]).blob("x-a", "secret");
    let body = case.body();
    assert_eq!(
        body["identities"],
        json!([{ "username": "Ana", "reports": ["RDL1"] }])
    );
    assert_eq!(body["datasourceIdentities"][0]["identityBlob"], "secret");
}
