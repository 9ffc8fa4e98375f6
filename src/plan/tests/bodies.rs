//! Golden requests: the canonical examples of Microsoft's documents, and one of each kind.

use serde_json::json;

use super::*;
use crate::policy::{Access, WorkspaceVersion};

fn classic(item: (GrantParts, Artifact)) -> Case {
    Case::of([granted(item, |parts| {
        parts.workspace_version = WorkspaceVersion::Classic;
    })])
    .by_master_user()
}

#[test]
fn a_report_with_rls() {
    let case = Case::of([opened_as(
        report("R1", [rls("D1")]),
        identity("u@tenant", ["Sales"]),
    )]);
    let plan = case.plan();
    assert_eq!(plan.path(), "GenerateToken");
    assert_eq!(
        plan.body(),
        r#"{"datasets":[{"id":"D1"}],"reports":[{"id":"R1"}],"identities":[{"username":"u@tenant","roles":["Sales"],"datasets":["D1"]}],"lifetimeInMinutes":10}"#
    );
}

#[test]
fn dynamic_binding_has_one_identity_a_model() {
    let item = opened_as(
        report("R1", [rls("D1"), rls("D2")]),
        identity("a", ["sales"]),
    );
    let case = Case::of([granted(item, |parts| {
        parts.dataset_binding = Some("d2".into());
        parts
            .dataset_identities
            .insert("D2".into(), Some(identity("b", ["executive"])));
    })]);
    assert_eq!(
        case.body(),
        json!({
            "datasets": [{ "id": "D1" }, { "id": "D2" }], "reports": [{ "id": "R1" }],
            "identities": [{ "username": "a", "roles": ["sales"], "datasets": ["D1"] },
                           { "username": "b", "roles": ["executive"], "datasets": ["D2"] }],
            "lifetimeInMinutes": 10
        })
    );
}

#[test]
fn a_paginated_report_over_a_model_has_an_identity_each() {
    let expected = json!({
        "datasets": [{ "id": "D1", "xmlaPermissions": "ReadOnly" }], "reports": [{ "id": "RDL1" }],
        "identities": [{ "username": "u", "roles": ["sales"], "datasets": ["D1"] },
                       { "username": "u", "reports": ["RDL1"] }],
        "lifetimeInMinutes": 10
    });
    let one_identity = opened_as(paginated([rls("D1")]), identity("u", ["sales"]));
    assert_eq!(Case::of([one_identity]).body(), expected);
    let one_each = granted(opened_as(paginated([rls("D1")]), named("u")), |parts| {
        parts
            .dataset_identities
            .insert("D1".into(), Some(identity("u", ["sales"])));
    });
    assert_eq!(Case::of([one_each]).body(), expected);
}

#[test]
fn a_composite_model_over_single_sign_on() {
    let source = crate::policy::DatasourceIdentity {
        datasource_type: "Sql".into(),
        connection: [
            ("server".into(), "s".into()),
            ("database".into(), "d".into()),
        ]
        .into(),
        blob_header: "x-sql-token".into(),
    };
    let user = Identity {
        datasource_identities: vec![source],
        ..Identity::default()
    };
    let item = opened_as(report("R1", [plain("D1"), plain("D2")]), user);
    let case = Case::of([granted(item, |parts| {
        parts.security = Security::None;
        parts.xmla = Xmla::ReadOnly;
        parts.datasets[0].security = Security::Sso;
        parts.datasets[0].xmla = Xmla::ReadOnly;
    })])
    .blob("x-sql-token", "eyJ0...");
    assert_eq!(
        case.body(),
        json!({
            "datasets": [{ "id": "D1", "xmlaPermissions": "ReadOnly" }, { "id": "D2", "xmlaPermissions": "ReadOnly" }],
            "reports": [{ "id": "R1" }],
            "datasourceIdentities": [{ "identityBlob": "eyJ0...", "datasources": [
                { "datasourceType": "Sql", "connectionDetails": { "server": "s", "database": "d" } } ] }],
            "lifetimeInMinutes": 10
        })
    );
}

#[test]
fn each_kind_has_its_call() {
    let copies = |save_as_workspace: Option<&str>| {
        granted(report("R1", [plain("D1")]), |parts| {
            parts.access = Access::Edit;
            parts.save_as = true;
            parts.save_as_workspace = save_as_workspace.map(Into::into);
        })
    };
    let mut elsewhere = copies(Some("W2"));
    elsewhere.1.target_workspace = Some(workspace("W2"));
    let covered = json!({ "datasets": [{ "id": "D1" }], "reports": [{ "id": "R1" }], "lifetimeInMinutes": 10 });
    let rows = [
        (report("R1", [plain("D1")]), covered.clone()),
        (visual([plain("D1")]), covered),
        (
            granted(visual([plain("D1")]), |parts| parts.access = Access::Edit),
            json!({ "datasets": [{ "id": "D1" }], "reports": [{ "id": "R1", "allowEdit": true }], "lifetimeInMinutes": 10 }),
        ),
        (
            copies(None),
            json!({ "datasets": [{ "id": "D1" }], "reports": [{ "id": "R1", "allowEdit": true }],
                    "targetWorkspaces": [{ "id": "W" }], "lifetimeInMinutes": 10 }),
        ),
        (
            elsewhere,
            json!({ "datasets": [{ "id": "D1" }], "reports": [{ "id": "R1", "allowEdit": true }],
                    "targetWorkspaces": [{ "id": "W2" }], "lifetimeInMinutes": 10 }),
        ),
        (
            paginated([]),
            json!({ "reports": [{ "id": "RDL1" }], "lifetimeInMinutes": 10 }),
        ),
        (
            opened_as(paginated([]), named("John Smith")),
            json!({ "reports": [{ "id": "RDL1" }], "identities": [{ "username": "John Smith", "reports": ["RDL1"] }],
                    "lifetimeInMinutes": 10 }),
        ),
        (
            qna(plain("D1")),
            json!({ "datasets": [{ "id": "D1" }], "lifetimeInMinutes": 10 }),
        ),
        (
            opened_as(create(rls("D1")), identity("ana", ["Sales"])),
            json!({ "datasets": [{ "id": "D1" }], "targetWorkspaces": [{ "id": "W2" }],
                    "identities": [{ "username": "ana", "roles": ["Sales"], "datasets": ["D1"] }], "lifetimeInMinutes": 10 }),
        ),
    ];
    for (item, expected) in rows {
        let case = Case::of([item]);
        assert_eq!(case.plan().path(), "GenerateToken");
        assert_eq!(case.body(), expected);
    }
}

#[test]
fn dashboards_and_tiles_have_v1_calls_only() {
    let item = opened_as(
        dashboard([rls("D1"), plain("D2"), rls("D3")]),
        identity("ana", ["Sales"]),
    );
    let case = Case::of([granted(item, |parts| {
        parts.datasets = vec![setting("D2", Security::None)];
    })]);
    assert_eq!(case.plan().path(), "groups/W/dashboards/DB1/GenerateToken");
    assert_eq!(
        case.body(),
        json!({ "accessLevel": "View",
                "identities": [{ "username": "ana", "roles": ["Sales"], "datasets": ["D1"] },
                               { "username": "ana", "roles": ["Sales"], "datasets": ["D3"] }],
                "lifetimeInMinutes": 10 })
    );
    let case = Case::of([opened_as(tile([rls("D1")]), identity("ana", ["Sales"]))]);
    assert_eq!(
        case.plan().path(),
        "groups/W/dashboards/DB1/tiles/T1/GenerateToken"
    );
    assert_eq!(
        case.body(),
        json!({ "accessLevel": "View",
                "identities": [{ "username": "ana", "roles": ["Sales"], "datasets": ["D1"] }],
                "lifetimeInMinutes": 10 })
    );
}

#[test]
fn classic_workspaces_have_v1_calls_only() {
    let copies = granted(report("R1", [plain("D1")]), |parts| parts.save_as = true);
    let mut new = create(plain("D1"));
    new.1.target_workspace = Some(workspace("W"));
    let edited = granted(report("R1", [plain("D1")]), |parts| {
        parts.access = Access::Edit;
    });
    let view = json!({ "accessLevel": "View", "lifetimeInMinutes": 10 });
    let rows = [
        (
            report("R1", [plain("D1")]),
            "groups/W/reports/R1/GenerateToken",
            view.clone(),
        ),
        (
            visual([plain("D1")]),
            "groups/W/reports/R1/GenerateToken",
            view.clone(),
        ),
        (
            edited,
            "groups/W/reports/R1/GenerateToken",
            json!({ "accessLevel": "Edit", "lifetimeInMinutes": 10 }),
        ),
        (
            copies,
            "groups/W/reports/R1/GenerateToken",
            json!({ "accessLevel": "View", "allowSaveAs": true, "lifetimeInMinutes": 10 }),
        ),
        (
            new,
            "groups/W/reports/GenerateToken",
            json!({ "accessLevel": "Create", "datasetId": "D1", "lifetimeInMinutes": 10 }),
        ),
        (
            qna(plain("D1")),
            "groups/W/datasets/D1/GenerateToken",
            view.clone(),
        ),
        (
            dashboard([plain("D1"), plain("D2")]),
            "groups/W/dashboards/DB1/GenerateToken",
            view.clone(),
        ),
        (
            tile([plain("D1")]),
            "groups/W/dashboards/DB1/tiles/T1/GenerateToken",
            view,
        ),
    ];
    for (item, path, expected) in rows {
        let case = classic(item);
        assert_eq!(case.plan().path(), path);
        assert_eq!(case.body(), expected);
    }
}

#[test]
fn several_items_share_one_token_whatever_their_order() {
    let sales = || opened_as(report("R1", [rls("D1")]), identity("ana", ["Sales"]));
    let again = || opened_as(report("R2", [rls("D1")]), identity("ana", ["Sales"]));
    let other = || granted(report("R3", [plain("D2")]), |parts| parts.identity = None);
    let plan = Case::of([other(), again(), sales()]).plan();
    assert_eq!(
        serde_json::from_slice::<Value>(plan.body()).unwrap(),
        json!({ "datasets": [{ "id": "D1" }, { "id": "D2" }],
                "reports": [{ "id": "R1" }, { "id": "R2" }, { "id": "R3" }],
                "identities": [{ "username": "ana", "roles": ["Sales"], "datasets": ["D1"] }],
                "lifetimeInMinutes": 10 })
    );
    assert_eq!(
        plan.key(),
        Case::of([sales(), again(), other()]).plan().key()
    );
    let order: Vec<_> = plan.items().iter().map(|item| &*item.item).collect();
    assert_eq!(
        order,
        ["r3", "r2", "r1"],
        "the page's part keeps the order asked"
    );
}

#[test]
fn paginated_visuals_are_listed_and_named() {
    let item = opened_as(report("R1", [rls("D1")]), identity("ana", ["Sales"]));
    let case = Case::of([granted(item, |parts| {
        parts.paginated_visuals = vec!["RDL1".into()];
    })]);
    let body = case.body();
    assert_eq!(body["reports"], json!([{ "id": "R1" }, { "id": "rdl1" }]));
    assert_eq!(
        body["identities"][1],
        json!({ "username": "ana", "reports": ["rdl1"] })
    );
}

#[test]
fn every_part_of_an_identity_is_sent() {
    let whole = Identity {
        custom_data: Some("EMEA".into()),
        auditable_context: Some("u1".into()),
        ..identity("ana", ["Sales", "Audit"])
    };
    let plan = Case::of([opened_as(report("R1", [rls("D1")]), whole)]).plan();
    let sent = json!([{ "username": "ana", "roles": ["Sales", "Audit"], "datasets": ["D1"],
                        "customData": "EMEA", "auditableContext": "u1" }]);
    let body: Value = serde_json::from_slice(plan.body()).unwrap();
    assert_eq!(body["identities"], sent);
    assert_eq!(json!(plan.identities()), sent, "and audited");
}

#[test]
fn the_lifetime_is_the_smallest_of_all_bounds() {
    let case = Case::of([report("R1", [plain("D1")]), report("R2", [plain("D1")])]);
    let minutes = |rule: Option<u64>, session: Option<i64>| {
        let case = case.changed(|case| {
            case.items[1].0.lifetime = rule.map(Duration::from_secs);
            case.session_ends = session.map(|left| NOW + time::Duration::seconds(left));
        });
        case.build().map(|plan| plan.lifetime().as_secs() / 60)
    };
    assert_eq!(minutes(None, None), Ok(10));
    assert_eq!(minutes(Some(239), None), Ok(3), "rounded down");
    assert_eq!(minutes(Some(3_600), None), Ok(10), "a rule never lengthens");
    assert_eq!(minutes(None, Some(119)), Ok(1));
    assert_eq!(minutes(Some(239), Some(3_600)), Ok(3));
    assert_eq!(
        minutes(Some(30), None),
        Ok(1),
        "never zero, which has no bound"
    );
    for left in [59, 0, -1, -86_400] {
        assert_eq!(
            minutes(None, Some(left)),
            Err(Refusal::SessionEnds),
            "{left} s"
        );
    }
    assert_eq!(case.body()["lifetimeInMinutes"], 10);
}
