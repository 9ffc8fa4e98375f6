//! What each stage of a request costs: `cargo bench --bench stages`.
//!
//! verify: a token that was never seen, by algorithm, and one that is remembered. decide and plan: without any memory.
//! warm answer: one request over loopback to a broker that has everything in memory.

#![expect(clippy::unwrap_used, reason = "a tool for measurements")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use embed_broker::app::App;
use embed_broker::authn::{BearerToken, Caller, Verifier};
use embed_broker::config;
use embed_broker::outbound::Outbound;
use embed_broker::plan::{
    Artifact, Circumstances, ContentFacts, Dataset, EmbedPlan, Minter, MinterKind, Report,
    Workspace, WorkspaceKind,
};
use embed_broker::policy::{Ask, Policy, Surroundings};
use embed_broker_sandbox::{Addresses, Options, Upstream, unpack};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::runtime::Runtime;

const ISSUER: &str = "https://login.example.com/";

const POLICY: &str = r#"
tables: { tenant: { key: "claims.tid", rows: { contoso: { workspace: Contoso, profile: contoso } } } }
items:
  sales: { kind: report, workspace: { cel: tenant.workspace }, profile: { cel: tenant.profile }, report: Sales }
rules:
  - name: suspended
    items: ["*"]
    when: "has(claims.suspended) && claims.suspended"
    deny: true
  - name: managers
    items: [sales]
    when: "has(claims.groups) && 'g19' in claims.groups"
    identity: { username: { cel: claims.email }, roles: { cel: "claims.regions.map(r, 'Region ' + r)" } }
"#;

fn claims(sub: &str) -> Value {
    let groups: Vec<String> = (0..20).map(|number| format!("g{number}")).collect();
    json!({
        "iss": ISSUER, "aud": "embed-broker", "sub": sub, "tid": "contoso", "email": "ana@contoso.example",
        "exp": OffsetDateTime::now_utc().unix_timestamp() + 3600, "regions": ["EMEA", "APAC"], "groups": groups,
    })
}

/// A verifier of one issuer, and how its tokens are signed.
fn issuer(algorithm: Algorithm, pair: &rcgen::KeyPair) -> (Verifier, EncodingKey) {
    let key = match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_der(pair.serialized_der()),
        _ => EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap(),
    };
    let mut jwk =
        serde_json::to_value(jsonwebtoken::jwk::Jwk::from_encoding_key(&key, algorithm).unwrap())
            .unwrap();
    jwk["kid"] = "k1".into();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": [jwk] }).to_string()).unwrap();
    let mut issuer: config::Issuer = serde_json::from_value(json!({
        "name": "login", "issuer": ISSUER, "audiences": ["embed-broker"], "algorithms": [algorithm],
    }))
    .unwrap();
    issuer.jwks = Some(config::Secret::from_file(file.path()).unwrap());
    let authn = config::Authn {
        issuers: vec![issuer],
        ..config::Authn::default()
    };
    let outbound = Outbound::new(&config::Tls::default()).unwrap();
    let verifier = Verifier::new(&authn, &outbound, None);
    let Ok(verifier) = verifier else {
        panic!("the issuer is in order");
    };
    (verifier, key)
}

fn verify(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for (algorithm, kind) in [
        (Algorithm::RS256, &rcgen::PKCS_RSA_SHA256),
        (Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
    ] {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let (verifier, key) = issuer(algorithm, &pair);
        let header = jsonwebtoken::Header {
            kid: Some("k1".into()),
            ..jsonwebtoken::Header::new(algorithm)
        };
        // None is remembered: that is for admitted callers.
        let tokens: Vec<BearerToken> = (0..20_000)
            .map(|number| {
                let claims = claims(&format!("u{number}"));
                BearerToken::new(jsonwebtoken::encode(&header, &claims, &key).unwrap())
            })
            .collect();
        let mut next = tokens.iter();
        criterion.bench_function(&format!("verify/new {algorithm:?}"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let Some(token) = next.next() else {
                        next = tokens.iter();
                        continue;
                    };
                    let began = Instant::now();
                    let verdict =
                        runtime.block_on(verifier.verify(token, OffsetDateTime::now_utc()));
                    spent += began.elapsed();
                    assert!(verdict.is_ok());
                }
                spent
            });
        });
        let caller = runtime.block_on(verifier.verify(&tokens[0], OffsetDateTime::now_utc()));
        let Ok(caller) = caller else {
            panic!("the token is in order");
        };
        verifier.remember(&caller);
        criterion.bench_function(&format!("verify/remembered {algorithm:?}"), |bencher| {
            bencher.iter(|| {
                let now = OffsetDateTime::now_utc();
                black_box(runtime.block_on(verifier.verify(&tokens[0], now)).is_ok())
            });
        });
    }
}

fn policy() -> Policy {
    let surroundings = Surroundings {
        issuers: vec!["login".into()],
        multi_tenant_issuers: Vec::new(),
        principals: BTreeMap::from([("default".into(), false)]),
        credential_headers: Vec::new(),
    };
    Policy::parse(POLICY, &surroundings).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn caller() -> Caller {
    let Value::Object(claims) = claims("u1") else {
        return caller();
    };
    Caller::assumed("login", claims, OffsetDateTime::now_utc())
}

fn ask() -> Ask {
    Ask {
        items: vec!["sales".into()],
        ..Ask::default()
    }
}

fn artifact() -> Artifact {
    let id = "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4".to_owned();
    let workspace = Arc::new(Workspace {
        id: id.clone(),
        name: "Contoso".into(),
        kind: WorkspaceKind::Shared,
        on_capacity: Some(true),
    });
    let report = Report {
        id: id.clone(),
        name: "Sales".into(),
        paginated: false,
        dataset_id: Some(id.clone()),
        embed_url: format!("https://app.powerbi.com/reportEmbed?reportId={id}"),
    };
    let dataset = Dataset {
        id: id.clone(),
        workspace_id: id.clone(),
        identity_required: true,
        roles_required: true,
        on_premises_gateway: false,
        sources: Vec::new(),
        create_report_url: None,
        qna_url: None,
    };
    Artifact {
        profile_id: Some(id),
        workspace,
        content: ContentFacts::Report(Arc::new(report)),
        datasets: vec![Arc::new(dataset)],
        target_workspace: None,
    }
}

fn decide_and_plan(criterion: &mut Criterion) {
    let (policy, caller, ask) = (policy(), caller(), ask());
    criterion.bench_function("decide", |bencher| {
        bencher.iter(|| policy.decide(black_box(&caller), black_box(&ask)).is_ok());
    });
    let grants = policy.decide(&caller, &ask).unwrap();
    let artifacts = [artifact()];
    let minter = Minter {
        name: "default".into(),
        tenant_id: String::new(),
        client_id: String::new(),
        api_root: "https://api.powerbi.com/".into(),
        kind: MinterKind::ServicePrincipal { object_id: None },
    };
    let blobs = BTreeMap::new();
    let circumstances = Circumstances {
        minter: &minter,
        lifetime: Duration::from_secs(3600),
        session_ends: None,
        blobs: &blobs,
        now: OffsetDateTime::now_utc(),
    };
    criterion.bench_function("plan", |bencher| {
        bencher.iter_batched(
            || (),
            |()| EmbedPlan::build(black_box(&grants), &artifacts, &circumstances).is_ok(),
            BatchSize::SmallInput,
        );
    });
}

fn warm_answer(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (app, _upstream, request) = runtime.block_on(async {
        let upstream = Upstream::start(Options::default()).await.unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let addresses = Addresses {
            listen: free,
            ops_listen: free,
            upstream: upstream.url().to_owned(),
        };
        let files = unpack(folder.path(), &addresses).unwrap();
        let text = std::fs::read_to_string(&files.config).unwrap();
        let text = text.replace("sink: stdout", "sink: file\n  file: audit.jsonl")
            + "\nrate_limit: { per_caller_per_minute: 0 }\n";
        std::fs::write(&files.config, text).unwrap();
        let config = config::Config::load(&files.config).unwrap();
        let app = App::start(config, &files.config).await.unwrap();
        app.ready().await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/idp/token?persona=ana", upstream.url());
        let token = client.get(url).send().await.unwrap().text().await.unwrap();
        let request = client
            .post(format!("http://{}/embed-token", app.traffic()))
            .bearer_auth(token)
            .json(&json!({ "item": "sales" }));
        (app, upstream, request)
    });
    criterion.bench_function("warm answer over loopback", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            assert!(answer.status().is_success());
            answer.bytes().await.unwrap().len()
        });
    });
    runtime.block_on(app.stop());
}

criterion_group!(stages, verify, decide_and_plan, warm_answer);
criterion_main!(stages);
