//! From the tree of file and environment to a [`Config`], with one mistake for each value that does not fit its key.
//!
//! serde stops at its first error. So that an operator sees everything in one run, a value that does not fit is taken
//! out of the tree and the rest is read again; what was taken out has its default and is not checked further.

use std::collections::BTreeMap;

use super::{Config, Mistake};
use crate::document::{Node, Scalars, Step, Value, readable};

/// Which entries are gone, by the key path of their list; both as they stand in the file.
#[derive(Default)]
struct Gone(BTreeMap<String, Vec<usize>>);

/// Reads the tree into a `Config`.
pub(super) fn shape(tree: config::Value) -> (Config, Vec<Mistake>) {
    let mut tree = node(tree);
    let (mut mistakes, mut gone) = (Vec::new(), Gone::default());
    loop {
        let misfit = match tree.read::<Config>(Scalars::Coerced) {
            Ok(config) => return (config, mistakes),
            Err(misfit) => misfit,
        };
        let path = misfit.path();
        let place = readable(&gone.in_file(&path));
        // A key that was faulty and is gone now is missing by our own doing.
        let gone_before = misfit.missing().is_some_and(|key| {
            let key = format!("{place}.{key}");
            mistakes
                .iter()
                .any(|mistake: &Mistake| mistake.place == key)
        });
        if !gone_before {
            let problem = misfit.problem();
            mistakes.push(Mistake::new(place, problem, remedy(problem)));
        }
        if !take_out(&mut tree, &path, &mut gone, &[]) {
            return (Config::default(), mistakes);
        }
    }
}

/// Keys in order, so that mistakes are told in the same order each time.
fn node(value: config::Value) -> Node {
    use config::ValueKind;
    Node::nowhere(match value.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(value) => Value::Bool(value),
        ValueKind::I64(value) => Value::Integer(value),
        ValueKind::U64(value) => Value::Unsigned(value),
        ValueKind::Float(value) => Value::Float(value),
        ValueKind::String(text) => Value::Text(text),
        // No key takes one; as text it is refused in words.
        ValueKind::I128(value) => Value::Text(value.to_string()),
        ValueKind::U128(value) => Value::Text(value.to_string()),
        ValueKind::Array(items) => Value::List(items.into_iter().map(node).collect()),
        ValueKind::Table(table) => {
            let mut entries: Vec<_> = table
                .into_iter()
                .map(|(key, value)| (key, node(value)))
                .collect();
            entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Value::Map(entries)
        }
    })
}

impl Gone {
    /// The path of a value as it stands in the file, of which entries before it may be gone.
    fn in_file(&self, path: &[Step]) -> Vec<Step> {
        let mut whole = Vec::with_capacity(path.len());
        for step in path {
            whole.push(match step {
                Step::Index(index) => Step::Index(self.index_in_file(&whole, *index)),
                Step::Key(key) => Step::Key(key.clone()),
            });
        }
        whole
    }

    fn index_in_file(&self, list: &[Step], index: usize) -> usize {
        let before = self.0.get(&readable(list)).map_or(&[][..], Vec::as_slice);
        before
            .iter()
            .fold(index, |at, gone| at + usize::from(*gone <= at))
    }

    /// Notes that the entry at `index`, as the list is now, is gone.
    fn note(&mut self, list: &[Step], index: usize) {
        let list = self.in_file(list);
        let index = self.index_in_file(&list, index);
        let gone = self.0.entry(readable(&list)).or_default();
        gone.push(index);
        gone.sort_unstable();
    }
}

/// Takes the value at `rest`, seen from `tree` at `before`, out of the tree.
fn take_out(tree: &mut Node, rest: &[Step], gone: &mut Gone, before: &[Step]) -> bool {
    let Some((step, rest)) = rest.split_first() else {
        return false;
    };
    let here = [before, std::slice::from_ref(step)].concat();
    // A path that goes deeper than the tree ends at the value itself.
    let mut inner = |node: &mut Node| take_out(node, rest, gone, &here);
    match (step, &mut tree.value) {
        (Step::Key(key), Value::Map(entries)) => {
            let Some(at) = entries.iter().position(|(name, _)| name == key) else {
                return false;
            };
            if !inner(&mut entries[at].1) {
                entries.remove(at);
            }
            true
        }
        (Step::Index(index), Value::List(items)) if *index < items.len() => {
            if !inner(&mut items[*index]) {
                gone.note(before, *index);
                items.remove(*index);
            }
            true
        }
        _ => false,
    }
}

fn remedy(problem: &str) -> &'static str {
    if problem.contains("unknown field") {
        "correct its spelling or remove it"
    } else if problem.starts_with("is empty") {
        "remove the key, or give it a value"
    } else if problem.contains("expected a list") || problem.contains("expected a mapping") {
        "write it in the file: the environment can only override single values"
    } else if problem.contains("address syntax") {
        "write an address with its port, such as 127.0.0.1:8080, or a network, such as 10.0.0.0/8"
    } else {
        "see `embed-broker schema config` for what the key takes"
    }
}
