//! Every item at every place that is known: is it there, and does what each rule gives fit the security that it meets?
//!
//! Look-up and plan are the very code that serves requests; nothing is minted here.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::report::{Finding, Level, Subject};
use super::workspaces::{Fit, View, touched};
use super::{causes, gateways};
use crate::app::Services;
use crate::plan::{Artifact, Circumstances, EmbedPlan, Refusal, security_of};
use crate::policy::{Grant, Kind, Place, Probe, Security, SurveyedItem, Xmla};
use crate::powerbi::{Error, Freshness};

/// Time for one look-up.
const TIME: Duration = Duration::from_secs(30);

/// Lifetime of a token that proves something.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Reports looked at of an item that leaves the choice.
const TARGETS: usize = 10;

/// Places named in one line.
const NAMED: usize = 3;

/// Looks at an item; `fit` holds the workspaces that passed.
pub(super) async fn examine(services: &Services, item: &SurveyedItem, fit: &Fit) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in &item.places {
        findings.extend(at_place(services, item, place, fit).await);
    }
    if let Some(why) = &item.unknown {
        findings.push(Finding::warning(
            Subject::Item,
            &*item.item,
            format!("some of its places were not looked at: {why}"),
            "add a case for it that brings no row of its own, so that a place is known",
        ));
    }
    merged(findings)
}

async fn at_place(
    services: &Services,
    item: &SurveyedItem,
    place: &Place,
    fit: &Fit,
) -> Vec<Finding> {
    let Some(first) = place.probes.first() else {
        return vec![Finding::warning(
            Subject::Item,
            &*item.item,
            "no rule gives it to anybody",
            "add a rule for it, or remove the item",
        )];
    };
    let touched = place.probes.iter().flat_map(|probe| touched(&probe.grant));
    if let Some(missing) = touched.into_iter().find(|view| !fit.contains_key(view)) {
        return vec![Finding::warning(
            Subject::Item,
            place_of(&first.grant),
            format!(
                "not looked at, since its principal or workspace `{}` failed above",
                missing.workspace
            ),
            "repair that first",
        )];
    }
    if item.needs_target {
        return with_targets(services, place, fit).await;
    }
    let probes: Vec<&Probe> = place.probes.iter().collect();
    look(services, &probes, None, fit).await
}

/// An item that leaves the choice of the report: a sample of those that a request may choose.
async fn with_targets(services: &Services, place: &Place, fit: &Fit) -> Vec<Finding> {
    let Some(first) = place.probes.first() else {
        return Vec::new();
    };
    let deadline = Instant::now() + TIME;
    let targets = match services.powerbi.targets(&first.grant, deadline).await {
        Ok(targets) => targets,
        Err(error) => return vec![failed(&first.grant, &error)],
    };
    let paginated = first.grant.kind() == Kind::PaginatedReport;
    let fitting: Vec<_> = targets
        .iter()
        .filter(|target| target.paginated == paginated)
        .collect();
    let looked = fitting.len().min(TARGETS);
    let mut findings = vec![Finding::ok(
        Subject::Item,
        place_of(&first.grant),
        format!(
            "a request chooses one of {} reports; {looked} were looked at",
            fitting.len()
        ),
    )];
    for target in fitting.iter().take(TARGETS) {
        let of_it: Vec<&Probe> = place
            .probes
            .iter()
            .filter(|probe| {
                probe
                    .target
                    .as_ref()
                    .is_none_or(|own| *own == target.name || *own == target.id)
            })
            .collect();
        let found = look(services, &of_it, Some(&target.id), fit).await;
        findings.extend(found.into_iter().map(|mut finding| {
            finding.place = format!("{}, target {}", finding.place, target.name);
            finding
        }));
    }
    findings
}

/// One item at one place, by every rule.
async fn look(
    services: &Services,
    probes: &[&Probe],
    target: Option<&str>,
    fit: &Fit,
) -> Vec<Finding> {
    let (mut findings, mut fitting) = (Vec::new(), Vec::new());
    let mut facts = None;
    let mut proof = None;
    for probe in probes {
        let grant = &probe.grant;
        let artifact = services
            .powerbi
            .look_up(
                std::slice::from_ref(grant),
                target,
                Freshness::Cached,
                Instant::now() + TIME,
            )
            .await;
        let artifact = match artifact.map(|(mut all, _)| all.pop()) {
            Ok(Some(artifact)) => artifact,
            Ok(None) => continue,
            Err(error) => {
                findings.push(failed(grant, &error));
                continue;
            }
        };
        match plan(services, grant, &artifact) {
            Ok(plan) => {
                if !fitting.contains(&&**grant.rule()) {
                    fitting.push(&**grant.rule());
                }
                if !plan.identities().is_empty() {
                    proof.get_or_insert(plan);
                }
            }
            Err(refusal) => findings.push(refused(services, probe, &artifact, &refusal)),
        }
        facts.get_or_insert((grant, artifact));
    }
    let Some((grant, artifact)) = facts else {
        return deduplicated(findings);
    };
    if !fitting.is_empty() {
        findings.push(Finding::ok(
            Subject::Item,
            place_of(grant),
            format!(
                "found, {}; these rules fit: {}",
                secured(grant, &artifact),
                fitting.join(", ")
            ),
        ));
    }
    findings.extend(undeclared(grant, &artifact));
    findings.extend(needs_capacity(grant, &artifact, fit));
    findings.extend(inside(services, grant).await);
    for dataset in &artifact.datasets {
        if security_of(grant, &artifact, dataset).1 == Ok("as_on_premises") {
            let profile = artifact.profile_id.as_deref();
            let gateways =
                gateways::examine(services, grant, profile, dataset, proof.as_ref()).await;
            findings.extend(gateways);
        }
    }
    deduplicated(findings)
}

/// What serving the grant would come to.
fn plan(services: &Services, grant: &Grant, artifact: &Artifact) -> Result<EmbedPlan, Refusal> {
    let Some(minter) = services.minters.get(grant.principal()) else {
        return Err(Refusal::ItemUnavailable(
            "its principal is not configured".into(),
        ));
    };
    let blobs: BTreeMap<String, SecretString> = services
        .policy
        .blob_headers()
        .iter()
        .map(|name| (name.clone(), SecretString::from("doctor")))
        .collect();
    let circumstances = Circumstances {
        minter,
        lifetime: A_MINUTE,
        session_ends: None,
        blobs: &blobs,
        now: OffsetDateTime::now_utc(),
    };
    EmbedPlan::build(
        std::slice::from_ref(grant),
        std::slice::from_ref(artifact),
        &circumstances,
    )
}

/// A rule whose gift does not fit. Stand-ins for a caller's claims fit every source, but for one that knows a single name.
fn refused(services: &Services, probe: &Probe, artifact: &Artifact, refusal: &Refusal) -> Finding {
    let (cause, remedy) = causes::of_refusal(refusal);
    let place = place_of(&probe.grant);
    let knows_one_name = || {
        let secured = |dataset| security_of(&probe.grant, artifact, dataset).1;
        let azure = artifact
            .datasets
            .iter()
            .any(|it| secured(it) == Ok("as_azure"));
        azure && plan(services, &probe.grant.without_username(), artifact).is_ok()
    };
    if probe.assumed && matches!(refusal, Refusal::SecurityMismatch(_)) && knows_one_name() {
        return Finding::warning(
            Subject::Rule,
            place,
            format!(
                "rule `{}` takes the username from the caller's claims, and Azure Analysis Services knows no name but the principal's object id",
                probe.grant.rule()
            ),
            "leave `username` out, and tell callers apart by roles or custom data",
        );
    }
    Finding::failed(Subject::Rule, place, cause, remedy)
}

/// What secures the datasets, in words.
fn secured(grant: &Grant, artifact: &Artifact) -> String {
    let mut all: Vec<String> = artifact
        .datasets
        .iter()
        .map(|dataset| match security_of(grant, artifact, dataset) {
            (Security::Auto, Ok(secured)) => secured.to_owned(),
            (_, Ok(secured)) => format!("{secured} (declared)"),
            (_, Err(_)) => "something else than declared".to_owned(),
        })
        .collect();
    all.sort();
    all.dedup();
    if all.is_empty() {
        "without a dataset".to_owned()
    } else {
        format!("secured by {}", all.join(", "))
    }
}

/// Single sign-on to a source shows in no flag: an identity without roles over SQL may be it.
fn undeclared(grant: &Grant, artifact: &Artifact) -> Option<Finding> {
    let suspect = artifact.datasets.iter().find(|dataset| {
        let (declared, secured) = security_of(grant, artifact, dataset);
        let sql = |kind: &str| kind.eq_ignore_ascii_case("Sql");
        declared == Security::Auto
            && secured == Ok("cloud_rls")
            && !dataset.roles_required
            && dataset.sources.iter().any(|source| sql(&source.kind))
    })?;
    Some(Finding::warning(
        Subject::Item,
        place_of(grant),
        format!(
            "dataset {} wants an identity, has no roles, and reads SQL: perhaps its source signs the user in itself, which Power BI does not tell",
            suspect.id
        ),
        "declare its `security`: sso, sso_cloud_rls or cloud_rls",
    ))
}

/// "Embed paginated reports" and the XMLA right need a capacity.
fn needs_capacity(grant: &Grant, artifact: &Artifact, fit: &Fit) -> Option<Finding> {
    let paginated = grant.kind() == Kind::PaginatedReport || !grant.paginated_visuals().is_empty();
    let xmla = grant.xmla() == Xmla::ReadOnly
        || grant
            .datasets()
            .iter()
            .any(|dataset| dataset.xmla == Xmla::ReadOnly);
    let trial = artifact.workspace.on_capacity == Some(false)
        || touched(grant)
            .iter()
            .any(|view| fit.get(view) == Some(&Some(false)));
    let what = match (paginated, xmla) {
        (true, _) => "a paginated report",
        (false, true) => "the XMLA right (`xmla: read_only`)",
        (false, false) => return None,
    };
    trial.then(|| {
        Finding::failed(
            Subject::Item,
            place_of(grant),
            format!(
                "{what} needs every workspace that it touches on a capacity, and one is on none"
            ),
            "put the workspace on a capacity (A, EM, P or F)",
        )
    })
}

/// The paginated reports inside an interactive one: nothing but the iframe would tell that one is missing.
async fn inside(services: &Services, grant: &Grant) -> Vec<Finding> {
    let mut findings = Vec::new();
    for id in grant.paginated_visuals() {
        let found = services
            .powerbi
            .is_paginated(grant.principal(), grant.profile(), grant.workspace(), id)
            .await;
        let (cause, remedy) = match found {
            Ok(true) => continue,
            Ok(false) => (
                format!("`paginated_visuals` names {id}, which is an interactive report"),
                "name the paginated reports that the report shows".to_owned(),
            ),
            Err(error) => causes::of_call(&error),
        };
        findings.push(Finding::failed(
            Subject::Item,
            place_of(grant),
            cause,
            remedy,
        ));
    }
    findings
}

fn failed(grant: &Grant, error: &Error) -> Finding {
    let (cause, remedy) = causes::of_call(error);
    Finding::failed(Subject::Item, place_of(grant), cause, remedy)
}

fn place_of(grant: &Grant) -> String {
    let view = View::of(grant, grant.workspace());
    format!("{} in {}, {}", grant.item(), view.workspace, view.seen_by())
}

/// The same said twice, by two probes of one rule, is one finding.
fn deduplicated(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut seen = std::collections::HashSet::new();
    findings.retain(|finding| seen.insert(finding.to_string()));
    findings
}

/// What is well in the same way at many places is one line.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let (well, mut others): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| finding.level == Level::Ok);
    let mut groups: Vec<(Finding, Vec<String>)> = Vec::new();
    for finding in well {
        let known = groups
            .iter_mut()
            .find(|(known, _)| known.subject == finding.subject && known.cause == finding.cause);
        if let Some((_, places)) = known {
            places.push(finding.place);
        } else {
            let places = vec![finding.place.clone()];
            groups.push((finding, places));
        }
    }
    let mut lines: Vec<Finding> = groups
        .into_iter()
        .map(|(finding, places)| {
            let more = places.len().saturating_sub(NAMED);
            let named = places[..places.len().min(NAMED)].join("; ");
            let place = if more > 0 {
                format!("{named}; and {more} more")
            } else {
                named
            };
            Finding { place, ..finding }
        })
        .collect();
    lines.append(&mut others);
    lines
}
