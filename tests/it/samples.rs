//! Every file in `config/`, and the samples of the README: they load, their cases hold, the schemas that editors use say
//! the same, and each way to keep customers apart does so in the sandbox.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::test_app::Setup;

const README: &str = include_str!("../../README.md");
const EMBEDDING: &str = include_str!("../../docs/embedding.md");

/// The YAML files below a folder.
fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(path.to_str().unwrap()));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_broker(path: &Path) -> bool {
    path.file_name().unwrap() == "broker.yaml"
}

fn policies() -> Vec<PathBuf> {
    let mut files = yaml_files("config");
    files.retain(|path| !is_broker(path));
    files
}

/// Runs the program; the secrets that samples take from the environment are there.
fn run(arguments: &[&str], policy: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embed-broker"));
    command.args(arguments);
    for name in [
        "PBI_CLIENT_SECRET",
        "PBI_CONTOSO_SECRET",
        "PBI_FABRIKAM_SECRET",
    ] {
        command.env(name, "planted");
    }
    if let Some(policy) = policy {
        command.env("EMBED_BROKER__POLICY_FILE", policy.file_name().unwrap());
    }
    command.output().unwrap()
}

#[track_caller]
fn check(broker: &Path, policy: Option<&Path>) {
    let output = run(&["--config", broker.to_str().unwrap(), "check"], policy);
    assert!(
        output.status.success(),
        "{} with {policy:?}: {}",
        broker.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn schema(of: &str) -> Validator {
    let output = run(&["schema", of], None);
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[track_caller]
fn fits(schema: &Validator, name: &str, document: &Value) {
    let faults: Vec<String> = schema
        .iter_errors(document)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{name}: {faults:#?}");
}

/// The YAML of the README under a mark.
fn of_readme(mark: &str) -> &'static str {
    let mark = format!("<!-- sample: {mark} -->\n```yaml\n");
    let (_, rest) = README.split_once(&mark).unwrap();
    rest.split_once("\n```").unwrap().0
}

#[test]
fn every_configuration_is_in_order_with_its_policy() {
    let brokers: Vec<PathBuf> = yaml_files("config")
        .into_iter()
        .filter(|path| is_broker(path))
        .collect();
    assert_eq!(brokers.len(), 3, "{brokers:?}");
    for broker in &brokers {
        check(broker, None);
    }
    // Each policy goes with the configuration beside it.
    for policy in policies() {
        check(&policy.with_file_name("broker.yaml"), Some(&policy));
    }
}

#[test]
fn the_readmes_samples_are_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let broker = folder.path().join("broker.yaml");
    std::fs::write(&broker, of_readme("broker")).unwrap();
    std::fs::write(folder.path().join("policy.yaml"), of_readme("policy")).unwrap();
    check(&broker, None);
    let lines = of_readme("broker").lines().count() + of_readme("policy").lines().count();
    assert!(lines <= 30, "the smallest useful pair has {lines} lines");
}

#[test]
fn the_schemas_take_every_sample() {
    let (config, policy) = (schema("config"), schema("policy"));
    for path in yaml_files("config") {
        let text = std::fs::read_to_string(&path).unwrap();
        let schema = if is_broker(&path) { &config } else { &policy };
        fits(schema, path.to_str().unwrap(), &yaml(&text));
    }
    fits(&config, "README", &yaml(of_readme("broker")));
    fits(&policy, "README", &yaml(of_readme("policy")));
}

#[test]
fn the_schemas_refuse_what_nobody_knows() {
    let (config, policy) = (schema("config"), schema("policy"));
    let broker = yaml(of_readme("broker"));
    for (pointer, member) in [
        ("", "sever"),
        ("/authn/issuers/0", "audience"),
        ("/principals/default", "client"),
    ] {
        let mut faulty = broker.clone();
        faulty.pointer_mut(pointer).unwrap()[member] = json!("x");
        assert!(!config.is_valid(&faulty), "{pointer}/{member}");
    }
    let sample = yaml(of_readme("policy"));
    for (pointer, member, value) in [
        ("", "item", json!({})),
        ("/items/sales", "kind", json!("chart")),
        ("/items/sales", "workspce", json!("w")),
        ("/rules/0", "access", json!("write")),
        ("/rules/0/identity", "role", json!(["R"])),
        ("/cases/0", "expect", json!("granted")),
    ] {
        let mut faulty = sample.clone();
        faulty.pointer_mut(pointer).unwrap()[member] = value;
        assert!(!policy.is_valid(&faulty), "{pointer}/{member}");
    }
}

#[test]
fn the_documentation_lists_every_sample_and_each_has_cases() {
    let (_, rest) = EMBEDDING.split_once("<!-- samples -->").unwrap();
    let (table, _) = rest.split_once("<!-- /samples -->").unwrap();
    let listed: BTreeSet<&str> = table
        .split("](../config/samples/")
        .skip(1)
        .map(|rest| rest.split_once(')').unwrap().0)
        .collect();
    let folder: Vec<PathBuf> = yaml_files("config/samples")
        .into_iter()
        .filter(|path| !is_broker(path))
        .collect();
    let there: BTreeSet<&str> = folder
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(listed, there);
    for path in &folder {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.starts_with("# "),
            "{}: says what it is for",
            path.display()
        );
        let cases = yaml(&text)["cases"].as_array().unwrap().clone();
        assert!(
            cases.iter().any(|case| case["expect"] == "denied"),
            "{}",
            path.display()
        );
        assert!(
            cases.iter().any(|case| case["expect"].is_object()),
            "{}",
            path.display()
        );
    }
}

// === each way, in the sandbox ===

fn sample(name: &str) -> Setup {
    let text = std::fs::read_to_string(format!("config/samples/{name}.yaml")).unwrap();
    TestApp::setup().policy(text)
}

/// The distinct values of a column in what a persona gets.
async fn column(app: &TestApp, persona: &str, item: &str, column: &str) -> Vec<String> {
    let answer = app.embed(persona, json!({"item": item})).await.ok();
    let shown = app.rows(answer["token"].as_str().unwrap()).await;
    let table = &shown["tables"][0];
    let columns = table["columns"].as_array().unwrap();
    let at = columns.iter().position(|name| name == column).unwrap();
    let rows = table["rows"].as_array().unwrap().iter();
    let values: BTreeSet<String> = rows
        .map(|row| row[at].as_str().unwrap().to_owned())
        .collect();
    values.into_iter().collect()
}

#[tokio::test]
async fn roles_keep_regions_apart() {
    let app = sample("rls-by-role").start().await;
    assert_eq!(column(&app, "ana", "sales", "Region").await, ["EMEA"]);
    assert_eq!(
        column(&app, "chloe", "sales", "Region").await,
        ["APAC", "EMEA"]
    );
    assert_eq!(
        column(&app, "audra", "sales", "Region").await,
        ["AMER", "APAC", "EMEA"]
    );
    let nowhere = app.token_with("ana", json!({"regions": []})).await;
    app.embed_as(&nowhere, json!({"item": "sales"}))
        .await
        .problem(403, "not_permitted");
}

#[tokio::test]
async fn user_names_keep_sellers_apart() {
    let app = sample("rls-by-username").start().await;
    for (persona, owner) in [
        ("ana", "ana@contoso.example"),
        ("ben", "ben@contoso.example"),
    ] {
        assert_eq!(column(&app, persona, "pipeline", "Owner").await, [owner]);
    }
}

#[tokio::test]
async fn custom_data_keeps_companies_apart() {
    let app = sample("custom-data").start().await;
    for (persona, company) in [("ana", "contoso"), ("chloe", "fabrikam")] {
        assert_eq!(
            column(&app, persona, "benchmarks", "Company").await,
            [company]
        );
    }
}

#[tokio::test]
async fn workspaces_and_profiles_keep_customers_apart() {
    let app = sample("workspace-per-customer").start().await;
    for (persona, profile, country) in [
        ("ana", "940f11e0-0000-4000-8000-000000000001", "Germany"),
        ("chloe", "940f11e0-0000-4000-8000-000000000002", "Spain"),
    ] {
        app.forget_calls().await;
        let countries = column(&app, persona, "sales", "Country").await;
        assert!(countries.contains(&country.to_owned()), "{countries:?}");
        for call in app.calls("power_bi", "groups").await {
            assert_eq!(call["profile"], profile, "{call}");
        }
        assert_eq!(app.mints().await[0]["profile"], profile);
    }
}

#[tokio::test]
async fn principals_keep_customers_apart() {
    let principal = |name: &str, client: &str, secret: &str| {
        format!(
            "  {name}:\n    tenant_id: 7e4a4700-0000-4000-8000-000000000001\n    client_id: {client}\n    credentials: [{{ kind: client_secret, secret: {secret} }}]\n    authority_url: UPSTREAM/entra\n    api_url: UPSTREAM\n"
        )
    };
    let (first, second) = (
        "c11e4700-0000-4000-8000-000000000001",
        "c11e4700-0000-4000-8000-000000000002",
    );
    let both = principal("contoso", first, "sandbox-secret-not-for-production")
        + &principal("fabrikam", second, "archive-secret-not-for-production");
    let app = sample("principal-per-customer")
        .edit("tokens:\n", &format!("{both}\ntokens:\n"))
        .with_upstream("UPSTREAM")
        .start()
        .await;
    for (persona, client) in [("ana", first), ("chloe", second)] {
        app.forget_calls().await;
        let answer = app.embed(persona, json!({"item": "report"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(app.mints().await[0]["principal"], client);
    }
}
