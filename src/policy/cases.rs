//! The policy's own cases: claims in, decision out, run at every load. A policy whose cases fail is not taken.
//!
//! A case may bring the caller's rows, so that it needs no production tenant. What it does not name is not compared.
//! A case that touches something that did not compile is left out: its failure would only repeat that mistake.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::compile::Compiler;
use super::file::{At, CaseFile, ExpectFile, Expected, Ordered, Refusal, Text, WordOr};
use super::model::Case;
use super::session::Session;
use super::tables::Row;
use super::{Ask, Content, Denied, Grant, Policy};
use crate::authn::Caller;

/// Runs all cases and reports those that fail; the sound ones are kept.
pub(super) fn check(
    policy: &Policy,
    cases: Vec<At<CaseFile>>,
    compiler: &mut Compiler<'_>,
) -> Vec<Case> {
    let names = cases.iter().enumerate();
    let names = names.map(|(index, case)| (&case.name, format!("cases[{index}].name")));
    compiler.refuse_repeats(names, "case");
    let mut kept = Vec::with_capacity(cases.len());
    for (index, case) in cases.into_iter().enumerate() {
        let path = format!("cases[{index}] ({})", case.name.0);
        kept.extend(run(policy, case, &path, compiler));
    }
    kept
}

fn run(
    policy: &Policy,
    case: At<CaseFile>,
    path: &str,
    compiler: &mut Compiler<'_>,
) -> Option<Case> {
    let case = case.value;
    if policy.item(&case.item.0).is_none() {
        compiler.mistake(
            case.item.place,
            &format!("{path}.item"),
            format!("there is no item `{}`", case.item.0),
            "name an item of the catalogue",
        );
        return None;
    }
    let issuer = issuer(case.issuer.as_ref(), path, compiler)?;
    let caller = Caller::assumed(&issuer, case.claims, OffsetDateTime::UNIX_EPOCH);
    let rows = own_rows(case.tables, path, compiler)?;
    let mut session = Session::new(policy, &caller);
    for (table, row) in &rows {
        session.assume_row(*table, row.clone());
    }
    let ask = Ask {
        items: vec![case.item.0.clone()],
        access: case.access,
        save_as: case.save_as,
        target: case.target.map(|target| target.value.0),
    };
    let failures = failures(&mut session, &ask, &case.expect);
    if session.is_broken() {
        return None;
    }
    for failure in failures {
        compiler.mistake(
            case.expect.place,
            &format!("{path}.expect"),
            failure,
            "correct the policy or the case; `embed-broker explain` shows every step",
        );
    }
    Some(Case {
        name: case.name.value.0,
        caller,
        rows,
        ask,
    })
}

/// The case's own rows, which stand in place of the look-ups; `None`: it names a table that is not there.
fn own_rows(
    rows: Ordered<Option<Row>>,
    path: &str,
    compiler: &mut Compiler<'_>,
) -> Option<Vec<(usize, Option<Row>)>> {
    let mut own = Vec::with_capacity(rows.0.len());
    for (table, row) in rows.0 {
        if let Some(index) = compiler.table(&table) {
            own.push((index, row.value));
        } else {
            let problem = format!("there is no table `{table}`");
            let path = format!("{path}.tables");
            compiler.mistake(row.place, &path, problem, "name a table of the policy");
            return None;
        }
    }
    Some(own)
}

/// In what the decision is not as expected.
fn failures(
    session: &mut Session<'_>,
    ask: &Ask,
    expected: &WordOr<Refusal, ExpectFile>,
) -> Vec<String> {
    let decision = session
        .decide(ask)
        .map(|grants| grants.iter().map(described).collect::<Vec<_>>());
    match (expected, decision) {
        (WordOr::Word(Refusal::Denied), Err(Denied::NotPermitted { .. })) => vec![],
        (WordOr::Word(Refusal::Denied), Err(other)) => {
            vec![format!("expected denied, got another refusal: {other}")]
        }
        (WordOr::Word(Refusal::Denied), Ok(grants)) => {
            let rule = grants.first().and_then(|got| got.get("rule"));
            let rule = rule.and_then(Value::as_str).unwrap_or_default();
            vec![format!("expected denied, got a grant by rule `{rule}`")]
        }
        (WordOr::Mapping(_), Err(denied)) => vec![format!("expected a grant, got: {denied}")],
        (WordOr::Mapping(expected), Ok(grants)) => {
            let mut got = grants.into_iter().next().unwrap_or_default();
            got.extend(offered(session, ask));
            differences(expected, &got)
        }
    }
}

/// What the rule gives where the case asks for nothing in particular: a case is about the rule, not about a request.
fn offered(session: &mut Session<'_>, ask: &Ask) -> Map<String, Value> {
    let mut offered = Map::new();
    let permit = ask.items.first().map(|item| session.permit(item));
    if let Some(Ok(permit)) = permit {
        if ask.access.is_none() {
            offered.insert("access".to_owned(), json!(permit.rights().last()));
        }
        if !ask.save_as {
            offered.insert("save_as".to_owned(), json!(permit.offers_copies()));
        }
    }
    offered
}

fn issuer(given: Option<&At<Text>>, path: &str, compiler: &mut Compiler<'_>) -> Option<String> {
    let issuers = compiler.issuers();
    let Some(given) = given else {
        return Some(issuers.first().cloned().unwrap_or_default());
    };
    if issuers.contains(&given.0) {
        return Some(given.0.clone());
    }
    let known = issuers.join(", ");
    compiler.mistake(
        given.place,
        &format!("{path}.issuer"),
        format!("no issuer `{}` is configured", given.0),
        format!("name one of: {known}"),
    );
    None
}

/// What of `expected` the grant does not fulfil.
fn differences(expected: &ExpectFile, got: &Map<String, Value>) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |key: &str, wanted: Option<Value>| {
        let got = got.get(key).unwrap_or(&Value::Null);
        if let Some(wanted) = wanted
            && wanted != *got
        {
            differences.push(format!("`{key}`: expected {wanted}, got {got}"));
        }
    };
    compare("rule", text(&expected.rule));
    compare("access", json(&expected.access, |access| json!(access)));
    compare("save_as", json(&expected.save_as, |save_as| json!(save_as)));
    compare("workspace", text(&expected.workspace));
    compare("principal", text(&expected.principal));
    compare("profile", text(&expected.profile));
    compare("report", text(&expected.report));
    compare("dashboard", text(&expected.dashboard));
    compare("tile", text(&expected.tile));
    compare("dataset", text(&expected.dataset));
    compare("target_workspace", text(&expected.target_workspace));
    compare("save_as_workspace", text(&expected.save_as_workspace));
    compare("dataset_workspace", text(&expected.dataset_workspace));
    compare("username", text(&expected.username));
    compare(
        "roles",
        json(&expected.roles, |roles| {
            roles.iter().map(|role| role.0.as_str()).collect()
        }),
    );
    compare("custom_data", text(&expected.custom_data));
    compare("auditable_context", text(&expected.auditable_context));
    compare(
        "lifetime",
        json(&expected.lifetime, |text| json!(seconds(&text.0))),
    );
    if let Expected::Nothing = expected.identity {
        compare("identity", Some(Value::Null));
    }
    differences
}

/// A grant in the words of `expect`; what it does not have is left out.
fn described(grant: &Grant) -> Map<String, Value> {
    let identity = grant.identity();
    let mut got = Map::new();
    let mut put = |key: &str, value: Value| got.insert(key.to_owned(), value);
    put("rule", json!(grant.rule));
    put("access", json!(grant.access));
    put("save_as", json!(grant.save_as));
    put("workspace", json!(grant.workspace));
    put("principal", json!(grant.principal));
    put("profile", json!(grant.profile));
    put("save_as_workspace", json!(grant.save_as_workspace));
    put("dataset_workspace", json!(grant.dataset_workspace));
    put(
        "lifetime",
        json!(grant.lifetime.map(|lifetime| lifetime.as_secs())),
    );
    put("identity", json!(identity));
    put(
        "username",
        json!(identity.and_then(|it| it.username.as_deref())),
    );
    put("roles", json!(identity.map(|it| &it.roles)));
    put(
        "custom_data",
        json!(identity.and_then(|it| it.custom_data.as_deref())),
    );
    put(
        "auditable_context",
        json!(identity.and_then(|it| it.auditable_context.as_deref())),
    );
    got.extend(shown(&grant.content));
    got
}

/// What the item shows, in the words of `expect`.
fn shown(content: &Content) -> Map<String, Value> {
    let parts: &[(&str, &str)] = match content {
        Content::Report { report }
        | Content::PaginatedReport { report }
        | Content::Visual { report, .. } => &[("report", report)],
        Content::Dashboard { dashboard } => &[("dashboard", dashboard)],
        Content::Tile { dashboard, tile } => &[("dashboard", dashboard), ("tile", tile)],
        Content::Qna { dataset } => &[("dataset", dataset)],
        Content::CreateReport {
            dataset,
            target_workspace,
        } => &[("dataset", dataset), ("target_workspace", target_workspace)],
    };
    let parts = parts.iter();
    parts
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect()
}

fn text(expected: &Expected<Text>) -> Option<Value> {
    json(expected, |text| json!(text.0))
}

fn json<T>(expected: &Expected<T>, value: impl FnOnce(&T) -> Value) -> Option<Value> {
    match expected {
        Expected::Anything => None,
        Expected::Nothing => Some(Value::Null),
        Expected::Exactly(exactly) => Some(value(exactly)),
    }
}

/// Seconds of a duration; what is none never equals a grant's.
fn seconds(text: &str) -> Option<u64> {
    humantime::parse_duration(text)
        .ok()
        .map(|duration| duration.as_secs())
}
