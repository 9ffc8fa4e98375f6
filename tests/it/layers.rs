//! No stage imports a later one; the sandbox imports none of them.

use std::path::{Path, PathBuf};

/// What a module may use of ours, beside `config`'s section types and itself.
const MAY_USE: [(&str, &[&str]); 18] = [
    (
        "cli",
        &[
            "app",
            "sandbox",
            "config",
            "policy",
            "plan",
            "telemetry",
            "outbound",
            "authn",
            "entra",
            "powerbi",
        ],
    ),
    ("sandbox", &["app", "config"]),
    (
        "app",
        &[
            "audit",
            "authn",
            "broker",
            "config",
            "entra",
            "http",
            "metrics",
            "outbound",
            "plan",
            "policy",
            "powerbi",
            "shared_cache",
            "telemetry",
        ],
    ),
    ("http", &["broker", "metrics", "telemetry"]),
    (
        "broker",
        &[
            "authn",
            "policy",
            "plan",
            "powerbi",
            "audit",
            "metrics",
            "config",
            "entra",
            "shared_cache",
        ],
    ),
    (
        "powerbi",
        &[
            "plan",
            "policy",
            "entra",
            "cached",
            "outbound",
            "config",
            "shared_cache",
        ],
    ),
    ("plan", &["policy"]),
    ("policy", &["authn", "expr", "config"]),
    ("authn", &["cached", "expr", "outbound", "config"]),
    ("entra", &["cached", "outbound", "config"]),
    ("shared_cache", &["config", "metrics"]),
    ("audit", &["config"]),
    ("telemetry", &["config", "outbound"]),
    ("outbound", &["config"]),
    ("config", &[]),
    ("metrics", &[]),
    ("cached", &[]),
    ("expr", &[]),
];

#[test]
fn every_module_imports_only_what_the_layout_allows() {
    let mut violations = Vec::new();
    for file in sources(Path::new("src")) {
        let relative = file.strip_prefix("src").unwrap();
        let module = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let allowed = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .expect("every module stands in the table")
            .1;
        // Tests at the end of a file, and files of tests, build what they need.
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let text: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        if relative.to_str().unwrap().contains("test") {
            continue;
        }
        for used in uses(&text) {
            if used != module && !allowed.contains(&used.as_str()) {
                violations.push(format!("{} uses crate::{used}", file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// The modules named after `crate::`, in groups as well.
fn uses(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split(';').next().unwrap();
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() && depth == 0 => {
                            found.push(name(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
            None => found.push(name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
