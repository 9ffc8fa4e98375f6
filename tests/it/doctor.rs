//! `doctor` against the simulated services: well, and with one thing wrong at a time.
//!
//! It is run as operators run it, as a process of its own. Each fault must be told with its remedy, and nothing else may
//! be called FAILED beside it.

use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::test_app::Setup;

const CONTOSO: &str = "50ace000-0000-4000-8000-000000000001";
const SHARED: &str = "50ace000-0000-4000-8000-000000000003";
const PERSONAL: &str = "50ace000-0000-4000-8000-000000000006";
const CLASSIC: &str = "50ace000-0000-4000-8000-000000000005";
const ARCHIVE: &str = "50ace000-0000-4000-8000-000000000007";
const PRINCIPAL: &str = "0b1ec700-0000-4000-8000-000000000001";
const PROFILE: &str = "940f11e0-0000-4000-8000-000000000001";

/// What doctor said.
struct Diagnosis {
    code: i32,
    out: String,
    err: String,
}

impl Diagnosis {
    /// The one line with all of these words.
    #[track_caller]
    fn line(&self, words: &[&str]) -> &str {
        let mut lines = self
            .out
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        match (lines.next(), lines.next()) {
            (Some(line), None) => line,
            (None, _) => panic!("no line with {words:?}:\n{}{}", self.out, self.err),
            (Some(_), Some(_)) => panic!("lines with {words:?}:\n{}", self.out),
        }
    }

    /// The lines that say FAILED.
    fn failed(&self) -> Vec<&str> {
        let lines = self.out.lines();
        lines.filter(|line| line.starts_with("FAILED")).collect()
    }

    /// Asserts that a single finding FAILED: this one.
    #[track_caller]
    fn only_failure(&self, words: &[&str]) {
        let line = self.line(&[&["FAILED"], words].concat());
        assert_eq!(self.failed(), [line], "{}", self.out);
        assert_eq!(self.code, 1, "{}", self.err);
        assert!(line.contains("Remedy: "), "{line}");
        assert!(self.err.contains("1 finding FAILED"), "{}", self.err);
    }
}

async fn run(config: &Path, arguments: &[&str]) -> Diagnosis {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_embed-broker"))
        .arg("--config")
        .arg(config)
        .arg("doctor")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    Diagnosis {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn doctor(app: &TestApp) -> Diagnosis {
    run(&app.file("broker.yaml"), &[]).await
}

/// The sandbox with something else in its policy.
fn edited(from: &str, to: &str) -> Setup {
    TestApp::setup().edit_policy(from, to)
}

async fn power_bi(app: &TestApp, change: Value) {
    app.control(Method::PUT, "/sandbox/power_bi", change).await;
}

async fn patch(app: &TestApp, thing: &str, change: Value) {
    app.control(Method::PATCH, &format!("/sandbox/{thing}"), change)
        .await;
}

fn dataset(n: u32) -> String {
    format!("datasets/da7a5e70-0000-4000-8000-{n:012}")
}

// === well ===

#[tokio::test]
async fn the_sandbox_is_well() {
    let app = TestApp::start().await;
    app.forget_calls().await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}{}", diagnosis.out, diagnosis.err);
    assert_eq!(diagnosis.failed(), Vec::<&str>::new());
    diagnosis.line(&["warning", "principal", "master user"]);
    diagnosis.line(&[
        "1 warning, 0 FAILED",
        "24 items",
        "2 of 2 rows of table tenant",
        "4 of 7 cases led to a place",
    ]);
    diagnosis.line(&["ok      issuer     demo: 1 signing key"]);
    diagnosis.line(&[
        "ok",
        "workspace  Contoso",
        "as profile contoso: Admin",
        "F64",
    ]);
    let items = app.get("ana", "/items").await.ok();
    for item in items["items"].as_array().unwrap() {
        let name = format!("item       {} in ", item["item"].as_str().unwrap());
        assert!(diagnosis.out.contains(&name), "{name}: {}", diagnosis.out);
    }
    // Nothing is asked that Power BI does not have, and no token is shown.
    for call in app.calls("power_bi", "").await {
        assert_eq!(call["complaint"], Value::Null, "{call}");
    }
    assert!(!diagnosis.out.contains("H4sI") && diagnosis.err.is_empty());
    // Only what nothing else can prove takes a token.
    let mints = app.mints().await;
    assert_eq!(mints.len(), 1, "{mints:?}");
    assert_eq!(mints[0]["body"]["lifetimeInMinutes"], 1);
}

#[tokio::test]
async fn how_much_of_a_table_was_looked_at_is_said() {
    let app = TestApp::start().await;
    let diagnosis = run(&app.file("broker.yaml"), &["--rows", "1"]).await;
    diagnosis.line(&["1 of 2 rows of table tenant"]);
    // Fabrikam is still known: a case of the policy leads there.
    diagnosis.line(&["workspace  Fabrikam"]);
}

// === callers ===

#[tokio::test]
async fn keys_that_cannot_be_had() {
    let app = TestApp::start().await;
    app.faults(json!([{"service": "idp", "status": 500}])).await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&["issuer     demo", "500"]);
}

// === principals ===

#[tokio::test]
async fn a_wrong_secret() {
    let app = TestApp::setup()
        .before(
            Method::PUT,
            "/sandbox/entra",
            json!({"secret": "rotated-elsewhere"}),
        )
        .not_ready()
        .start()
        .await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "credential default, client_secret",
        "AADSTS7000215",
        "give the secret's value, not its id",
    ]);
    let skipped = diagnosis.line(&["warning", "item       sales in Contoso"]);
    assert!(skipped.contains("not looked at"), "{skipped}");
    diagnosis.line(&["ok", "item       archive in Archive"]);
}

#[tokio::test]
async fn the_first_of_two_credentials_has_expired_and_the_second_soon_will() {
    let soon = time::OffsetDateTime::now_utc() + time::Duration::days(10);
    let soon = soon
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let app = TestApp::setup()
        .edit(
            "      - { kind: client_secret, secret: sandbox-secret-not-for-production }",
            &format!(
                "      - {{ kind: client_secret, secret: sandbox-secret-of-last-year }}\n      - {{ kind: client_secret, secret: sandbox-secret-not-for-production, expires: \"{soon}\" }}"
            ),
        )
        .start()
        .await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&["credential default", "AADSTS7000222", "create a new one"]);
    diagnosis.line(&["warning", "credential default", "expires itself in 9 days"]);
    diagnosis.line(&["ok", "item       sales in Contoso"]);
}

#[tokio::test]
async fn the_tenants_switch_for_service_principals() {
    let app = TestApp::start().await;
    power_bi(&app, json!({"service_principals": false})).await;
    let diagnosis = doctor(&app).await;
    assert_eq!((diagnosis.code, diagnosis.failed().len()), (1, 2));
    for principal in ["default", "archive"] {
        let line = diagnosis.line(&[
            "FAILED  principal",
            &format!("{principal}: "),
            "ServicePrincipalIsNotAllowedByTenantAdminSwitch",
        ]);
        for switch in [
            "Service principals can call Fabric public APIs",
            "Service principals can use Fabric APIs",
            "Allow service principals to use Power BI APIs",
            "Embed content in apps",
        ] {
            assert!(line.contains(switch), "{switch}: {line}");
        }
    }
    diagnosis.line(&["ok", "item       classic-sales"]);
}

#[tokio::test]
async fn the_tenants_switch_for_profiles() {
    let app = TestApp::start().await;
    power_bi(&app, json!({"profiles": false})).await;
    let diagnosis = doctor(&app).await;
    assert_eq!((diagnosis.code, diagnosis.failed().len()), (1, 2));
    for workspace in ["Contoso", "Fabrikam"] {
        let line = diagnosis.line(&["FAILED  workspace", workspace]);
        assert!(
            line.contains("Allow service principals to create and use profiles"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn an_audience_that_power_bi_does_not_take() {
    let app = TestApp::start().await;
    app.faults(
        json!([{"service": "power_bi", "path_contains": "availableFeatures", "status": 403,
        "headers": {"X-PowerBI-Error-Info": "InvalidToken"}}]),
    )
    .await;
    let diagnosis = doctor(&app).await;
    let line = diagnosis.line(&["FAILED  principal", " default: "]);
    assert!(line.contains("cloud, tenant and scope"), "{line}");
}

// === workspaces ===

#[tokio::test]
async fn a_workspace_that_the_principal_does_not_see() {
    let item = "    workspace: Archive\n    report: Archive\n    principal: archive";
    let elsewhere = format!("    workspace: {ARCHIVE}\n    report: Archive");
    let app = edited(item, &elsewhere).start().await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "workspace",
        ARCHIVE,
        "GroupNotAccessible",
        "Member or Admin",
    ]);
    diagnosis.line(&["warning", "item       archive", "not looked at"]);
}

#[tokio::test]
async fn a_workspace_whose_name_nothing_bears() {
    let app = edited(
        "    workspace: Thin Reports",
        "    workspace: Thick Reports",
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&["workspace  Thick Reports", "nothing of that name"]);
}

#[tokio::test]
async fn a_right_that_is_too_little() {
    let app = TestApp::start().await;
    let users = json!([{"who": PRINCIPAL, "right": "Viewer"}]);
    patch(
        &app,
        &format!("workspaces/{SHARED}"),
        json!({"users": users}),
    )
    .await;
    let diagnosis = doctor(&app).await;
    let line = diagnosis.line(&["FAILED  workspace  Shared Models"]);
    assert!(line.contains("Viewer is too little to mint"), "{line}");
    assert!(line.contains("make it Member or Admin"), "{line}");
}

#[tokio::test]
async fn a_right_that_cannot_be_told_without_an_object_id() {
    let app = TestApp::setup()
        .edit("    object_id: 0b1ec700-0000-4000-8000-000000000002\n", "")
        .start()
        .await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0);
    diagnosis.line(&["warning workspace  Archive", "Remedy: set `object_id`"]);
    // Where no application holds enough there is nothing to tell apart.
    let users = json!([{"who": "0b1ec700-0000-4000-8000-000000000002", "right": "Contributor"}]);
    patch(
        &app,
        &format!("workspaces/{ARCHIVE}"),
        json!({"users": users}),
    )
    .await;
    let diagnosis = doctor(&app).await;
    let line = diagnosis.line(&["FAILED  workspace  Archive"]);
    assert!(line.contains("no application is Member or Admin"), "{line}");
}

#[tokio::test]
async fn an_object_id_that_is_another_ones() {
    const OWN: &str = "    object_id: 0b1ec700-0000-4000-8000-000000000002\n";
    let with = |id: &str| TestApp::setup().edit(OWN, &format!("    object_id: {id}\n"));
    let stranger = with("99999999-0000-4000-8000-000000000002").start().await;
    let diagnosis = doctor(&stranger).await;
    assert_eq!(diagnosis.code, 0);
    diagnosis.line(&[
        "warning workspace  Archive",
        "the id is not the service principal's",
        "not App registrations",
    ]);
    let client = with("c11e4700-0000-4000-8000-000000000002").start().await;
    let diagnosis = doctor(&client).await;
    diagnosis.only_failure(&["principal  archive", "is the application's client id"]);
}

#[tokio::test]
async fn the_workspace_for_copies_counts_as_well() {
    let app = edited(
        "    report: 4e904700-0000-4000-8000-000000000011 # Benchmarks",
        &format!("    save_as_workspace: {CLASSIC}\n    report: 4e904700-0000-4000-8000-000000000011 # Benchmarks"),
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&["workspace", CLASSIC, "GroupNotAccessible"]);
    diagnosis.line(&["warning", "item       benchmarks in ", "not looked at"]);
}

/// The policy gives one by id and the other by name; that it is one workspace only Power BI tells.
#[tokio::test]
async fn copies_beside_a_report_that_is_found_by_name() {
    let thin = "50ace000-0000-4000-8000-000000000008";
    let app = edited(
        "    report: 4e904700-0000-4000-8000-000000000011 # Benchmarks",
        &format!("    save_as_workspace: {thin}\n    report: 4e904700-0000-4000-8000-000000000011 # Benchmarks"),
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 1, "{}", diagnosis.out);
    diagnosis.line(&[
        "FAILED",
        "benchmarks-at-a-glance in Thin Reports",
        "not_permitted",
        "reports of item `benchmarks` are saved",
        "Remedy: give the report by id",
    ]);
    diagnosis.line(&[
        "FAILED",
        "benchmarks in Shared Models",
        "not_permitted",
        "item `benchmarks-at-a-glance` finds its report by name",
    ]);
}

#[tokio::test]
async fn a_personal_workspace() {
    let app = edited(
        "    workspace: Classic\n",
        &format!("    workspace: {PERSONAL}\n"),
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&["workspace", PERSONAL, "never embedded", "shared workspace"]);
}

#[tokio::test]
async fn a_classic_workspace_needs_its_declaration_and_an_admin() {
    let app = edited("    workspace_version: classic\n", "").start().await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&["workspace  Classic", "declare `workspace_version: classic`"]);

    let app = TestApp::start().await;
    let users = json!([{"who": "master@isv.example", "right": "Member"}]);
    let classic = "workspaces/50ace000-0000-4000-8000-000000000005";
    patch(&app, classic, json!({"users": users})).await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "workspace  Classic",
        "Member is too little",
        "make it Admin",
    ]);
}

// === capacities ===

#[tokio::test]
async fn a_capacity_that_sleeps() {
    let app = TestApp::start().await;
    power_bi(&app, json!({"capacity_state": "Suspended"})).await;
    let diagnosis = doctor(&app).await;
    assert_eq!((diagnosis.code, diagnosis.failed().len()), (1, 6));
    let line = diagnosis.line(&["FAILED  workspace  Contoso"]);
    assert!(
        line.contains("Sandbox Capacity (F64) is Suspended"),
        "{line}"
    );
    assert!(line.contains("resume the capacity"), "{line}");
}

#[tokio::test]
async fn a_workspace_on_no_capacity_has_trial_tokens_until_there_are_none() {
    let app = edited("    workspace: Thin Reports\n    report: Benchmarks at a Glance\n    dataset_workspace: Shared Models", "    workspace: Trial\n    report: Trial Sales\n    security: none")
        .start()
        .await;
    power_bi(&app, json!({"trial_usage": 65})).await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.out);
    diagnosis.line(&[
        "warning workspace  Trial",
        "65 % of their allowance",
        "on a capacity (A, EM, P or F)",
    ]);
    power_bi(&app, json!({"trial_usage": 100})).await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "workspace  Trial",
        "the trial allowance for embed tokens is used up",
        "capacity",
    ]);
}

#[tokio::test]
async fn what_needs_a_capacity_and_has_none() {
    let app = TestApp::start().await;
    patch(
        &app,
        &format!("workspaces/{SHARED}"),
        json!({"capacity": null}),
    )
    .await;
    let diagnosis = doctor(&app).await;
    for (item, what) in [
        ("benchmark-ledger", "a paginated report"),
        ("operations", "a paginated report"),
        ("group-plan", "the XMLA right"),
    ] {
        let line = diagnosis.line(&["FAILED  item", &format!("{item} in ")]);
        assert!(line.contains(what) && line.contains("capacity"), "{line}");
    }
    diagnosis.line(&["warning workspace  Shared Models", "on no capacity"]);
}

// === items and rules ===

#[tokio::test]
async fn row_level_security_that_vanished() {
    let app = TestApp::start().await;
    let gone =
        json!({"isEffectiveIdentityRequired": false, "isEffectiveIdentityRolesRequired": false});
    patch(&app, &dataset(2), gone).await;
    let diagnosis = doctor(&app).await;
    for rule in ["auditors", "managers", "viewers"] {
        let rule = format!("rule `{rule}`");
        let line = diagnosis.line(&["FAILED  rule       sales-dashboard", "Contoso", &rule]);
        for words in [
            "rls_missing",
            "da7a5e70-0000-4000-8000-000000000002",
            "publish the model with its roles",
        ] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }
    // The same report as the target of an item that leaves the choice.
    diagnosis.line(&[
        "FAILED  rule       any-report",
        "target Targets",
        "rule `managers`",
    ]);
    assert!(
        diagnosis
            .out
            .contains("ok      item       sales in Contoso")
    );
}

#[tokio::test]
async fn row_level_security_that_came_and_found_no_identity() {
    let app = TestApp::start().await;
    patch(&app, &dataset(51), json!({"security": "cloud_rls"})).await;
    let diagnosis = doctor(&app).await;
    let line = diagnosis.line(&["FAILED  rule       archive", "security_mismatch"]);
    assert!(
        line.contains("policy says `none`, Power BI shows `cloud_rls`"),
        "{line}"
    );

    let app = edited(
        "    principal: archive\n    security: none\n",
        "    principal: archive\n",
    )
    .start()
    .await;
    patch(&app, &dataset(51), json!({"security": "cloud_rls"})).await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "rule       archive",
        "identity_required",
        "role that has no filter",
    ]);
}

#[tokio::test]
async fn a_report_that_is_gone_or_not_alone() {
    // By name, which is for workspaces that no report may be saved into.
    let by_name = || {
        edited(
            "report: { cel: tenant.sales }\n    embed:",
            "report: Sales Overview\n    embed:",
        )
        .edit_policy("    access: create\n", "")
    };
    let app = by_name().start().await;
    let path = "/sandbox/reports/4e904700-0000-4000-8000-000000000001";
    app.control(Method::DELETE, path, Value::Null).await;
    let diagnosis = doctor(&app).await;
    let line = diagnosis.line(&["FAILED  item       sales in Contoso"]);
    assert!(
        line.contains("`Sales Overview`") && line.contains("nothing of that name"),
        "{line}"
    );
    diagnosis.line(&["ok", "item       sales in Fabrikam"]);

    let app = by_name().start().await;
    let twin = json!({"workspace": CONTOSO, "name": "Sales Overview", "datasetId": "da7a5e70-0000-4000-8000-000000000001"});
    app.control(Method::POST, "/sandbox/reports", twin).await;
    let diagnosis = doctor(&app).await;
    let line = diagnosis.line(&["FAILED  item       sales in Contoso"]);
    assert!(
        line.contains("more than one thing bears that name"),
        "{line}"
    );
    assert!(line.contains("Remedy: use the id"), "{line}");
}

#[tokio::test]
async fn a_paginated_report_inside_another_that_is_not_there() {
    let app = edited(
        "    paginated_visuals: [4e904700-0000-4000-8000-000000000022]",
        "    paginated_visuals: [4e904700-0000-4000-8000-000000000012, 4e904700-0000-4000-8000-000000000099]",
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    diagnosis.line(&[
        "FAILED  item       operations",
        "000000000012, which is an interactive report",
    ]);
    diagnosis.line(&["FAILED  item       operations", "000000000099", "404"]);
}

#[tokio::test]
async fn a_rule_that_a_source_cannot_serve() {
    let app = edited(
        "  - name: all-orders\n    items: [orders-by-region]",
        "  - name: all-orders\n    items: [orders-by-reg*, price-list]",
    )
    .edit_policy(
        "roles: [Everything], identity_blob: { header: X-Sql-Token } }",
        "roles: [Everything] }",
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "rule       orders-by-region",
        "rule `all-orders`",
        "needs the end user's own token",
    ]);
}

#[tokio::test]
async fn single_sign_on_that_nobody_declared() {
    let app = edited(
        "    report: 4e904700-0000-4000-8000-000000000015 # Orders\n    security: sso\n",
        "    report: 4e904700-0000-4000-8000-000000000015\n",
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    diagnosis.line(&[
        "warning item       orders in",
        "Power BI does not tell",
        "declare its `security`: sso",
    ]);
    // The blob that the rule gives is refused until it is declared.
    diagnosis.line(&[
        "FAILED  rule       orders in",
        "security_mismatch",
        "an identity blob",
    ]);
}

#[tokio::test]
async fn a_name_for_azure_analysis_services_out_of_the_claims() {
    let app = edited(
        "username: 0b1ec700-0000-4000-8000-000000000001, roles: [Own Company]",
        "username: { cel: claims.oid }, roles: [Own Company]",
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.out);
    diagnosis.line(&[
        "warning rule       forecast",
        "own-forecast",
        "leave `username` out",
    ]);
}

#[tokio::test]
async fn a_place_that_only_a_caller_knows() {
    let app = edited(
        "    workspace: Thin Reports\n",
        "    workspace: { cel: claims.workspace }\n",
    )
    .start()
    .await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.out);
    diagnosis.line(&[
        "warning item       benchmarks-at-a-glance",
        "depends on the caller's `claims`",
        "add a case",
    ]);
}

#[tokio::test]
async fn an_item_that_nobody_gets_and_a_rule_that_decides_nothing() {
    let app = TestApp::setup()
        .edit_policy(
            "items: [price-list, operations, archive]",
            "items: [price-list, operations]",
        )
        .edit_policy(
            "  - name: auditors\n    items: [\"*\"]",
            "  - name: auditors\n    items: [\"sales*\"]",
        )
        .edit_policy(
            "# === Cases",
            "  - { name: too-late, items: [price-list], identity: none }\n\n# === Cases",
        )
        .start()
        .await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.out);
    diagnosis.line(&["warning item       archive: no rule gives it to anybody"]);
    diagnosis.line(&[
        "warning rule       too-late: it decides nothing",
        "move it up",
    ]);
}

// === gateways ===

#[tokio::test]
async fn a_gateway_right_that_is_missing() {
    let app = TestApp::start().await;
    patch(&app, &dataset(13), json!({"impersonators": []})).await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "gateway    6a7e3a70-0000-4000-8000-000000000001",
        "is refused",
        "\"datasourceAccessRight\":\"ReadOverrideEffectiveIdentity\"",
        "or make the principal an administrator of the gateway",
    ]);
    // An administrator may, and shows it without a token.
    power_bi(&app, json!({"gateway_admins": [PRINCIPAL]})).await;
    app.forget_calls().await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.out);
    diagnosis.line(&["ok      gateway", "the principal administers it"]);
    assert_eq!(app.mints().await.len(), 0);
}

#[tokio::test]
async fn a_profile_needs_the_gateway_right_itself() {
    let app = edited(
        "    report: 4e904700-0000-4000-8000-000000000013 # Ledger\n",
        "    report: 4e904700-0000-4000-8000-000000000013\n    profile: contoso\n",
    )
    .start()
    .await;
    let users = json!([{"who": PRINCIPAL, "right": "Admin"}, {"who": PRINCIPAL, "profile": PROFILE, "right": "Member"}]);
    patch(
        &app,
        &format!("workspaces/{SHARED}"),
        json!({"users": users}),
    )
    .await;
    power_bi(&app, json!({"gateway_admins": [PRINCIPAL]})).await;
    let diagnosis = doctor(&app).await;
    diagnosis.only_failure(&[
        "gateway",
        "a profile cannot administer a gateway",
        &format!("\"profile\":{{\"id\":\"{PROFILE}\"}}"),
    ]);
    patch(&app, &dataset(13), json!({"impersonators": [PROFILE]})).await;
    let diagnosis = doctor(&app).await;
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.out);
    diagnosis.line(&[
        "ok      gateway",
        "the profile holds ReadOverrideEffectiveIdentity",
    ]);
}

// === configuration ===

#[tokio::test]
async fn faults_of_configuration_and_policy_are_told_as_check_tells_them() {
    let app = TestApp::start().await;
    app.edit(
        "broker.yaml",
        "    audiences: [embed-broker]",
        "    audiences: []",
    );
    app.edit(
        "policy.yaml",
        "    report: Benchmarks",
        "    repotr: Benchmarks",
    );
    let told = async |command: &str| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_embed-broker"))
            .arg("--config")
            .arg(app.file("broker.yaml"))
            .arg(command)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let (doctor, check) = (told("doctor").await, told("check").await);
    assert_eq!(doctor, check);
    assert!(
        doctor.contains("audiences") && doctor.contains("repotr"),
        "{doctor}"
    );
}
