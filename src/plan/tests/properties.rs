//! Whatever is granted and whatever Power BI says: a plan holds nothing that was not granted, and no identity is missing.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::Access;

fn dataset() -> impl Strategy<Value = Dataset> {
    (0..3usize, 0..5usize).prop_map(|(id, shape)| {
        let id = format!("D{id}");
        match shape {
            0 | 1 => rls(&id),
            2 => plain(&id),
            3 => on_premises(&id),
            _ => azure(&id),
        }
    })
}

fn security() -> impl Strategy<Value = Security> {
    prop_oneof![
        6 => Just(Security::Auto),
        2 => Just(Security::None),
        1 => Just(Security::CloudRls),
        1 => Just(Security::AsOnPremises),
        1 => Just(Security::AsAzure),
        1 => Just(Security::Sso),
        1 => Just(Security::SsoCloudRls),
        1 => Just(Security::Rdl),
    ]
}

fn some_identity() -> impl Strategy<Value = Option<Identity>> {
    let roles = prop::sample::subsequence(vec!["A".to_owned(), "B".to_owned()], 0..=2);
    let whole = (0..3usize, roles, 0..8usize).prop_map(|(name, roles, rare)| Identity {
        username: (name > 0).then(|| format!("user{name}")),
        roles,
        custom_data: (rare == 0).then(|| "c".into()),
        identity_blob: (rare == 1).then(|| "x-a".into()),
        auditable_context: (rare == 2).then(|| "audit".into()),
        ..Identity::default()
    });
    prop::option::weighted(0.7, whole)
}

fn item() -> impl Strategy<Value = (GrantParts, Artifact)> {
    let rights = (any::<bool>(), any::<bool>(), any::<bool>());
    let models = prop::collection::vec(dataset(), 1..3);
    let identities = (
        some_identity(),
        prop::option::weighted(0.2, some_identity()),
    );
    let declared = (security(), security());
    (0..5usize, 0..7usize, models, declared, identities, rights).prop_map(
        |(id, kind, mut models, (own, further), (identity, other), (edit, save_as, xmla))| {
            models.dedup_by(|a, b| a.id == b.id);
            let first = models[0].clone();
            let (mut parts, mut facts) = match kind {
                0..=2 => report(&format!("R{id}"), [first]),
                3 => paginated([first]),
                4 => dashboard([first]),
                5 => qna(first),
                _ => create(first),
            };
            parts.security = own;
            if kind < 3 {
                parts.access = if edit { Access::Edit } else { Access::View };
                parts.save_as = save_as;
            }
            facts.datasets.extend(models.drain(1..).map(Arc::new));
            if let Some(second) = facts.datasets.get(1) {
                let mut setting = setting(&second.id, further);
                setting.xmla = if xmla { Xmla::ReadOnly } else { Xmla::Off };
                parts.datasets.push(setting);
                if let Some(other) = other {
                    parts.dataset_identities.insert(second.id.clone(), other);
                }
            }
            parts.identity = identity;
            (parts, facts)
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let items = prop_oneof![
        3 => prop::collection::vec(item(), 1),
        1 => prop::collection::vec(item(), 2..4),
    ];
    (items, any::<bool>()).prop_map(|(items, master)| {
        let mut case = Case::of([]).blob("x-a", "blob");
        case.items = items;
        if master { case.by_master_user() } else { case }
    })
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Every entry is the whole identity that some grant gives for what it covers.
fn assert_entry_is_granted(entry: &Value, case: &Case) -> Result<(), TestCaseError> {
    let granted = case.items.iter().any(|(parts, facts)| {
        let given = match entry["datasets"][0].as_str() {
            Some(id) if facts.datasets.iter().any(|dataset| dataset.id == id) => {
                let own = parts.dataset_identities.get(id);
                own.unwrap_or(&parts.identity).as_ref()
            }
            Some(_) => None,
            None => parts.identity.as_ref(),
        };
        given.is_some_and(|given| {
            let named = match &given.username {
                Some(name) => entry["username"] == *name,
                None => {
                    [OBJECT_ID, MASTER]
                        .map(Value::from)
                        .contains(&entry["username"])
                        || entry["username"].is_null()
                }
            };
            let for_report = !entry["reports"].is_null();
            let same = |member: &str, given: Value| entry[member] == given;
            let audited = same("auditableContext", json!(given.auditable_context));
            let rest = list(&entry["roles"]) == list(&json!(given.roles))
                && same("customData", json!(given.custom_data))
                && entry["identityBlob"].is_null() == given.identity_blob.is_none();
            let nothing = entry["roles"].is_null()
                && entry["customData"].is_null()
                && entry["identityBlob"].is_null();
            named && audited && if for_report { nothing } else { rest }
        })
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
        prop_assert!(items().any(|(_, facts)| of(facts)));
        let edited = items().any(|(parts, facts)| of(facts) && parts.access == Access::Edit);
        prop_assert_eq!(report["allowEdit"] == true, edited);
    }
    for target in list(&body["targetWorkspaces"]) {
        let granted = items().any(|(parts, facts)| {
            (parts.save_as && target["id"] == facts.workspace.id)
                || (parts.access == Access::Create
                    && facts
                        .target_workspace
                        .as_ref()
                        .is_some_and(|of| target["id"] == of.id))
        });
        prop_assert!(granted, "{target} was granted by nobody");
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
            let count = covering.count();
            prop_assert!(count <= 1);
            let own = parts.dataset_identities.get(&dataset.id);
            let given = own.unwrap_or(&parts.identity).is_some();
            let of_setting = parts.datasets.iter().find(|of| of.dataset == dataset.id);
            let open = match of_setting {
                Some(setting) => setting.security == Security::None,
                // A dashboard says so of each dataset by name.
                None => {
                    parts.security == Security::None
                        && !matches!(parts.content, Content::Dashboard { .. })
                }
            };
            if given && !open {
                prop_assert_eq!(count, 1, "an identity was dropped");
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
            }
            assert_nothing_less(&body, &case, &plan)?;
            prop_assert!(body["lifetimeInMinutes"] == 10);
        }
    }
}

#[test]
fn enough_of_what_is_tried_becomes_a_plan() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let plans =
        (0..1_000).filter_map(|_| case().new_tree(&mut runner).unwrap().current().build().ok());
    let (opened, bare): (Vec<_>, Vec<_>) = plans.partition(|plan| !plan.identities().is_empty());
    assert!(
        opened.len() > 40 && bare.len() > 40,
        "{} and {} of 1,000",
        opened.len(),
        bare.len()
    );
}
