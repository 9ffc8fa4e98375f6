//! From the tree of file and environment to a [`Config`], with one mistake for each value that does not fit its key.
//!
//! serde stops at its first error. So that an operator sees everything in one run, a value that does not fit is taken
//! out of the tree and the rest is read again; what was taken out has its default and is not checked further.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use config::{ConfigError, Value, ValueKind};
use serde_path_to_error::Segment;

use super::{Config, Mistake};

/// Which entries are gone, by the key path of their list; both as they stand in the file.
#[derive(Default)]
struct Gone(BTreeMap<String, Vec<usize>>);

/// Reads the tree into a `Config`.
pub(super) fn shape(mut tree: Value) -> (Config, Vec<Mistake>) {
    let (mut mistakes, mut gone) = (Vec::new(), Gone::default());
    loop {
        let error = match serde_path_to_error::deserialize::<_, Config>(tree.clone()) {
            Ok(config) => {
                // The tree has its keys in no particular order.
                mistakes.sort_unstable();
                return (config, mistakes);
            }
            Err(error) => error,
        };
        let segments: Vec<Segment> = error.path().iter().cloned().collect();
        let problem = innermost(error.inner());
        let place = gone.path(&segments);
        // A key that was faulty and is gone now is missing by our own doing.
        let gone_before = missing(error.inner()).is_some_and(|key| {
            let key = format!("{place}.{key}");
            mistakes
                .iter()
                .any(|mistake: &Mistake| mistake.place == key)
        });
        if !gone_before {
            mistakes.push(Mistake::new(place, &problem, remedy(&problem)));
        }
        if !take_out(&mut tree, &segments, &mut gone, &[]) {
            return (Config::default(), mistakes);
        }
    }
}

impl Gone {
    /// The key path of a value as it stands in the file, of which entries before it may be gone.
    fn path(&self, segments: &[Segment]) -> String {
        let mut path = String::new();
        for segment in segments {
            match segment {
                Segment::Seq { index } => {
                    let before = self.0.get(&path).map_or(&[][..], Vec::as_slice);
                    let index = before
                        .iter()
                        .fold(*index, |at, gone| at + usize::from(*gone <= at));
                    let _ = write!(path, "[{index}]");
                }
                Segment::Map { key } | Segment::Enum { variant: key } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Segment::Unknown => {}
            }
        }
        path
    }

    /// Notes that the entry at `index`, as the list is now, is gone.
    fn note(&mut self, list: &[Segment], index: usize) {
        let list = self.path(list);
        let gone = self.0.entry(list).or_default();
        let index = gone
            .iter()
            .fold(index, |at, gone| at + usize::from(*gone <= at));
        gone.push(index);
        gone.sort_unstable();
    }
}

/// Takes the value at `rest`, seen from `tree` at `before`, out of the tree.
fn take_out(tree: &mut Value, rest: &[Segment], gone: &mut Gone, before: &[Segment]) -> bool {
    let here = |segment: &Segment| [before, std::slice::from_ref(segment)].concat();
    match (rest, &mut tree.kind) {
        ([Segment::Map { key }], ValueKind::Table(table)) => table.remove(key).is_some(),
        ([segment @ Segment::Map { key }, rest @ ..], ValueKind::Table(table)) => {
            // A path that goes deeper than the tree (a variant's field) ends at the value itself.
            let inner = table
                .get_mut(key)
                .is_some_and(|value| take_out(value, rest, gone, &here(segment)));
            inner || table.remove(key).is_some()
        }
        ([segment @ Segment::Seq { index }, rest @ ..], ValueKind::Array(items))
            if *index < items.len() =>
        {
            let inner =
                !rest.is_empty() && take_out(&mut items[*index], rest, gone, &here(segment));
            if !inner {
                gone.note(before, *index);
                items.remove(*index);
            }
            true
        }
        _ => false,
    }
}

/// The crate's own message repeats the key path, which stands in front already.
fn innermost(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => innermost(error),
        ConfigError::Type {
            unexpected,
            expected,
            ..
        } => format!("is {}, expected {expected}", kind(unexpected)),
        other => {
            if let Some(key) = missing(other) {
                return format!("the key `{key}` is missing");
            }
            let text = other.to_string();
            match text.split_once(" does not have variant constructor ") {
                Some((_, word)) => format!("`{word}` is none of the words it takes"),
                None => text,
            }
        }
    }
}

/// What a value is, without the value: what stands in the wrong place may be a secret.
fn kind(unexpected: &impl std::fmt::Display) -> &'static str {
    // The crate's type has no public name; its text is the kind and, in quotes, the value.
    let text = unexpected.to_string();
    match text.split(['`', '"']).next().unwrap_or_default().trim() {
        "unit value" => "empty",
        "boolean" => "true or false",
        "string" => "text",
        "sequence" => "a list",
        "map" => "a mapping",
        _ => "a number",
    }
}

/// The key that is needed and not there.
fn missing(error: &ConfigError) -> Option<&str> {
    match error {
        ConfigError::At { error, .. } => missing(error),
        ConfigError::NotFound(path) => path.rsplit([']', '.']).next(),
        _ => None,
    }
}

fn remedy(problem: &str) -> &'static str {
    if problem.contains("unknown field") {
        "correct its spelling or remove it"
    } else if problem.starts_with("is empty") {
        "remove the key, or give it a value"
    } else if problem.contains("expected a sequence")
        || problem.contains("expected an array")
        || problem.contains("expected a map")
    {
        "write it in the file: the environment can only override single values"
    } else if problem.contains("address syntax") {
        "write an address with its port, such as 127.0.0.1:8080, or a network, such as 10.0.10.4/32"
    } else {
        "see `embed-broker schema config` for what the key takes"
    }
}
