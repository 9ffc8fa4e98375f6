//! What is asked to find profiles, workspaces and items, by id and by name.

use serde_json::json;

use super::*;
use crate::plan::{ContentFacts, WorkspaceKind};

#[tokio::test]
async fn a_report_by_id_takes_three_reads() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let artifact = facts(&power_bi, grant(report(R))).await.unwrap();
    assert_eq!(
        fake.paths(),
        [
            format!("groups/{W}"),
            format!("groups/{W}/reports/{R}"),
            format!("groups/{W}/datasets/{D}"),
        ]
    );
    assert_eq!(artifact.workspace.name, "Sales room");
    assert_eq!(artifact.workspace.on_capacity, Some(true));
    assert_eq!(artifact.profile_id, None);
    assert_eq!(artifact.target_workspace, None);
    match artifact.content {
        ContentFacts::Report(report) => {
            assert_eq!((report.id.as_str(), report.paginated), (R, false));
            assert_eq!(
                report.embed_url,
                "https://app.powerbi.com/reportEmbed?reportId=r&config=x"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(artifact.datasets.len(), 1);
    assert_eq!(artifact.datasets[0].workspace_id, W);
    for seen in fake.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer entra-1"));
        assert_eq!(seen.header("x-powerbi-profile-id"), None);
    }
}

#[tokio::test]
async fn a_profile_by_name_is_listed_by_the_principal_itself_and_borne_by_every_other_call() {
    let fake = Fake::start(|seen| {
        if seen.path.ends_with("/profiles") {
            let skip = seen.query.contains("$skip=0");
            let all = json!([{"id": W2, "displayName": "o'brien & sons+100%"},
                             {"id": P, "displayName": "O'Brien & Sons+100%"}]);
            let page = if skip { all } else { json!([]) };
            return Reply::json(200, &json!({"value": page}));
        }
        usual(seen)
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let parts = GrantParts {
        profile: Some("O'Brien & Sons+100%".into()),
        ..grant(report(R))
    };
    let artifact = facts(&power_bi, parts).await.unwrap();
    assert_eq!(artifact.profile_id.as_deref(), Some(P));
    assert_eq!(
        fake.paths()[0],
        "profiles?$filter=displayName%20eq%20%27O%27%27Brien%20%26%20Sons%2B100%25%27&$top=100&$skip=0"
    );
    for seen in fake.seen() {
        let expected = Some(P).filter(|_| !seen.path.ends_with("/profiles"));
        assert_eq!(
            seen.header("x-powerbi-profile-id"),
            expected,
            "{}",
            seen.path
        );
    }
}

#[tokio::test]
async fn a_profile_by_id_is_not_looked_up() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let parts = GrantParts {
        profile: Some(P.into()),
        ..grant(report(R))
    };
    facts(&power_bi, parts).await.unwrap();
    assert_eq!(fake.count(), 3);
    assert!(
        fake.seen()
            .iter()
            .all(|seen| seen.header("x-powerbi-profile-id") == Some(P))
    );
}

#[tokio::test]
async fn a_profile_that_is_missing_or_ambiguous_is_unavailable() {
    let one = |name: &str, id: &str| json!({"id": id, "displayName": name});
    for all in [
        json!([]),
        json!([one("contoso", P)]),
        json!([one("Contoso", P), one("Contoso", W2)]),
        json!([one("Contoso Ltd", P)]),
    ] {
        let answer = json!({"value": all});
        let fake = Fake::start(move |seen| {
            if seen.path.ends_with("/profiles") {
                Reply::json(200, &answer)
            } else {
                usual(seen)
            }
        })
        .await;
        let parts = GrantParts {
            profile: Some("Contoso".into()),
            ..grant(report(R))
        };
        let power_bi = Setup::default().power_bi(&fake);
        unavailable(facts(&power_bi, parts).await);
        assert!(fake.paths().iter().all(|path| path.starts_with("profiles")));
    }
}

/// Workspaces in pages of two, however many are asked for, and the filter ignored.
fn paged_workspaces(all: Vec<(&'static str, &'static str)>) -> impl Fn(&Seen) -> Reply {
    move |seen| {
        if seen.path != "/v1.0/myorg/groups" {
            return usual(seen);
        }
        let skip = seen.query.rsplit_once("$skip=").unwrap().1;
        let page = all.iter().skip(skip.parse().unwrap()).take(2);
        let page: Vec<_> = page
            .map(|(id, name)| json!({"id": id, "name": name}))
            .collect();
        Reply::json(200, &json!({"value": page}))
    }
}

#[tokio::test]
async fn a_workspace_by_name_is_the_only_one_of_that_name_on_all_pages() {
    for (all, found) in [
        (
            vec![(R, "x"), (R2, "y"), (D, "z"), (D2, "q"), (W, "Sales")],
            true,
        ),
        (
            vec![(W, "Sales"), (R2, "y"), (D, "z"), (D2, "q"), (R, "Sales")],
            false,
        ),
        (vec![(W, "Sales"), (R2, "sales"), (D, "Sales ")], true),
        (vec![(R2, "sales"), (D, "Sales ")], false),
        (vec![], false),
    ] {
        let script = paged_workspaces(all.clone());
        let fake = Fake::start(script).await;
        let power_bi = Setup::default().power_bi(&fake);
        let parts = GrantParts {
            workspace: "Sales".into(),
            ..grant(report(R))
        };
        let result = facts(&power_bi, parts).await;
        if found {
            assert_eq!(result.unwrap().workspace.id, W, "{all:?}");
        } else {
            unavailable(result);
        }
    }
}

#[tokio::test]
async fn a_service_that_ignores_skip_does_not_keep_us_busy() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let parts = GrantParts {
        workspace: "Sales room".into(),
        ..grant(report(R))
    };
    facts(&power_bi, parts).await.unwrap();
    let lists = fake
        .paths()
        .iter()
        .filter(|path| path.starts_with("groups?"))
        .count();
    assert_eq!(lists, 2);
}

#[tokio::test]
async fn the_type_of_a_workspace_is_told_and_an_unknown_one_not_believed() {
    for (kind, expected) in [
        (json!("Workspace"), Some(WorkspaceKind::Shared)),
        (json!(null), Some(WorkspaceKind::Shared)),
        (json!("Group"), Some(WorkspaceKind::Classic)),
        (json!("PersonalGroup"), Some(WorkspaceKind::Personal)),
        (json!("Personal"), Some(WorkspaceKind::Personal)),
        (json!("Novelty"), None),
    ] {
        let script = usual_but(format!("groups/{W}"), move |body| {
            body["type"] = kind.clone();
        });
        let fake = Fake::start(script).await;
        let power_bi = Setup::default().power_bi(&fake);
        let result = facts(&power_bi, grant(report(R))).await;
        match expected {
            Some(kind) => assert_eq!(result.unwrap().workspace.kind, kind),
            None => assert!(invalid(result).contains("type")),
        }
    }
}

#[tokio::test]
async fn a_report_by_name_is_exactly_one_of_exactly_that_name() {
    for (all, found) in [
        (vec![(R, "Sales"), (R2, "sales")], true),
        (vec![(R, "Sales"), (R2, "Sales")], false),
        (vec![(R2, "sales")], false),
        (vec![(R2, "Sales ")], false),
        (vec![], false),
    ] {
        let list = reports(&all);
        let fake = Fake::start(move |seen| {
            if seen.path.ends_with("/reports") {
                list.clone()
            } else {
                usual(seen)
            }
        })
        .await;
        let power_bi = Setup::default().power_bi(&fake);
        let result = facts(&power_bi, grant(report("Sales"))).await;
        if found {
            result.unwrap();
        } else {
            unavailable(result);
        }
    }
}

#[tokio::test]
async fn a_list_is_followed_to_its_last_page_but_never_elsewhere() {
    for (link, problem) in [
        (format!("/v1.0/myorg/groups/{W}/reports?$skiptoken=2"), None),
        (
            format!("/v1.0/myorg/groups/{W2}/reports?x"),
            Some("outside"),
        ),
        (
            format!("http://127.0.0.1:9/v1.0/myorg/groups/{W}/reports?$skiptoken=2"),
            Some("outside"),
        ),
        ("nonsense".to_owned(), Some("outside")),
    ] {
        let fake = Fake::start(move |seen| {
            if !seen.path.ends_with("/reports") {
                return usual(seen);
            }
            if seen.query.contains("skiptoken") {
                return reports(&[(R, "Sales")]);
            }
            let host = seen.header("host").unwrap();
            let link = if link.starts_with('/') {
                format!("http://{host}{link}")
            } else {
                link.clone()
            };
            let mut first = reports(&[(R2, "Other")]);
            first.change(|body| body["@odata.nextLink"] = json!(link));
            first
        })
        .await;
        let power_bi = Setup::default().power_bi(&fake);
        let result = facts(&power_bi, grant(report("Sales"))).await;
        match problem {
            None => drop(result.unwrap()),
            Some(problem) => assert!(invalid(result).contains(problem)),
        }
    }
}

#[tokio::test]
async fn facts_come_in_the_order_of_the_grants_and_one_that_is_missing_fails_all() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let board = || {
        Grant::for_test(grant(Content::Dashboard {
            dashboard: B.into(),
        }))
    };
    let sales = || Grant::for_test(grant(report(R)));
    let grants: Vec<_> = (0..10).flat_map(|_| [sales(), board()]).collect();
    let artifacts = power_bi
        .look_up(&grants, None, Freshness::Cached, soon())
        .await
        .unwrap();
    for pair in artifacts.0.chunks(2) {
        assert!(matches!(pair[0].content, ContentFacts::Report(_)));
        assert!(matches!(pair[1].content, ContentFacts::Dashboard { .. }));
    }
    let grants = [sales(), Grant::for_test(grant(report("Nothing")))];
    let result = power_bi
        .look_up(&grants, None, Freshness::Cached, soon())
        .await;
    assert!(matches!(result, Err(Error::ItemUnavailable { .. })));
}

#[tokio::test]
async fn doctor_learns_the_trial_allowance_and_the_users_of_a_workspace() {
    let fake = Fake::start(|seen| match seen.path.rsplit('/').next().unwrap() {
        "users" if seen.query.contains("$skip=0") => Reply::json(
            200,
            &json!({"value": [{"identifier": P, "principalType": "App", "groupUserAccessRight": "Member",
                               "displayName": "Broker", "profile": {"id": W2, "displayName": "x"}},
                              {"identifier": P, "principalType": "App", "groupUserAccessRight": "Viewer"}]}),
        ),
        "users" => Reply::json(200, &json!({"value": []})),
        "availableFeatures(featureName='embedTrial')" => Reply::json(
            200,
            &json!({"name": "embedTrial", "state": "Enabled", "additionalInfo": {"usage": 65}}),
        ),
        _ => usual(seen),
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let usage = power_bi.trial_usage("default").await.unwrap();
    assert_eq!(usage.percent, Some(65.0));
    let users = power_bi
        .workspace_users("default", Some("Contoso"), W)
        .await
        .unwrap();
    assert_eq!(users.len(), 2, "a principal beside its profile");
    assert_eq!(users[0].access.as_deref(), Some("Member"));
    assert_eq!(users[0].profile_id.as_deref(), Some(W2));
    assert_eq!(users[1].profile_id, None);
}
