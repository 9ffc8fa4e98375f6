//! Tables from files, and their size.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::*;
use super::support::{ask, caller, outcome, surroundings};
use crate::config::Mistakes;

const POLICY: &str = "
tables: { t: { key: claims.tid, rows_file: FILE } }
items: { a: { kind: report, workspace: { cel: t.w }, report: R } }
rules: [{ name: r, items: [a], identity: none }]
";

/// A policy in `folder` whose table is `content` in a file of the name `name`.
fn load(folder: &Path, name: &str, content: &str) -> Result<Policy, String> {
    std::fs::write(folder.join(name), content).unwrap();
    let path = folder.join("policy.yaml");
    std::fs::write(&path, POLICY.replace("FILE", name)).unwrap();
    Policy::load(&path, &surroundings()).map_err(|mistakes| Mistakes(mistakes).to_string())
}

#[test]
fn rows_come_from_json_and_yaml_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("rows.json", "{\"x\": {\"w\": \"W\"}}"),
        ("rows.yaml", "x:\n  w: W\n"),
        ("rows.yml", "x: { w: W }"),
        ("rows", " {\"x\": {\"w\": \"W\"}}"),
        ("plain", "x: { w: W }"),
    ] {
        let policy = load(folder.path(), name, content).unwrap();
        let grants = policy.decide(&caller("{ tid: x }"), &ask(&["a"])).unwrap();
        assert_eq!(grants[0].workspace(), "W", "{name}");
        assert_eq!(
            outcome(&policy.decide(&caller("{ tid: y }"), &ask(&["a"]))),
            "403"
        );
        assert_eq!(
            policy.files(),
            [folder.path().join("policy.yaml"), folder.path().join(name)]
        );
    }
}

#[test]
fn faulty_row_files_are_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{{\"x\": {{\"w\": \"{}\"}}}}", "w".repeat(70_000));
    for (name, content, problem) in [
        (
            "a.json",
            "{\"x\": {\"w\": \"W\"}, \"x\": {}}",
            "`x` stands twice",
        ),
        (
            "b.json",
            "{\"x\": {\"w\": 1, \"w\": 2}}",
            "`w` stands twice",
        ),
        ("c.json", "{\"x\": 1}", "a row, which is a mapping"),
        ("d.json", "[1]", "a mapping of rows by key"),
        ("e.json", "{\"x\": {}", "EOF"),
        ("f.json", "{\"\": {}}", "empty key"),
        ("g.json", &long, "longer than 65536 bytes"),
        ("h.yaml", "x: {}\nx: {}", "duplicate mapping key `x`"),
        ("i.yaml", "x: 1", "mapping"),
        ("j.yaml", "x: { a: 1, a: 2 }", "duplicate mapping key `a`"),
    ] {
        let found = load(folder.path(), name, content).unwrap_err();
        assert!(found.contains(problem), "{name}: {found}");
        assert!(
            found.contains(name) && found.contains("tables.t.rows_file"),
            "{found}"
        );
    }
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, POLICY.replace("FILE", "nowhere.json")).unwrap();
    let found = Mistakes(Policy::load(&path, &surroundings()).unwrap_err()).to_string();
    assert!(found.contains("cannot read the rows"), "{found}");
    let found = Mistakes(Policy::parse(&POLICY.replace("FILE", "x"), &surroundings()).unwrap_err())
        .to_string();
    assert!(found.contains("no folder"), "{found}");
}

#[test]
fn a_hundred_thousand_rows_load() {
    // The contract is for release builds on a quiet machine; a debug build only guards against a quadratic loader.
    const ROWS: usize = if cfg!(debug_assertions) {
        5_000
    } else {
        100_000
    };
    let mut json = String::from("{");
    let mut yaml = String::new();
    for row in 0..ROWS {
        let comma = if row == 0 { "" } else { "," };
        write!(json, "{comma}\"tenant-{row}\":{{\"w\":\"workspace-{row}\",\"profile\":\"profile-{row}\",\"principal\":\"default\"}}").unwrap();
        write!(
            yaml,
            "tenant-{row}:\n  w: workspace-{row}\n  profile: profile-{row}\n  principal: default\n"
        )
        .unwrap();
    }
    json.push('}');
    let folder = tempfile::tempdir().unwrap();
    for (name, content, release) in [("rows.json", json, 1), ("rows.yaml", yaml, 2)] {
        let start = Instant::now();
        let policy = load(folder.path(), name, &content).unwrap();
        let took = start.elapsed();
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { release });
        assert!(took < limit, "{name} took {took:?}");
        let grants = policy
            .decide(&caller("{ tid: tenant-4999 }"), &ask(&["a"]))
            .unwrap();
        assert_eq!(grants[0].workspace(), "workspace-4999");
    }
}

#[test]
fn ten_thousand_rules_for_other_items_cost_nothing() {
    let mut text = String::from(
        "items:\n  a: { kind: report, workspace: w, report: R }\n  b: { kind: report, workspace: w, report: R }\nrules:\n",
    );
    for rule in 0..10_000 {
        writeln!(
            text,
            "  - {{ name: r{rule}, items: [b], when: claims.sub == 'u{rule}', identity: none }}"
        )
        .unwrap();
    }
    text.push_str("  - { name: last, items: [a], identity: none }\n");
    let policy = Policy::parse(&text, &surroundings()).unwrap();
    let caller = caller("{ sub: u }");
    let start = Instant::now();
    for _ in 0..100 {
        policy.decide(&caller, &ask(&["a"])).unwrap();
    }
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(500),
        "100 decisions took {took:?}"
    );
}
