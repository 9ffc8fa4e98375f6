//! An expression over any claims (`EXPRESSION`, a line `---`, JSON): no panic, values survive the way through CEL, and no
//! error shows a value.

#![no_main]

use embed_broker::expr::{Expr, MAX_ITEMS, Scope};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;

/// Stands somewhere in the claims, as only somebody's secret does.
const PLANTED: &str = "hunter2-planted";

fuzz_target!(|text: &str| -> Corpus {
    let Some((source, json)) = text.split_once("\n---\n") else {
        return Corpus::Reject;
    };
    let Ok(claims) = serde_json::from_str::<Value>(json) else {
        return Corpus::Reject;
    };
    let scope = Scope::new().with("claims", &claims);

    let itself = Expr::compile("claims", &["claims"]).expect("a name is an expression");
    match itself.eval(&scope) {
        Ok(value) => assert_eq!(value, claims, "changed on the way"),
        Err(error) => assert!(too_large(&claims), "{error}"),
    }

    let Ok(expr) = Expr::compile(source, &["claims", "issuer"]) else {
        return Corpus::Keep;
    };
    let planted = Value::from(vec![claims, Value::from(PLANTED)]);
    for scope in [
        scope,
        Scope::new()
            .with("claims", &planted)
            .with("issuer", &Value::from(PLANTED)),
    ] {
        let results = [expr.eval(&scope).err(), expr.eval_bool(&scope).err()];
        for error in results.into_iter().flatten() {
            assert!(
                source.contains(PLANTED) || !error.message.contains(PLANTED),
                "{error}"
            );
        }
    }
    Corpus::Keep
});

fn too_large(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.len() > MAX_ITEMS || items.iter().any(too_large),
        Value::Object(members) => members.len() > MAX_ITEMS || members.values().any(too_large),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
