//! What is refused, and as what.

use super::*;
use crate::policy::{Access, ItemWorkspace, WorkspaceVersion};

#[test]
fn kind_and_facts_must_agree() {
    let as_interactive = |security| {
        let (mut parts, _) = paginated([]);
        parts.security = security;
        Case::of([(parts, report("R1", [plain("D1")]).1)]).outcome()
    };
    assert_eq!(as_interactive(Security::Auto), "item_unavailable");
    assert_eq!(as_interactive(Security::Rdl), "security_mismatch");
    let (parts, _) = report("R1", [plain("D1")]);
    let (_, rdl) = paginated([]);
    assert_eq!(
        Case::of([(parts.clone(), rdl)]).outcome(),
        "item_unavailable"
    );
    let (_, facts) = dashboard([plain("D1")]);
    assert_eq!(Case::of([(parts, facts)]).outcome(), "item_unavailable");
    let of_a_model = granted(paginated([]), |parts| parts.security = Security::CloudRls);
    assert_eq!(Case::of([of_a_model]).outcome(), "security_mismatch");
}

#[test]
fn a_report_without_its_dataset_is_refused() {
    let (parts, mut facts) = report("R1", [plain("D1")]);
    facts.datasets.clear();
    assert_eq!(Case::of([(parts, facts)]).outcome(), "item_unavailable");
}

#[test]
fn personal_workspaces_are_never_embedded() {
    let mut item = report("R1", [plain("D1")]);
    item.1.workspace = of_kind(WorkspaceKind::Personal);
    let case = Case::of([item]);
    assert_eq!(case.outcome(), "item_unavailable");
    assert_eq!(case.by_master_user().outcome(), "item_unavailable");
    let mut target = create(plain("D1"));
    target.1.target_workspace = Some(of_kind(WorkspaceKind::Personal));
    assert_eq!(Case::of([target]).outcome(), "item_unavailable");
}

/// Policy gives one workspace by id and the other by name, so that only the facts can tell.
#[test]
fn reports_are_not_saved_where_one_is_found_by_name() {
    let lists = |workspaces: &[&str]| {
        let all = workspaces.iter();
        all.map(|workspace| ItemWorkspace {
            item: "other".into(),
            workspace: (*workspace).to_owned(),
        })
        .collect::<Vec<_>>()
    };
    let place = |id: &str, name: &str| {
        Arc::new(Workspace {
            name: name.into(),
            ..(*workspace(id)).clone()
        })
    };
    let looked_up = |others: &[&str]| {
        let mut item = report("R1", [plain("D1")]);
        item.0.saved_into = lists(others);
        item.1.workspace = place("W", "Sales room");
        Case::of([item]).outcome()
    };
    let copied = |others: &[&str], save_as: bool| {
        let mut item = report("R1", [plain("D1")]);
        item.0.save_as = save_as;
        item.0.found_by_name_in = lists(others);
        item.1.workspace = place("W", "Sales room");
        Case::of([item]).outcome()
    };
    let elsewhere = |mut item: (GrantParts, Artifact), others: &[&str]| {
        item.0.found_by_name_in = lists(others);
        item.1.target_workspace = Some(place("W2", "Copies"));
        Case::of([item]).outcome()
    };
    let copied_elsewhere = |others: &[&str]| {
        let item = granted(report("R1", [plain("D1")]), |parts| {
            parts.save_as = true;
            parts.save_as_workspace = Some("W2".into());
        });
        elsewhere(item, others)
    };
    let created = |others: &[&str]| elsewhere(create(plain("D1")), others);
    for own in ["W", "w", "Sales room"] {
        assert_eq!(looked_up(&["x", own]), "not_permitted", "{own}");
        assert_eq!(copied(&["x", own], true), "not_permitted", "{own}");
        assert_eq!(copied(&["x", own], false), "planned", "{own}");
        assert_eq!(copied_elsewhere(&[own]), "planned", "{own}");
    }
    for other in ["W2", "w2", "Copies"] {
        assert_eq!(looked_up(&[other]), "planned", "{other}");
        assert_eq!(copied(&[other], true), "planned", "{other}");
        assert_eq!(copied_elsewhere(&["x", other]), "not_permitted", "{other}");
        assert_eq!(created(&["x", other]), "not_permitted", "{other}");
    }
    assert_eq!(created(&["W", "copies"]), "planned");
    // It is a matter of permission, which comes before whether items can be combined.
    let mut forbidden = report("R1", [plain("D1")]);
    forbidden.0.saved_into = lists(&["W"]);
    let both = Case::of([forbidden, dashboard([])]);
    assert_eq!(both.outcome(), "not_permitted");
}

#[test]
fn classic_workspaces_take_a_declaration_and_a_master_user() {
    let mut item = report("R1", [plain("D1")]);
    item.1.workspace = of_kind(WorkspaceKind::Classic);
    let undeclared = Case::of([item]);
    assert_eq!(undeclared.outcome(), "item_unavailable");
    assert_eq!(
        undeclared.clone().by_master_user().outcome(),
        "item_unavailable"
    );
    let declared = undeclared.changed(|case| {
        case.items[0].0.workspace_version = WorkspaceVersion::Classic;
    });
    assert_eq!(declared.outcome(), "item_unavailable");
    assert_eq!(declared.by_master_user().outcome(), "planned");
}

#[test]
fn classic_workspaces_cover_one_item_and_its_own_dataset() {
    let refused = |item: (GrantParts, Artifact)| {
        let item = granted(item, |parts| {
            parts.workspace_version = WorkspaceVersion::Classic;
        });
        let outcome = Case::of([item]).by_master_user().outcome();
        assert_eq!(outcome, "item_unavailable");
    };
    refused(report("R1", [plain("D1"), plain("D2")]));
    refused(create(plain("D1"))); // saved into another workspace
    let mut elsewhere = plain("D1");
    elsewhere.workspace_id = "W2".into();
    refused(report("R1", [elsewhere]));
    let mut copies = report("R1", [plain("D1")]);
    copies.0.save_as = true;
    copies.1.target_workspace = Some(workspace("W2"));
    refused(copies);
}

#[test]
fn a_master_user_opens_no_paginated_report_and_has_no_profile() {
    let inside = granted(report("R1", [plain("D1")]), |parts| {
        parts.paginated_visuals = vec!["rdl1".into()];
    });
    let declared_open = granted(paginated([]), |parts| parts.security = Security::None);
    let mut profiled = report("R1", [plain("D1")]);
    profiled.0.profile = Some("p".into());
    profiled.1.profile_id = Some("p".into());
    for item in [inside, declared_open, paginated([rls("D1")]), profiled] {
        assert_eq!(
            Case::of([item]).by_master_user().outcome(),
            "security_mismatch"
        );
    }
}

#[test]
fn a_master_user_without_identity_needs_fresh_facts() {
    let fresh = |item| Case::of([item]).by_master_user().plan().needs_fresh_facts();
    assert!(fresh(report("R1", [rls("D1")])));
    assert!(
        fresh(report("R1", [plain("D1")])),
        "RLS may have been added since"
    );
    assert!(fresh(dashboard([])));
    assert!(!fresh(opened_as(report("R1", [rls("D1")]), sales())));
    let half = granted(
        opened_as(report("R1", [rls("D1"), rls("D2")]), sales()),
        |parts| {
            parts.dataset_identities.insert("D2".into(), None);
        },
    );
    assert!(fresh(half));
    let by_principal = Case::of([report("R1", [plain("D1")])]).plan();
    assert!(
        !by_principal.needs_fresh_facts(),
        "a principal fails closed"
    );
}

#[test]
fn a_profile_is_neither_lost_nor_invented() {
    let case = Case::of([report("R1", [plain("D1")])]);
    let lost = case.changed(|case| case.items[0].0.profile = Some("p".into()));
    assert_eq!(lost.outcome(), "item_unavailable");
    let invented = case.changed(|case| case.items[0].1.profile_id = Some("p".into()));
    assert_eq!(invented.outcome(), "item_unavailable");
}

#[test]
fn what_does_not_share_a_token_is_refused() {
    let first = || opened_as(report("R1", [rls("D1")]), sales());
    let principal = granted(report("R2", [plain("D2")]), |parts| {
        parts.principal = "other".into();
    });
    let mut profile = report("R2", [plain("D2")]);
    profile.0.profile = Some("p".into());
    profile.1.profile_id = Some("p".into());
    let classic = granted(report("R2", [plain("D2")]), |parts| {
        parts.workspace_version = WorkspaceVersion::Classic;
    });
    let other_identity = opened_as(report("R2", [rls("D1")]), identity("ana", ["Other"]));
    let no_identity = report("R2", [rls("D1")]);
    let seconds = [
        principal,
        profile,
        classic,
        dashboard([plain("D2")]),
        tile([plain("D2")]),
        other_identity,
        no_identity,
        create(plain("D2")),
    ];
    for second in seconds {
        let content = second.0.content.clone();
        for case in [
            Case::of([first(), second.clone()]),
            Case::of([second, first()]),
        ] {
            assert_eq!(case.outcome(), "items_not_combinable", "{content:?}");
        }
    }
}

#[test]
fn one_paginated_report_has_one_name() {
    let inside = granted(opened_as(report("R1", [rls("D1")]), sales()), |parts| {
        parts.paginated_visuals = vec!["RDL1".into()];
    });
    let mut itself = opened_as(paginated([]), named("bob"));
    if let ContentFacts::Report(report) = &mut itself.1.content {
        Arc::make_mut(report).id = "rdl1".into();
    }
    let case = Case::of([inside, itself]);
    assert_eq!(case.outcome(), "items_not_combinable");
    let same = case.changed(|case| case.items[1].0.identity = Some(named("ana")));
    assert_eq!(same.outcome(), "planned");
}

#[test]
fn combinability_is_told_before_anything_about_power_bi() {
    let first = opened_as(report("R1", [plain("D1")]), sales()); // rls_missing by itself
    let case = Case::of([first, report("R2", [plain("D1")])]);
    assert_eq!(case.outcome(), "items_not_combinable");
    let ended = case.changed(|case| case.session_ends = Some(NOW));
    assert_eq!(
        ended.outcome(),
        "token_expired",
        "and the caller's session before that"
    );
}

#[test]
fn a_token_covers_fifty_of_each() {
    let reports = |count: usize, datasets: usize| {
        let mut case = Case::of([]);
        case.items = (0..count)
            .map(|n| report(&format!("R{n}"), [plain(&format!("D{}", n % datasets))]))
            .collect();
        case
    };
    assert_eq!(reports(50, 50).outcome(), "planned");
    assert_eq!(reports(51, 1).outcome(), "items_not_combinable");
    let (mut parts, mut facts) = report("R1", [plain("D0")]);
    facts.datasets = (0..51).map(|n| Arc::new(plain(&format!("D{n}")))).collect();
    parts.paginated_visuals = Vec::new();
    assert_eq!(
        Case::of([(parts.clone(), facts.clone())]).outcome(),
        "items_not_combinable"
    );
    facts.datasets.truncate(50);
    assert_eq!(Case::of([(parts, facts)]).outcome(), "planned");
    let targets = |count: usize| {
        let mut case = reports(count, 1);
        for (n, (parts, facts)) in case.items.iter_mut().enumerate() {
            parts.content = create(plain("D0")).0.content;
            parts.access = Access::Create;
            facts.content = ContentFacts::Dataset;
            facts.target_workspace = Some(workspace(&format!("W{n}")));
        }
        case
    };
    assert_eq!(targets(50).outcome(), "planned");
    assert_eq!(targets(51).outcome(), "items_not_combinable");
}

#[test]
fn what_a_kind_cannot_have_is_refused() {
    let bound = granted(qna(plain("D1")), |parts| {
        parts.dataset_binding = Some("D1".into());
    });
    assert_eq!(Case::of([bound]).outcome(), "item_unavailable");
    let inside = granted(dashboard([plain("D1")]), |parts| {
        parts.paginated_visuals = vec!["rdl1".into()];
    });
    assert_eq!(Case::of([inside]).outcome(), "item_unavailable");
    let viewer = granted(create(plain("D1")), |parts| parts.access = Access::View);
    assert_eq!(Case::of([viewer]).outcome(), "item_unavailable");
    let lost = granted(report("R1", [plain("D1")]), |parts| {
        parts.save_as = true;
        parts.save_as_workspace = Some("W2".into());
    });
    assert_eq!(Case::of([lost]).outcome(), "item_unavailable");
}

#[test]
fn a_tile_takes_a_single_identity() {
    let item = opened_as(tile([rls("D1"), rls("D2")]), sales());
    assert_eq!(Case::of([item]).outcome(), "item_unavailable");
}

#[test]
fn an_id_never_leaves_its_segment_of_the_path() {
    for id in ["../groups/X", "a/b", "a?b", "a%2f", ""] {
        let (parts, mut facts) = tile([plain("D1")]);
        facts.content = ContentFacts::Tile {
            id: id.into(),
            dashboard_id: "DB1".into(),
            embed_url: String::new(),
        };
        assert_eq!(
            Case::of([(parts, facts)]).outcome(),
            "item_unavailable",
            "{id}"
        );
    }
}

#[test]
fn an_auditable_context_alone_is_no_identity() {
    let item = opened_as(
        report("R1", [plain("D1")]),
        Identity {
            auditable_context: Some("u1".into()),
            datasource_identities: vec![crate::policy::DatasourceIdentity {
                datasource_type: "Sql".into(),
                connection: BTreeMap::new(),
                blob_header: "x-a".into(),
            }],
            ..Identity::default()
        },
    );
    let item = granted(item, |parts| parts.security = Security::Sso);
    let case = Case::of([item]).blob("x-a", "b");
    assert_eq!(case.outcome(), "identity_unmappable");
}

#[test]
fn a_composite_model_in_the_service_is_a_cloud_model() {
    let composite = Dataset {
        roles_required: true,
        ..live("D1", "powerbi://api.powerbi.com/v1.0/myorg/W", false)
    };
    let case = Case::of([opened_as(report("R1", [composite]), sales())]);
    assert_eq!(case.outcome(), "planned");
}

#[test]
fn no_refusal_tells_a_username_or_a_role() {
    let told = |case: Case| case.build().unwrap_err().to_string();
    let azure = Case::of([opened_as(report("R1", [azure("D1")]), named("planted"))]);
    for text in [
        told(azure),
        told(secured(identity("planted name", ["Sales"]))),
        told(secured(identity("ana", ["planted,role"]))),
    ] {
        assert!(!text.contains("planted"), "{text}");
    }
}
