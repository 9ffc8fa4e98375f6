//! `$filter`, `$top` and `$skip` of the calls that have them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Call, with_context};

/// A `$filter`: a member equals a text. Nothing else is simulated.
#[derive(Debug, PartialEq)]
struct Filter {
    member: String,
    value: String,
}

/// The page of `all` that the call asks for; never longer than `page_size`.
pub(super) fn page(
    call: &Call,
    what: &str,
    page_size: usize,
    filterable: &[&str],
    all: Vec<Value>,
) -> Result<Value, Refusal> {
    let known: &[&str] = if filterable.is_empty() {
        &["$top", "$skip"]
    } else {
        &["$filter", "$top", "$skip"]
    };
    let parameters = call.parameters(known)?;
    let given = |name: &str| {
        parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let filter = given("$filter")
        .map(|text| parse(text, filterable))
        .transpose()?;
    let top = number(given("$top"), page_size)?;
    if top == 0 {
        return Err(Refusal::invalid("$top must be at least 1"));
    }
    let skip = number(given("$skip"), 0)?;
    let value: Vec<Value> = all
        .into_iter()
        .filter(|entry| filter.as_ref().is_none_or(|filter| filter.passes(entry)))
        .skip(skip)
        .take(top.min(page_size))
        .collect();
    Ok(with_context(what, json!({ "value": value })))
}

/// A whole collection, of a call without paging.
pub(super) fn whole(call: &Call, what: &str, value: Vec<Value>) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let mut body = json!({});
    body["value"] = Value::Array(value);
    Ok(with_context(what, body))
}

fn number(text: Option<&str>, default: usize) -> Result<usize, Refusal> {
    text.map_or(Ok(default), |text| {
        text.parse()
            .map_err(|_| Refusal::invalid(format!("{text} is no number of entries")))
    })
}

/// `name eq 'It''s'`.
fn parse(text: &str, filterable: &[&str]) -> Result<Filter, Refusal> {
    let bad = || {
        Refusal::unknown(
            StatusCode::BAD_REQUEST,
            format!("Invalid filter clause: {text}"),
        )
    };
    let (member, literal) = text.split_once(" eq ").ok_or_else(bad)?;
    let quoted = literal
        .trim()
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .ok_or_else(bad)?;
    // A quote inside is doubled; a single one would end the literal.
    let member = member.trim();
    if !filterable.contains(&member) || quoted.replace("''", "").contains('\'') {
        return Err(bad());
    }
    Ok(Filter {
        member: member.to_owned(),
        value: quoted.replace("''", "'"),
    })
}

impl Filter {
    fn passes(&self, entry: &Value) -> bool {
        entry[&self.member]
            .as_str()
            .is_some_and(|text| text == self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, parse};

    #[test]
    fn doubled_quotes_stand_for_one() {
        let filter = parse("name eq 'O''Brien'", &["name"]).unwrap();
        assert_eq!(
            filter,
            Filter {
                member: "name".into(),
                value: "O'Brien".into()
            }
        );
    }

    #[test]
    fn anything_but_one_comparison_of_a_known_member_is_refused() {
        for text in [
            "name eq 'O'Brien'",
            "name ne 'x'",
            "color eq 'x'",
            "name eq x",
            "name eq 'x' or 'a' eq 'a'",
        ] {
            assert!(parse(text, &["name"]).is_err(), "{text}");
        }
    }
}
