//! Tests of the policy: the sample, then a file for each subject.

mod support;

use std::path::Path;

use super::*;
use support::surroundings;

#[test]
fn the_production_sample_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policy.yaml");
    let policy = Policy::load(&path, &surroundings()).unwrap_or_else(|mistakes| {
        panic!("{}", crate::config::Mistakes(mistakes));
    });
    assert_eq!(policy.files(), [path]);
    assert_eq!((policy.item_count(), policy.rule_count()), (4, 3));
}
