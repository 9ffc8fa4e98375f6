//! What is deployed and promised around the service: image, compose file, manifests, alert rules, threat model, pages.
//!
//! The files are linted by `scripts/lint-deploy`; here they are held against the service itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use embed_broker::broker::Code;
use embed_broker::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Process, TestApp};

const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const ALERT_TESTS: &str = "deploy/prometheus/alerts.test.yaml";
const DASHBOARD: &str = "deploy/grafana/embed-broker.json";
const KUBERNETES: &str = "deploy/kubernetes";

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_saphyr::from_str(&read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every word of `text` that begins with `prefix` and goes on in lower case.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices(prefix)
        .map(|(at, _)| text[at..].chars().take_while(|c| word(*c)).collect())
        .collect()
}

/// Every string that stands under `key`, however deep.
fn strings_under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == key => found.push(text),
                    member => strings_under(member, key, found),
                }
            }
        }
        Value::Array(members) => members
            .iter()
            .for_each(|member| strings_under(member, key, found)),
        _ => {}
    }
}

fn queries() -> Vec<String> {
    let (alerts, dashboard) = (yaml(ALERTS), yaml(DASHBOARD));
    let mut found = Vec::new();
    strings_under(&alerts, "expr", &mut found);
    let of_alerts = found.len();
    strings_under(&dashboard, "expr", &mut found);
    assert!(of_alerts > 10 && found.len() - of_alerts > 10);
    found.into_iter().map(str::to_owned).collect()
}

fn sources() -> String {
    fn collect(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&read(&path));
            }
        }
    }
    let mut text = String::new();
    collect(Path::new("src"), &mut text);
    text
}

// === metrics ===

#[test]
fn every_metric_that_is_named_exists() {
    let metrics = read("src/metrics.rs");
    let exists = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|name| name.ends_with("_duration_seconds"));
        metrics.contains(&format!("\"{}\"", histogram.unwrap_or(name)))
    };
    let mut named = words(&queries().join("\n"), "embed_broker_");
    // The service's own page of metrics, where there is one.
    let page = Path::new("docs/metrics.md");
    if page.exists() {
        named.extend(words(&read(page), "embed_broker_"));
    }
    named.extend(words(&read(ALERT_TESTS), "embed_broker_"));
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "src/metrics.rs has no {missing:?}");
    assert!(named.len() > 10);
    assert!(!exists("embed_broker_requests") && !exists("embed_broker_requests_total_sum"));
}

#[test]
fn every_label_and_value_that_is_asked_for_exists() {
    // Labels that Prometheus adds, and values that only Prometheus or Grafana know.
    const FOREIGN: [&str; 3] = ["job", "instance", "le"];
    let (metrics, sources) = (read("src/metrics.rs"), sources());
    let mut wrong = Vec::new();
    for query in queries() {
        for matchers in query
            .split('{')
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap())
        {
            for matcher in matchers.split("\",") {
                let (label, values) = matcher.split_once('"').unwrap();
                let label = label.trim_end_matches(['=', '~', '!']).trim();
                if FOREIGN.contains(&label) {
                    continue;
                }
                if !metrics.contains(&format!("\"{label}\"")) {
                    wrong.push(format!("label {label} in {query}"));
                }
                for value in values.trim_end_matches('"').split('|') {
                    // A pattern such as `power_bi_.+` stands for codes that begin so.
                    let literal = value.trim_end_matches(['.', '+', '*']);
                    let whole = literal == value;
                    let exists = if label == "code" {
                        let fits =
                            |code: &str| code == value || !whole && code.starts_with(literal);
                        value == "ok" || Code::ALL.iter().any(|code| fits(code.as_str()))
                    } else {
                        sources.contains(&format!("\"{literal}{}", if whole { "\"" } else { "" }))
                    };
                    if !exists {
                        wrong.push(format!("{label} {value} in {query}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let (alerts, tests) = (yaml(ALERTS), read(ALERT_TESTS));
    let mut names = Vec::new();
    strings_under(&alerts, "alert", &mut names);
    let fires = |name: &str| {
        tests.contains(&format!("alertname=\"{name}\""))
            || tests.split("alertname: ").skip(1).any(|test| {
                test.starts_with(&format!("{name}\n")) && {
                    let test = test.split("- alertname").next().unwrap();
                    test.contains("exp_labels")
                }
            })
    };
    let untested: Vec<_> = names.iter().filter(|name| !fires(name)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

// === configuration ===

/// Checks a configuration with its policy as `embed-broker check` does, after files of the machine are replaced.
async fn check(config: &str, policy: &str, replaced: &[(&str, &Path)]) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = read(config);
    for (from, to) in replaced {
        assert!(text.contains(from), "{config} has no {from}");
        text = text.replace(from, to.to_str().unwrap());
    }
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, text).unwrap();
    std::fs::copy(policy, folder.path().join("policy.yaml")).unwrap();
    let config = Config::load(&file).unwrap_or_else(|mistakes| panic!("{config}: {mistakes}"));
    embed_broker::app::check(config)
        .await
        .unwrap_or_else(|mistakes| panic!("{policy}: {mistakes}"));
}

#[tokio::test]
async fn the_configuration_files_load() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    for name in ["secret", "secret-archive"] {
        std::fs::write(folder.path().join(name), "not a real one").unwrap();
    }
    let ca = folder.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["sandbox".to_owned()]).unwrap();
    std::fs::write(&ca, made.cert.pem()).unwrap();
    check(
        "deploy/compose/config/broker.yaml",
        "config/sandbox/policy.yaml",
        &[
            ("/run/sandbox/ca.pem", &ca),
            ("/run/secrets/power-bi", &secret),
            ("/run/policy/policy.yaml", Path::new("policy.yaml")),
        ],
    )
    .await;
    check(
        "deploy/kubernetes/config/broker.yaml",
        "deploy/kubernetes/config/policy.yaml",
        &[("/run/secrets/embed-broker/client-secret", &secret)],
    )
    .await;
}

#[test]
fn the_kustomization_lists_what_is_there() {
    let kustomization = yaml(format!("{KUBERNETES}/kustomization.yaml"));
    let listed = |value: &Value| -> BTreeSet<String> {
        serde_json::from_value(value.clone()).expect("a list of files")
    };
    let there = |folder: &str, prefix: &str| -> BTreeSet<String> {
        std::fs::read_dir(format!("{KUBERNETES}/{folder}"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_some() && name != "kustomization.yaml")
            .map(|name| format!("{prefix}{name}"))
            .collect()
    };
    assert_eq!(listed(&kustomization["resources"]), there("", ""));
    let map = &kustomization["configMapGenerator"][0];
    assert_eq!(listed(&map["files"]), there("config", "config/"));
    let deployment = pod();
    assert_eq!(deployment["volumes"][0]["configMap"]["name"], map["name"]);
    assert_eq!(
        deployment["containers"][0]["image"],
        kustomization["images"][0]["name"]
    );
}

/// The pods' specification.
fn pod() -> Value {
    yaml(format!("{KUBERNETES}/deployment.yaml"))["spec"]["template"]["spec"].clone()
}

#[test]
fn what_ends_a_container_leaves_time_to_drain() {
    // What `App::stop` may take beyond `shutdown_grace`: connections five seconds, the audit trail two.
    let after = Duration::from_secs(7);
    let defaults = Config::default().server;
    let pod = pod();
    let grace = |value: &Value| Duration::from_secs(value.as_u64().unwrap());
    let pre_stop = grace(&pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let config = yaml(format!("{KUBERNETES}/config/broker.yaml"));
    let configured =
        humantime::parse_duration(config["server"]["shutdown_grace"].as_str().unwrap());
    let needed = pre_stop + configured.unwrap() + after;
    assert!(grace(&pod["terminationGracePeriodSeconds"]) > needed);

    let compose = compose();
    for broker in ["broker-1", "broker-2"] {
        let grace = &compose["services"][broker]["stop_grace_period"];
        let grace = humantime::parse_duration(grace.as_str().unwrap()).unwrap();
        assert!(grace > defaults.shutdown_grace + after, "{broker}");
    }
    // The gateway waits longer than the broker, whose own answer says more.
    let nginx = read("deploy/nginx/nginx.conf");
    let timeout = nginx.split("proxy_read_timeout ").nth(1).unwrap();
    let timeout = timeout.split(';').next().unwrap();
    assert!(humantime::parse_duration(timeout).unwrap() > defaults.request_timeout);
}

// === containers ===

/// `docker-compose.yml`, merge keys applied.
fn compose() -> Value {
    yaml("docker-compose.yml")
}

/// A file that is mounted by itself stays the one that was there at the start: a new one under its name is not seen.
#[test]
fn folders_are_mounted_and_never_single_files() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let mounts: Vec<&str> = services
        .values()
        .flat_map(|service| service["volumes"].as_array().unwrap())
        .map(|mount| mount.as_str().unwrap())
        .collect();
    let ours: Vec<&str> = mounts
        .iter()
        .filter_map(|mount| mount.split(':').next())
        .filter(|source| source.starts_with('.'))
        .collect();
    assert!(ours.contains(&"./config/sandbox"), "{mounts:?}");
    for source in ours {
        assert!(Path::new(source).is_dir(), "{source}");
    }
    for kind in ["secrets", "configs"] {
        assert!(compose.get(kind).is_none(), "{kind} mount single files");
        let users = services.iter().filter(|(_, it)| it.get(kind).is_some());
        assert_eq!(users.count(), 0, "{kind} mount single files");
    }
    let pod = pod();
    for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
        for key in ["subPath", "subPathExpr"] {
            assert!(mount.get(key).is_none(), "{mount}");
        }
    }
}

#[test]
fn containers_may_do_nothing_that_they_need_not() {
    for (name, service) in compose()["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["user"], "65532:65532", "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(
            service["security_opt"],
            json!(["no-new-privileges:true"]),
            "{name}"
        );
        assert!(
            service.get("cap_add").is_none() && service.get("privileged").is_none(),
            "{name}"
        );
    }
    let (pod, container) = (pod(), pod()["containers"][0].clone());
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    let namespace = yaml(format!("{KUBERNETES}/namespace.yaml"));
    let enforced = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(enforced, "restricted");
    for (target, stage) in stages() {
        if target == "broker" || target == "sandbox" {
            assert!(!stage.contains("USER"), "{target} is the base's user");
        }
    }
    assert!(stages()["base"].contains("USER 65532:65532"));
}

#[test]
fn no_flood_of_clients_has_a_container_restarted() {
    let container = pod()["containers"][0].clone();
    for probe in ["startupProbe", "livenessProbe"] {
        let expected = json!({"path": "/livez", "port": "ops"});
        assert_eq!(container[probe]["httpGet"], expected, "{probe}");
    }
    let expected = json!({"path": "/readyz", "port": "http"});
    assert_eq!(container["readinessProbe"]["httpGet"], expected);
    // The image asks where `probe` asks by itself: see `the_probe_asks_the_operators_listener`.
    assert!(stages()["base"].contains(r#""/etc/embed-broker/broker.yaml", "probe"]"#));
    for (name, service) in compose()["services"].as_object().unwrap() {
        let own = service.get("healthcheck").is_some();
        assert!(!name.starts_with("broker") || !own, "{name}");
    }
}

#[tokio::test]
async fn the_probe_asks_the_operators_listener() {
    let broker = Process::start(Process::setup()).await;
    let traffic = broker.broker().trim_start_matches("http://").to_owned();
    let ops = broker.ops_url().trim_start_matches("http://").to_owned();
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().to_string()
    };
    for (listen, ops_listen, well) in [(&free, &ops, true), (&traffic, &free, false)] {
        let probe = Command::new(env!("CARGO_BIN_EXE_embed-broker"))
            .arg("--config")
            .arg(broker.file("broker.yaml"))
            .arg("probe")
            .env("EMBED_BROKER__SERVER__LISTEN", listen)
            .env("EMBED_BROKER__SERVER__OPS_LISTEN", ops_listen)
            .output()
            .unwrap();
        assert_eq!(probe.status.success(), well, "{probe:?}");
    }
}

#[test]
fn samples_trust_no_address_but_the_gateways() {
    for file in [
        "deploy/kubernetes/config/broker.yaml",
        "deploy/compose/config/broker.yaml",
    ] {
        let trusted = yaml(file)["server"]["trusted_proxies"].clone();
        let trusted = trusted.as_array().unwrap().clone();
        assert!(!trusted.is_empty(), "{file}");
        for network in trusted {
            let network = network.as_str().unwrap();
            assert!(network.ends_with("/32"), "{file}: {network} is a network");
        }
    }
    let gateway = &compose()["services"]["gateway"]["networks"]["inside"]["ipv4_address"];
    let trusted = &yaml("deploy/compose/config/broker.yaml")["server"]["trusted_proxies"];
    let expected = format!("{}/32", gateway.as_str().unwrap());
    assert_eq!(*trusted, json!([expected]));
}

#[test]
fn what_the_process_may_keep_fits_into_the_pod() {
    let file = Path::new("deploy/kubernetes/config/broker.yaml");
    let (config, mistakes) = Config::read(file, None);
    let config = config.unwrap_or_else(|| panic!("{mistakes:?}"));
    let allowances = embed_broker::app::allowances(&config);
    // The table of the page, in the same order.
    let page = read("docs/deploy.md");
    let table = page.split("\n## Memory\n").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    assert_eq!(rows.len(), allowances.len() + 1, "{rows:#?}");
    for (row, allowance) in rows.iter().zip(&allowances) {
        assert!(row[1].starts_with(allowance.what), "{row:?}: {allowance:?}");
        assert_eq!(row[2], mib(allowance.bytes).to_string(), "{allowance:?}");
    }
    let sum = allowances.iter().map(|allowance| allowance.bytes).sum();
    assert_eq!(
        rows[allowances.len()][1..3],
        ["in all", &*mib(sum).to_string()]
    );

    let limit = &pod()["containers"][0]["resources"]["limits"]["memory"];
    let limit: u64 = limit
        .as_str()
        .unwrap()
        .strip_suffix("Mi")
        .unwrap()
        .parse()
        .unwrap();
    assert!(mib(sum) <= limit, "{} MiB of {limit}", mib(sum));
}

#[test]
fn nothing_leads_to_the_operators_listener() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        let ports = service["ports"].to_string();
        assert!(!ports.contains("9090"), "{name}");
        assert!(!name.starts_with("broker") || ports == "null", "{name}");
    }
    let service = yaml(format!("{KUBERNETES}/service.yaml"));
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "http", "port": 80, "targetPort": "http"}])
    );
    let nginx = read("deploy/nginx/nginx.conf");
    let directives = nginx.lines().map(|line| line.split('#').next().unwrap());
    assert!(!directives.collect::<String>().contains("9090"));
    // Prometheus's way in, and nobody else's.
    let policy = yaml(format!("{KUBERNETES}/networkpolicy.yaml"));
    let to_ops: Vec<&Value> = policy["spec"]["ingress"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["ports"].to_string().contains("ops"))
        .collect();
    assert_eq!(to_ops.len(), 1);
    assert_eq!(
        to_ops[0]["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        "monitoring"
    );
}

/// The stages of the Dockerfile by name, comments left out.
fn stages() -> BTreeMap<String, String> {
    let text = read("Dockerfile");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("\nFROM ")
        .skip(1)
        .map(|stage| {
            let name = stage.lines().next().unwrap().rsplit(' ').next().unwrap();
            (name.to_owned(), stage.to_owned())
        })
        .collect()
}

#[test]
fn the_production_image_has_no_sandbox() {
    let stages = stages();
    let build = &stages["build-broker"];
    assert!(build.contains("cargo build --release --locked --no-default-features"));
    assert!(!build.contains("sandbox"));
    let broker = &stages["broker"];
    assert!(broker.starts_with("base AS broker") && !broker.contains("build-sandbox"));
    assert!(!stages["base"].contains("build-sandbox"));
    // The last stage is what is built when nobody names one.
    let text = read("Dockerfile");
    assert!(text.rfind(" AS broker\n") > text.rfind(" AS sandbox\n"));
}

#[test]
fn the_production_image_can_do_everything_else() {
    let manifest = read("Cargo.toml");
    let default = manifest
        .lines()
        .find_map(|line| line.strip_prefix("default = "));
    assert_eq!(default, Some(r#"["sandbox"]"#));
}

#[test]
fn the_image_is_built_by_the_toolchain_of_the_repository() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).unwrap();
    let channel = channel.split('"').next().unwrap();
    assert!(read("Dockerfile").contains(&format!(
        "RUST_IMAGE=docker.io/library/rust:{channel}-bookworm"
    )));
}

/// What `include_str!` takes from outside of `src`, tests aside, from the root of the project.
fn included() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((!path.ends_with("tests")).then_some(path));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (_, rest) in text
                .match_indices("include_str!(\"")
                .map(|(at, start)| text[at..].split_at(start.len()))
            {
                let name = rest.split('"').next().unwrap();
                let ups = name.matches("../").count();
                let base = folder.ancestors().nth(ups).unwrap();
                let whole = base.join(name.trim_start_matches("../"));
                found.push(whole.to_str().unwrap().to_owned());
            }
        }
    }
    assert!(found.contains(&"openapi.yaml".to_owned()), "{found:?}");
    found
}

#[test]
fn the_build_sees_what_it_reads_and_no_more() {
    let ignore = read(".dockerignore");
    let mut lines = ignore
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(lines.next(), Some("*"), "everything is left out first");
    let seen: Vec<&str> = lines
        .map(|line| line.strip_prefix('!').expect("then some is let in"))
        .collect();
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "openapi.yaml",
        "config/sandbox",
        "client/embed-broker.js",
    ] {
        assert!(seen.contains(&needed), "{needed}");
    }
    for included in included() {
        let let_in = seen
            .iter()
            .any(|seen| Path::new(&included).starts_with(seen));
        assert!(let_in, "{included} is compiled in");
    }
    for secret in [".git", "target", "config", "deploy"] {
        assert!(!seen.contains(&secret), "{secret}");
    }
}

// === the threat model ===

/// Text and target of every link of a page.
fn links(page: &str) -> Vec<(String, String)> {
    let text = read(page);
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let label = text[..at].rsplit('[').next().unwrap();
        let target = text[at + 2..].split(')').next().unwrap();
        found.push((label.to_owned(), target.to_owned()));
    }
    found
}

/// Whether `file` has a test of that name.
fn has_test(file: &str, name: &str) -> bool {
    let text = read(file);
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return false;
    };
    let before = before.trim_end_matches("async ").trim_end();
    let attributes = before.rsplit("\n\n").next().unwrap();
    attributes.contains("#[test]") || attributes.contains("#[tokio::test")
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let links = links("SECURITY.md");
    let tests: Vec<_> = links
        .iter()
        .filter(|(_, target)| Path::new(target).extension().is_some_and(|e| e == "rs"))
        .collect();
    let missing: Vec<_> = tests
        .iter()
        .filter(|(name, file)| !has_test(file, name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(tests.len() > 60, "{}", tests.len());
    assert!(!has_test("tests/it/deploy.rs", "has_test"));

    // Every attack has a proof.
    let text = read("SECURITY.md");
    let mut attacks = 0;
    let mut proof_asked = false;
    for line in text.lines() {
        if line.starts_with("| ") && line.ends_with("| proved by |") {
            proof_asked = true;
        } else if !line.starts_with('|') {
            proof_asked = false;
        } else if proof_asked && !line.starts_with("|---") {
            attacks += 1;
            assert!(line.contains(".rs)"), "no test proves: {line}");
        }
    }
    assert!(attacks > 30, "{attacks}");
}

// === pages for people ===

/// Every page: those at the top level, in `docs` and beside the client.
fn pages() -> Vec<PathBuf> {
    let files = ["", "docs", "client"].into_iter().flat_map(|folder| {
        std::fs::read_dir(Path::new(".").join(folder))
            .unwrap()
            .map(move |entry| Path::new(folder).join(entry.unwrap().file_name()))
    });
    files
        .filter(|file| file.extension().is_some_and(|e| e == "md"))
        .collect()
}

/// The anchors of a page's headings, as GitHub and GitLab make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = read(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            heading.chars().filter(kept).collect::<String>()
        })
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

#[test]
fn links_of_the_pages_lead_somewhere() {
    let pages = pages();
    for needed in ["README.md", "CONTRIBUTING.md", "docs/architecture.md"] {
        assert!(pages.contains(&PathBuf::from(needed)), "{pages:?}");
    }
    let mut dead = Vec::new();
    for page in &pages {
        for (label, target) in links(page.to_str().unwrap()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let leads = path.exists() && (anchor.is_empty() || anchors(&path).contains(anchor));
            if !leads {
                dead.push(format!("{}: {label} leads to {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn files_that_the_map_for_contributors_names_exist() {
    let text = read("CONTRIBUTING.md");
    let map = text.split("\n## Where to open what\n").nth(1).unwrap();
    let map = map.split("\n## ").next().unwrap();
    // Of a command, such as `scripts/fuzz SECONDS`, too.
    let words = map
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(str::split_whitespace);
    let is_path = |word: &&str| word.contains('/') || Path::new(word).extension().is_some();
    let named: BTreeSet<&str> = words.filter(is_path).collect();
    let missing: Vec<_> = named.iter().filter(|it| !Path::new(it).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(named.len() > 40, "{named:?}");
}

// === what the threat model promises of the whole ===

#[tokio::test]
async fn no_token_is_in_a_record_a_metric_or_a_check() {
    let app = TestApp::start().await;
    let caller = app.token("ana").await;
    let answer = app.embed_as(&caller, json!({ "item": "sales" })).await.ok();
    let embed = answer["token"].as_str().unwrap().to_owned();
    app.embed_as(&caller, json!({ "item": "nothing" }))
        .await
        .problem(403, "not_permitted");
    let forged = format!("{}AAAA", &caller[..caller.len() - 4]);
    app.embed_as(&forged, json!({ "item": "sales" }))
        .await
        .problem(401, "invalid_token");
    let mut shown = read(app.audit_file());
    for path in ["/metrics", "/readyz", "/version"] {
        shown.push_str(&app.ops(path).await.text);
    }
    assert!(shown.contains("tokenId") && shown.contains("embed_broker_requests_total"));
    let secret = "sandbox-secret-not-for-production";
    let signature = caller.rsplit('.').next().unwrap();
    for token in [&*embed, &*caller, &*forged, signature, secret] {
        assert!(!shown.contains(token), "{token}");
    }
}

#[tokio::test]
async fn no_token_leaves_without_its_record() {
    let app = TestApp::setup()
        .edit("file: audit.jsonl", "file: /dev/full")
        .start()
        .await;
    let answer = app.embed("ana", json!({ "item": "sales" })).await;
    let problem = answer.problem(503, "audit_unavailable");
    assert_eq!(problem["retryable"], true);
    assert!(!answer.text.contains("H4sI"), "{answer:?}");
    // It was minted: it is the answer that was held back.
    assert_eq!(app.mints().await.len(), 1);
}

#[tokio::test]
async fn an_invented_address_is_not_recorded() {
    let recorded = async |trusted: &str, forwarded: &str| {
        let app = TestApp::setup()
            .edit(
                "server:\n",
                &format!("server:\n  trusted_proxies: {trusted}\n"),
            )
            .start()
            .await;
        let request = app
            .request(Method::GET, "/items")
            .bearer_auth(app.token("ana").await)
            .header("x-forwarded-for", forwarded);
        Answer::read(request.send().await.unwrap()).await.ok();
        app.last_record()["client"].clone()
    };
    assert_eq!(recorded("[]", "203.0.113.9").await, "127.0.0.1");
    assert_eq!(recorded("[10.0.0.0/8]", "203.0.113.9").await, "127.0.0.1");
    assert_eq!(
        recorded("[127.0.0.1/32]", "203.0.113.9").await,
        "203.0.113.9"
    );
    // A gateway that appends: what stands before its own entry is the caller's claim.
    assert_eq!(
        recorded("[127.0.0.1/32]", "198.51.100.7, 203.0.113.9").await,
        "203.0.113.9"
    );
}

// === the sandbox, as its image starts it ===

#[test]
fn the_lines_that_the_sandbox_prints_work_as_they_stand() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_embed-broker"))
        .args(["sandbox", "--port", "0", "--upstream-port", "0", "--folder"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Kept open: the audit records go there, and without them no token is given out.
    let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines();
    let mut ready = String::new();
    let printed: Vec<String> = lines
        .by_ref()
        .map(|line| line.unwrap())
        .take_while(|line| {
            ready.clone_from(line);
            !line.contains("\"ready\":true")
        })
        .collect();
    let commands: Vec<&str> = printed
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("curl "))
        .collect();
    let answers: Vec<String> = commands
        .iter()
        .map(|command| {
            let run = Command::new("bash").arg("-c").arg(command).output();
            String::from_utf8(run.expect("bash").stdout).unwrap()
        })
        .collect();
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    // Two that start in the same moment would both find the usual port free.
    assert!(!ready.contains(":9090\""), "{ready}");
    assert_eq!(answers.len(), 2, "{printed:#?}");
    assert!(answers[0].contains("\"embedConfig\""), "{}", answers[0]);
    assert!(
        answers[1].contains("EMEA") && !answers[1].contains("AMER"),
        "{}",
        answers[1]
    );
}
