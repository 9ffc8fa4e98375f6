//! Reads a policy file, and says where it does not have the shape of one.

use serde::Deserialize;

use super::PolicyFile;
use super::value::UniqueKeys;
use crate::config::Mistake;

/// Reads a policy file; `label` names it in mistakes.
///
/// # Errors
/// The first syntax or shape error.
pub(in crate::policy) fn read(text: &str, label: &str) -> Result<PolicyFile, Mistake> {
    parse::<UniqueKeys>(text, label)?;
    parse(text, label)
}

fn parse<T: for<'de> Deserialize<'de>>(text: &str, label: &str) -> Result<T, Mistake> {
    let mut path = String::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, yaml_options(), |yaml| {
        let mut track = serde_path_to_error::Track::new();
        T::deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track))
            .inspect_err(|_| path = readable(&track.path()))
    })
    .map_err(|error| yaml_mistake(&error, label, &path))
}

/// Strict and free of surprises: `off` and `no` stay words, `007` stays as it is written. The budget lets large tables
/// in; aliases keep the tight default, since they are what makes small files explode.
pub(in crate::policy) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 256 * 1024 * 1024,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// What the YAML library found as a mistake.
pub(in crate::policy) fn yaml_mistake(
    error: &serde_saphyr::Error,
    label: &str,
    path: &str,
) -> Mistake {
    let place = error.location().map_or_else(
        || label.to_owned(),
        |location| format!("{label}:{}:{}", location.line(), location.column()),
    );
    let mut problem = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    if let Some(end) = problem.rfind(" at line ") {
        problem.truncate(end); // the place says it already
    }
    if let Some(key) = problem.strip_prefix("missing field ") {
        problem = format!("the key {key} is missing");
    }
    let remedy = if problem.contains("put quotes around it") {
        "YAML turns unquoted numbers and truth values into something else; quote every identifier that looks like one"
    } else {
        "`embed-broker schema policy` prints every key and its meaning"
    };
    Mistake::new(format!("{place} {path}").trim_end(), problem, remedy)
}

/// A path as people write it: `rules[0].identity.username`. The wrapper that finds places shows up as a segment `value`;
/// it is not a key of the document.
fn readable(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.extend(["[", &index.to_string(), "]"]),
            Segment::Map { key } if key == "value" => {}
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    text
}
