//! Cases, made up: whose items, facts and identities sometimes fit together.

use super::*;

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
    let places = (
        prop::option::weighted(0.3, 0..2usize),
        any::<bool>(),
        prop::option::of(1..20u64),
        prop::bool::weighted(0.2),
    );
    (
        0..5usize,
        0..10usize,
        models,
        declared,
        identities,
        rights,
        places,
    )
        .prop_map(
            |(
                id,
                kind,
                mut models,
                (own, further),
                (identity, other),
                (edit, save_as, xmla),
                places,
            )| {
                models.dedup_by(|a, b| a.id == b.id);
                let first = models[0].clone();
                let (mut parts, mut facts) = match kind {
                    0..=2 => report(&format!("R{id}"), [first]),
                    3 => paginated([first]),
                    4 => dashboard([first]),
                    5 => qna(first),
                    6 => tile([first]),
                    7 | 8 => visual([first]),
                    _ => create(first),
                };
                parts.security = own;
                if matches!(
                    parts.content,
                    Content::Report { .. } | Content::Visual { .. }
                ) {
                    parts.access = if edit { Access::Edit } else { Access::View };
                    if places.1 && xmla {
                        parts.paginated_visuals.push("RDL9".into());
                    }
                }
                if kind < 3 {
                    parts.save_as = save_as;
                    if places.1 {
                        parts.save_as_workspace = Some("W3".into());
                        facts.target_workspace = Some(workspace("W3"));
                    }
                }
                if let Some(profile) = places.0 {
                    parts.profile = Some(format!("profile {profile}"));
                    facts.profile_id = Some(format!("P{profile}"));
                }
                parts.lifetime = places.2.map(|minutes| Duration::from_secs(minutes * 60));
                if places.3 {
                    parts.workspace_version = WorkspaceVersion::Classic;
                    facts.workspace = of_kind(WorkspaceKind::Classic);
                }
                for member in [
                    "id",
                    "type",
                    "embedUrl",
                    "permissions",
                    "tokenType",
                    "datasetBinding",
                    "theme",
                ] {
                    parts.embed.insert(member.to_owned(), SMUGGLED.into());
                }
                facts.datasets.extend(models.drain(1..).map(Arc::new));
                if let Some(second) = facts.datasets.get(1) {
                    let mut setting = setting(&second.id, further);
                    setting.xmla = if xmla { Xmla::ReadOnly } else { Xmla::Off };
                    parts.datasets.push(setting);
                    if let Some(other) = other {
                        parts.dataset_identities.insert(second.id.clone(), other);
                    }
                    if places.1 && !xmla {
                        parts.dataset_binding = Some(second.id.clone());
                    }
                }
                parts.identity = identity;
                (parts, facts)
            },
        )
}

/// A report over one model: what several items under one token mostly are.
fn plain_report() -> impl Strategy<Value = (GrantParts, Artifact)> {
    let profile = prop::option::weighted(0.5, 0..2usize);
    (
        0..5usize,
        dataset(),
        some_identity(),
        any::<(bool, bool)>(),
        profile,
    )
        .prop_map(|(id, model, identity, (edit, save_as), profile)| {
            let (mut parts, mut facts) = report(&format!("R{id}"), [model]);
            parts.access = if edit { Access::Edit } else { Access::View };
            parts.save_as = save_as;
            parts.identity = identity;
            parts.profile = profile.map(|profile| format!("profile {profile}"));
            facts.profile_id = profile.map(|profile| format!("P{profile}"));
            parts.embed.insert("theme".to_owned(), SMUGGLED.into());
            (parts, facts)
        })
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let items = prop_oneof![
        3 => prop::collection::vec(item(), 1),
        1 => prop::collection::vec(item(), 2..4),
        2 => prop::collection::vec(plain_report(), 2..4),
    ];
    (items, any::<bool>(), 0..8usize).prop_map(|(mut items, master, differ)| {
        agree(&mut items, differ);
        let mut case = Case::of([]).blob("x-a", "blob");
        case.items = items;
        if master { case.by_master_user() } else { case }
    })
}

/// Several items made up apart hardly ever fit under one token: lets them agree on whose they are, but for one thing.
fn agree(items: &mut [(GrantParts, Artifact)], differ: usize) {
    let Some(((first, facts), others)) = items.split_first_mut() else {
        return;
    };
    for (parts, own) in others {
        if differ != 1 {
            parts.profile.clone_from(&first.profile);
            own.profile_id.clone_from(&facts.profile_id);
        }
        if differ == 2 {
            parts.principal = "other".into();
        }
        if differ != 3 {
            parts.identity.clone_from(&first.identity);
            parts
                .dataset_identities
                .clone_from(&first.dataset_identities);
        }
        if differ != 4 {
            parts.save_as = first.save_as && matches!(parts.content, Content::Report { .. });
        }
        parts.workspace_version = first.workspace_version;
        own.workspace = Arc::clone(&facts.workspace);
        parts.security = first.security;
        for dataset in &mut own.datasets {
            if let Some(known) = facts.datasets.iter().find(|known| known.id == dataset.id) {
                *dataset = Arc::clone(known);
            }
        }
    }
}
