//! Whatever is granted and whatever Power BI says: a plan holds nothing that was not granted, and no identity is missing.

mod cases;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::{Access, WorkspaceVersion};
use cases::case;

/// What an item's `embed` settings try to smuggle into the page's configuration.
const SMUGGLED: &str = "smuggled";

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Whether an entry is the whole of `given`; for a paginated report, its name and auditable context.
fn is_whole(entry: &Value, given: &Identity) -> bool {
    let named = if let Some(name) = &given.username {
        entry["username"] == *name
    } else {
        let own = [OBJECT_ID, MASTER].map(Value::from);
        own.contains(&entry["username"]) || entry["username"].is_null()
    };
    let same = |member: &str, given: Value| entry[member] == given;
    let rest = if entry["reports"].is_null() {
        list(&entry["roles"]) == list(&json!(given.roles))
            && same("customData", json!(given.custom_data))
            && entry["identityBlob"].is_null() == given.identity_blob.is_none()
    } else {
        entry["roles"].is_null() && entry["customData"].is_null() && entry["identityBlob"].is_null()
    };
    named && rest && same("auditableContext", json!(given.auditable_context))
}

/// Every entry covers one thing, and is the whole identity that a grant gives for that.
fn assert_entry_is_granted(entry: &Value, case: &Case) -> Result<(), TestCaseError> {
    let covered = [list(&entry["datasets"]), list(&entry["reports"])].concat();
    prop_assert_eq!(covered.len(), 1);
    let granted = case.items.iter().any(|(parts, facts)| {
        let given = match entry["datasets"][0].as_str() {
            Some(id) if facts.datasets.iter().any(|dataset| dataset.id == id) => {
                let own = parts.dataset_identities.get(id);
                own.unwrap_or(&parts.identity).as_ref()
            }
            Some(_) => None,
            None => parts.identity.as_ref(),
        };
        given.is_some_and(|given| is_whole(entry, given))
    });
    prop_assert!(granted, "{entry} was granted by nobody");
    Ok(())
}

fn assert_nothing_more(body: &Value, case: &Case) -> Result<(), TestCaseError> {
    let items = || case.items.iter();
    for dataset in list(&body["datasets"]) {
        let holds = |facts: &Artifact| facts.datasets.iter().any(|of| dataset["id"] == of.id);
        prop_assert!(items().any(|(_, facts)| holds(facts)));
        let read_only = |parts: &GrantParts| {
            parts
                .datasets
                .iter()
                .any(|of| dataset["id"] == of.dataset && of.xmla == Xmla::ReadOnly)
        };
        prop_assert!(
            dataset["xmlaPermissions"].is_null() || items().any(|(parts, _)| read_only(parts))
        );
    }
    for report in list(&body["reports"]) {
        let of = |facts: &Artifact| matches!(&facts.content, ContentFacts::Report(of) if report["id"] == of.id);
        let inside = |parts: &GrantParts| {
            parts
                .paginated_visuals
                .iter()
                .any(|id| report["id"] == id.to_ascii_lowercase())
        };
        prop_assert!(items().any(|(parts, facts)| of(facts) || inside(parts)));
        let edited = items().any(|(parts, facts)| of(facts) && parts.access == Access::Edit);
        prop_assert_eq!(report["allowEdit"] == true, edited);
    }
    for target in list(&body["targetWorkspaces"]) {
        let granted = items().any(|(parts, facts)| {
            let copies = match &parts.save_as_workspace {
                Some(elsewhere) => target["id"] == *elsewhere,
                None => target["id"] == facts.workspace.id,
            };
            (parts.save_as && copies)
                || (parts.access == Access::Create
                    && facts
                        .target_workspace
                        .as_ref()
                        .is_some_and(|of| target["id"] == of.id))
        });
        prop_assert!(granted, "{target} was granted by nobody");
        // Whoever may save into a workspace may save a copy of any report under the token.
        let guarded = items().find(|(parts, _)| match parts.content {
            Content::Report { .. } => !parts.save_as,
            Content::Visual { .. } => true,
            _ => false,
        });
        prop_assert!(guarded.is_none(), "copies of {guarded:?} could be saved");
    }
    Ok(())
}

/// A V1 call: for the one item, in its workspace, with its right.
fn assert_nothing_more_by_v1(path: &str, body: &Value, case: &Case) -> Result<(), TestCaseError> {
    let [(parts, facts)] = case.items.as_slice() else {
        return Err(TestCaseError::fail("a V1 call covers one item"));
    };
    let dataset = &facts.datasets[0].id;
    let (below, dataset) = match &facts.content {
        ContentFacts::Report(report) => (format!("reports/{}", report.id), None),
        ContentFacts::Dashboard { id, .. } => (format!("dashboards/{id}"), None),
        ContentFacts::Tile {
            id, dashboard_id, ..
        } => (format!("dashboards/{dashboard_id}/tiles/{id}"), None),
        ContentFacts::Dataset if parts.access == Access::Create => {
            ("reports".to_owned(), Some(dataset))
        }
        ContentFacts::Dataset => (format!("datasets/{dataset}"), None),
    };
    let workspace = &facts.workspace.id;
    prop_assert_eq!(path, format!("groups/{workspace}/{below}/GenerateToken"));
    let level = match parts.access {
        Access::View => "View",
        Access::Edit => "Edit",
        Access::Create => "Create",
    };
    prop_assert_eq!(&body["accessLevel"], level);
    prop_assert_eq!(&body["datasetId"], &json!(dataset));
    prop_assert_eq!(body["allowSaveAs"] == true, parts.save_as);
    // Copies go into the workspace of the call: nobody else's was named.
    prop_assert!(
        !parts.save_as
            || parts
                .save_as_workspace
                .as_ref()
                .is_none_or(|of| of == workspace)
    );
    let known = [
        "accessLevel",
        "datasetId",
        "allowSaveAs",
        "identities",
        "lifetimeInMinutes",
    ];
    let members = body.as_object().unwrap();
    prop_assert!(
        members
            .keys()
            .all(|member| known.contains(&member.as_str())),
        "{body}"
    );
    Ok(())
}

/// The page gets each item as it was granted, whatever the item's `embed` settings say.
fn assert_page_is_granted(plan: &EmbedPlan, case: &Case) -> Result<(), TestCaseError> {
    prop_assert_eq!(plan.items().len(), case.items.len());
    for (planned, (parts, facts)) in plan.items().iter().zip(&case.items) {
        let config = &planned.embed_config;
        prop_assert_eq!(&*planned.item, parts.item.as_str());
        let smuggled: Vec<&String> = config
            .iter()
            .filter(|(_, value)| *value == SMUGGLED)
            .map(|(name, _)| name)
            .collect();
        prop_assert_eq!(smuggled, ["theme"]);
        let shown = match &facts.content {
            ContentFacts::Report(report) => Some(&report.id),
            ContentFacts::Dashboard { id, .. } | ContentFacts::Tile { id, .. } => Some(id),
            ContentFacts::Dataset => None,
        };
        let same =
            |member: &str, expected: Value| config.get(member).unwrap_or(&Value::Null) == &expected;
        prop_assert!(same("id", json!(shown)));
        let right = match (&parts.content, parts.access, parts.save_as) {
            (Content::Report { .. } | Content::Visual { .. }, Access::View, false) => Some((0, 0)),
            (Content::Report { .. }, Access::View, true) => Some((2, 0)),
            (Content::Report { .. } | Content::Visual { .. }, Access::Edit, false) => Some((1, 1)),
            (Content::Report { .. }, Access::Edit, true) => Some((7, 1)),
            _ => None,
        };
        let (permissions, mode) = right.unzip();
        prop_assert!(
            same("permissions", json!(permissions)) && same("viewMode", json!(mode)),
            "{config:?}"
        );
        let bound = parts
            .dataset_binding
            .as_ref()
            .map(|bound| json!({ "datasetId": bound }));
        prop_assert!(same("datasetBinding", json!(bound)));
        let paginated = matches!(parts.content, Content::PaginatedReport { .. });
        prop_assert_eq!(planned.re_embed, paginated);
    }
    Ok(())
}

/// What needs an identity, or was given one, has exactly one.
fn assert_nothing_less(body: &Value, case: &Case, plan: &EmbedPlan) -> Result<(), TestCaseError> {
    for (parts, facts) in &case.items {
        for dataset in &facts.datasets {
            let entries = list(&body["identities"]);
            let covering = entries
                .iter()
                .filter(|entry| entry["datasets"] == json!([dataset.id]));
            let covering: Vec<&Value> = covering.collect();
            let count = covering.len();
            prop_assert!(count <= 1);
            let own = parts.dataset_identities.get(&dataset.id);
            let given = own.unwrap_or(&parts.identity).as_ref();
            let of_setting = parts.datasets.iter().find(|of| of.dataset == dataset.id);
            let open = match of_setting {
                Some(setting) if setting.security != Security::Auto => {
                    setting.security == Security::None
                }
                // A dashboard says so of each dataset by name.
                Some(_) | None => {
                    let of_its_own = match &facts.content {
                        ContentFacts::Report(report) => {
                            report.dataset_id.as_ref() == Some(&dataset.id)
                        }
                        ContentFacts::Dashboard { .. } | ContentFacts::Tile { .. } => {
                            of_setting.is_none()
                        }
                        ContentFacts::Dataset => facts.datasets[0].id == dataset.id,
                    };
                    let by_name_only = matches!(parts.content, Content::Dashboard { .. });
                    parts.security == Security::None && of_its_own && !by_name_only
                }
            };
            // Each item's own: what another item gives the same dataset would be no less wrong.
            if let Some(given) = given.filter(|_| !open) {
                let whole = covering.first().is_some_and(|entry| is_whole(entry, given));
                prop_assert!(whole, "an identity was dropped or exchanged");
            } else {
                prop_assert_eq!(count, 0, "an identity that this item was not given");
            }
            if dataset.identity_required && count == 0 {
                prop_assert!(
                    plan.needs_fresh_facts(),
                    "only a master user may, with fresh facts"
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_holds_what_was_granted_no_more_and_no_less(case in case()) {
        if let Ok(plan) = case.build() {
            let body: Value = serde_json::from_slice(plan.body()).unwrap();
            for entry in list(&body["identities"]) {
                assert_entry_is_granted(&entry, &case)?;
            }
            if plan.path() == "GenerateToken" {
                assert_nothing_more(&body, &case)?;
            } else {
                assert_nothing_more_by_v1(plan.path(), &body, &case)?;
            }
            assert_nothing_less(&body, &case, &plan)?;
            assert_page_is_granted(&plan, &case)?;
            let bounds = case.items.iter().filter_map(|(parts, _)| parts.lifetime);
            let minutes = bounds.fold(case.lifetime, Duration::min).as_secs() / 60;
            prop_assert_eq!(&body["lifetimeInMinutes"], &json!(minutes));
            prop_assert_eq!(plan.minter(), &case.minter);
            for (parts, facts) in &case.items {
                prop_assert_eq!(plan.profile_id(), facts.profile_id.as_deref());
                prop_assert_eq!(&parts.principal, &plan.minter().name);
            }
        }
    }
}

#[test]
fn enough_of_what_is_tried_becomes_a_plan() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let cases = (0..4_000).map(|_| case().new_tree(&mut runner).unwrap().current());
    let plans: Vec<_> = cases
        .filter_map(|case| Some((case.build().ok()?, case)))
        .collect();
    let count = |wanted: fn(&EmbedPlan, &Case) -> bool| {
        plans
            .iter()
            .filter(|(plan, case)| wanted(plan, case))
            .count()
    };
    let any = |wanted: fn(&GrantParts) -> bool| {
        plans
            .iter()
            .filter(|(_, case)| case.items.iter().any(|(parts, _)| wanted(parts)))
            .count()
    };
    for (what, count) in [
        (
            "with identities",
            count(|plan, _| !plan.identities().is_empty()),
        ),
        ("without", count(|plan, _| plan.identities().is_empty())),
        ("several items", count(|_, case| case.items.len() > 1)),
        (
            "by a master user",
            count(|_, case| matches!(case.minter.kind, MinterKind::MasterUser { .. })),
        ),
        ("as a profile", count(|plan, _| plan.profile_id().is_some())),
        ("V1", count(|plan, _| plan.path() != "GenerateToken")),
        (
            "classic",
            any(|parts| parts.workspace_version == WorkspaceVersion::Classic),
        ),
        ("edit", any(|parts| parts.access == Access::Edit)),
        ("copies", any(|parts| parts.save_as)),
        (
            "copies elsewhere",
            any(|parts| parts.save_as && parts.save_as_workspace.is_some()),
        ),
        ("bound", any(|parts| parts.dataset_binding.is_some())),
        (
            "paginated inside",
            any(|parts| !parts.paginated_visuals.is_empty()),
        ),
        (
            "an identity of its own",
            any(|parts| !parts.dataset_identities.is_empty()),
        ),
    ] {
        assert!(count >= 5, "{what}: {count} of {} plans", plans.len());
    }
}
