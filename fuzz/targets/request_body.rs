//! Any bytes as the body of `POST /embed-token`: refused with a client's status, or exactly what the JSON says.

#![no_main]

use std::sync::LazyLock;

use embed_broker::http::fuzz_request_body;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
});

fuzz_target!(|data: &[u8]| {
    let ask = match RUNTIME.block_on(fuzz_request_body(axum::body::Bytes::copy_from_slice(data))) {
        Ok(ask) => ask,
        Err(problem) => {
            let expected = if data.len() > 16 * 1024 { 413 } else { 400 };
            assert_eq!(problem.status().as_u16(), expected, "{}", problem.reason());
            return;
        }
    };
    assert!(data.len() <= 16 * 1024);
    let body: Value = serde_json::from_slice(data).expect("an accepted body is JSON");
    let members = body.as_object().expect("an accepted body is an object");
    for (name, value) in members {
        let fits = match name.as_str() {
            "item" | "target" => value.is_string(),
            "items" => value.as_array().is_some_and(|all| {
                (1..=50).contains(&all.len()) && all.iter().all(Value::is_string)
            }),
            "access" => ["view", "edit", "create"].iter().any(|word| value == word),
            "save_as" => value.is_boolean(),
            _ => false,
        };
        assert!(fits, "{name}: {value}");
    }
    let items = match (members.get("item"), members.get("items")) {
        (Some(item), None) => vec![item.clone()],
        (None, Some(Value::Array(items))) => items.clone(),
        _ => panic!("both or neither of item and items"),
    };
    assert_eq!(ask.items, items);
    assert!(ask.target.is_none() || members.contains_key("item"));
    assert_eq!(
        ask.target.as_deref(),
        members.get("target").and_then(Value::as_str)
    );
    assert_eq!(
        ask.save_as,
        members.get("save_as") == Some(&Value::Bool(true))
    );
    let access = ask
        .access
        .map(|access| serde_json::to_value(access).expect("a word"));
    assert_eq!(access.as_ref(), members.get("access"));
});
