//! What the command line promises: exit codes, every mistake once, and `explain` down to the request.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const GUID: &str = "11111111-1111-4111-8111-111111111111";

/// Runs the built program.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_embed-broker"))
        .args(arguments)
        .output()
        .unwrap()
}

fn written(config: &str, policy: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("broker.yaml"), config).unwrap();
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    folder
}

fn config(issuer: &str) -> String {
    format!(
        "authn: {{ issuers: [{{ {issuer} }}] }}\n\
         principals: {{ default: {{ tenant_id: {GUID}, client_id: {GUID}, credentials: [{{ kind: client_secret, \
         secret: s }}] }} }}\n"
    )
}

const ISSUER: &str = "name: login, issuer: https://login.example.com/, audiences: [embed-broker]";

const POLICY: &str = "
items:
  board: { kind: dashboard, workspace: Finance, dashboard: The Board }
  tile: { kind: tile, workspace: Finance, dashboard: The Board, tile: Revenue }
  sales: { kind: report, workspace: Finance, report: Sales }
rules:
  - { name: all, items: ['*'], identity: { username: { cel: claims.sub }, roles: [R] } }
";

fn file(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_codes_tell_failure_from_misuse_from_bad_configuration() {
    let folder = written(&config(ISSUER), POLICY);
    let good = file(&folder, "broker.yaml");
    for (code, arguments) in [
        (0, vec!["--config", &good, "check"]),
        (0, vec!["check", "--config", &good]),
        (0, vec!["schema", "config"]),
        (0, vec!["schema", "policy"]),
        (0, vec!["--version"]),
        (1, vec!["probe", "--url", "http://127.0.0.1:1/livez"]),
        (
            1,
            vec![
                "--config", &good, "explain", "--claims", "/nowhere", "--item", "sales",
            ],
        ),
        (2, vec!["frobnicate"]),
        (2, vec!["check", "--frobnicate"]),
        (2, vec!["explain", "--item", "sales"]),
        (2, vec!["schema", "everything"]),
        (78, vec!["--config", "/nowhere/broker.yaml", "check"]),
        (78, vec!["--config", "/nowhere/broker.yaml"]),
        (78, vec!["--config", "/nowhere/broker.yaml", "serve"]),
    ] {
        let output = run(&arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn check_tells_each_mistake_of_configuration_and_policy_once() {
    let policy = POLICY
        .replace("claims.sub", "claim.sub")
        .replace("'*'", "nothing");
    let issuer = "issuer: 'http://login.example.com/', audiences: [], algorithms: [HS512]";
    let folder = written(&config(issuer), &policy);
    let output = run(&["--config", &file(&folder, "broker.yaml"), "check"]);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    let mut lines = told
        .lines()
        .filter(|line| !line.starts_with("    ") && !line.is_empty());
    assert_eq!(
        lines.next(),
        Some("5 mistakes in the configuration:"),
        "{told}"
    );
    let policy = file(&folder, "policy.yaml");
    for place in [
        "authn.issuers[0].issuer: ",
        "authn.issuers[0].audiences: ",
        "authn.issuers[0].algorithms: ",
        &format!("{policy}:7:26 rules[0].items[0]: "),
        &format!("{policy}:7:65 rules[0].identity.username: "),
    ] {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(place), "{line} for {place}: {told}");
    }
    assert_eq!(lines.next(), None, "{told}");
}

/// Whoever administers a tenant chooses the e-mail addresses in its tokens, but not the tenant's id.
#[test]
fn a_table_of_several_tenants_is_keyed_by_the_tenant() {
    let tenanted = |tenants: &str, key: &str| {
        let issuer =
            "name: entra, issuer: 'https://login.microsoftonline.com/{tid}/v2.0', audiences: [a]";
        let policy = format!(
            "tables:\n  home:\n    key: {key}\n    rows: {{}}\n{}",
            POLICY.trim_start()
        );
        let folder = written(&config(&format!("{issuer}, tenants: {tenants}")), &policy);
        let output = run(&["--config", &file(&folder, "broker.yaml"), "check"]);
        (output.status.code(), text(&output.stderr))
    };
    let (code, told) = tenanted("any", "claims.email");
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("policy.yaml:3:10 tables.home.key: issuer `entra` accepts several tenants"),
        "{told}"
    );
    let two = format!("[{GUID}, 22222222-2222-4222-8222-222222222222]");
    assert_eq!(tenanted(&two, "claims.email").0, Some(78));
    for (tenants, key) in [
        (&*format!("[{GUID}]"), "claims.email"),
        ("any", "claims.tid"),
        ("any", "\"claims.tid + '/' + claims.email\""),
        ("any", "claims.email\n    any_tenant: true"),
    ] {
        let (code, told) = tenanted(tenants, key);
        assert_eq!(code, Some(0), "{tenants}, {key}: {told}");
    }
}

fn explain(folder: &Path, arguments: &[&str]) -> String {
    let (config, claims) = (folder.join("broker.yaml"), folder.join("claims.json"));
    std::fs::write(&claims, r#"{"sub":"u1"}"#).unwrap();
    let (config, claims) = (config.display().to_string(), claims.display().to_string());
    let mut all = vec!["--config", &config, "explain", "--claims", &claims];
    all.extend(arguments);
    let output = run(&all);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Calls for dashboards and tiles carry ids in their path, which must hold the stand-ins for those that nobody told.
#[test]
fn explain_shows_the_request_of_every_kind_without_being_told_facts() {
    let folder = written(&config(ISSUER), POLICY);
    for (item, call) in [
        ("sales", "POST v1.0/myorg/GenerateToken\n"),
        (
            "board",
            "POST v1.0/myorg/groups/id-of-Finance/dashboards/id-of-The-Board/GenerateToken\n",
        ),
        (
            "tile",
            "POST v1.0/myorg/groups/id-of-Finance/dashboards/id-of-The-Board/tiles/id-of-Revenue/GenerateToken\n",
        ),
    ] {
        let told = explain(folder.path(), &["--item", item]);
        assert!(told.contains(call), "{told}");
        assert!(told.contains(r#""username": "u1""#), "{told}");
    }
    let told = explain(
        folder.path(),
        &["--item", "sales", "--report", GUID, "--issuer", "login"],
    );
    assert!(told.contains(GUID), "{told}");
}
