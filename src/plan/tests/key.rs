//! Two plans are the same exactly when their requests are.

use super::*;
use crate::policy::{Access, WorkspaceVersion};

/// A plan with as much in it as one can have.
fn full() -> Case {
    let whole = Identity {
        custom_data: Some("c".into()),
        auditable_context: Some("a".into()),
        identity_blob: Some("x-a".into()),
        ..identity("ana", ["Sales"])
    };
    let item = opened_as(report("R1", [rls("D1"), plain("D2")]), whole);
    Case::of([granted(item, |parts| {
        parts.security = Security::SsoCloudRls;
        parts.datasets[0].security = Security::None;
    })])
    .blob("x-a", "blob")
    .blob("x-b", "other")
}

fn parts(change: impl FnOnce(&mut GrantParts)) -> Case {
    full().changed(|case| change(&mut case.items[0].0))
}

fn sent(change: impl FnOnce(&mut Identity)) -> Case {
    parts(|parts| change(parts.identity.as_mut().unwrap()))
}

#[test]
fn whatever_shapes_the_request_changes_the_key() {
    let rows: Vec<(&str, Case)> = vec![
        ("username", sent(|to| to.username = Some("bob".into()))),
        ("role", sent(|to| to.roles = vec!["Other".into()])),
        ("more roles", sent(|to| to.roles.push("Other".into()))),
        ("custom data", sent(|to| to.custom_data = Some("d".into()))),
        ("no custom data", sent(|to| to.custom_data = None)),
        (
            "empty custom data",
            sent(|to| to.custom_data = Some(String::new())),
        ),
        (
            "auditable context",
            sent(|to| to.auditable_context = Some("b".into())),
        ),
        ("blob", full().blob("x-a", "another")),
        (
            "blob header",
            sent(|to| to.identity_blob = Some("x-b".into())),
        ),
        ("edit", parts(|to| to.access = Access::Edit)),
        ("copies", parts(|to| to.save_as = true)),
        ("xmla", parts(|to| to.xmla = Xmla::ReadOnly)),
        (
            "paginated visual",
            parts(|to| to.paginated_visuals = vec!["rdl1".into()]),
        ),
        (
            "lifetime",
            parts(|to| to.lifetime = Some(Duration::from_secs(60))),
        ),
        (
            "session",
            full().changed(|case| case.session_ends = Some(NOW + Duration::from_secs(120))),
        ),
        (
            "report",
            full().changed(|case| case.items[0].1 = report("R2", [rls("D1"), plain("D2")]).1),
        ),
        (
            "dataset",
            full().changed(|case| {
                case.items[0].1.datasets.pop();
            }),
        ),
        (
            "target",
            full().changed(|case| {
                case.items[0].0.save_as = true;
                case.items[0].1.target_workspace = Some(workspace("W2"));
            }),
        ),
        (
            "profile",
            full().changed(|case| {
                case.items[0].0.profile = Some("p".into());
                case.items[0].1.profile_id = Some("p".into());
            }),
        ),
        (
            "another profile",
            full().changed(|case| {
                case.items[0].0.profile = Some("q".into());
                case.items[0].1.profile_id = Some("q".into());
            }),
        ),
        (
            "principal",
            full().changed(|case| {
                case.minter.name = "other".into();
                case.items[0].0.principal = "other".into();
            }),
        ),
        (
            "tenant",
            full().changed(|case| case.minter.tenant_id = "other".into()),
        ),
        (
            "application",
            full().changed(|case| case.minter.client_id = "other".into()),
        ),
        (
            "API",
            full().changed(|case| case.minter.api_root = "https://api.powerbigov.us/".into()),
        ),
        (
            "object id",
            full().changed(|case| {
                case.minter.kind = MinterKind::ServicePrincipal { object_id: None };
            }),
        ),
        ("kind of principal", full().by_master_user()),
    ];
    let mut keys = BTreeMap::from([(full().plan().key(), "nothing")]);
    for (what, case) in rows {
        let other = keys.insert(case.plan().key(), what);
        assert_eq!(
            other, None,
            "a change of {what} and of {other:?} look alike"
        );
    }
}

#[test]
fn the_path_is_part_of_the_key() {
    let one = Case::of([tile([])]);
    let other = one.changed(|case| {
        case.items[0].1.content = ContentFacts::Tile {
            id: "T2".into(),
            dashboard_id: "DB1".into(),
            embed_url: String::new(),
        };
    });
    assert_eq!(one.plan().body(), other.plan().body());
    assert_ne!(one.plan().key(), other.plan().key());
    let classic = |workspace_id: &str| {
        let item = granted(qna(plain("D1")), |parts| {
            parts.workspace_version = WorkspaceVersion::Classic;
        });
        let mut case = Case::of([item]).by_master_user();
        case.items[0].1.workspace = workspace(workspace_id);
        case
    };
    assert_eq!(classic("W2").outcome(), "item_unavailable");
    assert_ne!(classic("W").plan().key(), one.plan().key());
}

#[test]
fn who_asked_and_what_the_page_shows_do_not_change_it() {
    let key = full().plan().key();
    let rows = [
        ("item", parts(|to| to.item = "alias".into())),
        ("rule", parts(|to| to.rule = "another".into())),
        (
            "embed",
            parts(|to| {
                to.embed.insert("pageName".into(), "P2".into());
            }),
        ),
        (
            "longer session",
            full().changed(|case| {
                case.session_ends = Some(NOW + Duration::from_secs(36_000));
            }),
        ),
        (
            "longer rule",
            parts(|to| to.lifetime = Some(Duration::from_secs(36_000))),
        ),
        ("unused header", full().blob("x-b", "changed")),
    ];
    for (what, case) in rows {
        assert_eq!(case.plan().key(), key, "{what}");
    }
}

#[test]
fn parts_of_the_key_do_not_run_into_each_other() {
    let key = |name: &str, profile: Option<&str>, path: &str, body: &[u8]| {
        let minter = Minter {
            name: name.into(),
            tenant_id: "tenant".into(),
            client_id: "client".into(),
            api_root: "https://api.powerbi.com/".into(),
            kind: MinterKind::ServicePrincipal { object_id: None },
        };
        PlanKey::of(&minter, profile, path, body)
    };
    assert_ne!(key("a", None, "bc", b"d"), key("a", None, "b", b"cd"));
    assert_ne!(key("a", Some(""), "b", b"c"), key("a", None, "b", b"c"));
    assert_ne!(
        key("a", Some("b"), "c", b"d"),
        key("ab", Some(""), "c", b"d")
    );
}

/// Calculated by hand (lengths, then bytes; absent is a length of all ones): another process gets the same.
#[test]
fn a_key_is_made_of_bytes_alone() {
    let minter = Minter {
        name: "default".into(),
        tenant_id: "tenant".into(),
        client_id: "client".into(),
        api_root: "https://api.powerbi.com/".into(),
        kind: MinterKind::ServicePrincipal { object_id: None },
    };
    let PlanKey(key) = PlanKey::of(&minter, Some("p"), "GenerateToken", b"{}");
    assert_eq!(
        format!("{:x}", bytes::Bytes::copy_from_slice(&key)),
        "83e69edd53d6028d7249f8bacc4aceed0c007f38e23f5a4855dc2bf3331b7b17"
    );
}
