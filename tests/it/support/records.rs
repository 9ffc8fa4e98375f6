//! Holds every audit record of the tests against `docs/audit.schema.json`.

use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use serde_json::Value;

/// The published schema.
pub(crate) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/audit.schema.json")).expect("a schema is JSON")
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&SCHEMA)
        .expect("docs/audit.schema.json is a schema")
});

/// The records of a trail.
#[track_caller]
pub(crate) fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error}: a record is one line of JSON: {line}"));
            let faults = faults(&record);
            assert!(faults.is_empty(), "{faults:#?}: {record}");
            record
        })
        .collect()
}

/// What the schema says against a record.
pub(crate) fn faults(record: &Value) -> Vec<String> {
    VALIDATOR
        .iter_errors(record)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect()
}
