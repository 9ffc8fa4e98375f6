//! What is asked for which kind of item, and which answers are believed.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::plan::{ContentFacts, WorkspaceKind};
use crate::policy::{DatasetSetting, Security, Xmla};

fn setting(dataset: &str) -> DatasetSetting {
    DatasetSetting {
        dataset: dataset.into(),
        workspace: None,
        security: Security::Auto,
        xmla: Xmla::Off,
    }
}

fn unavailable(result: Result<Artifact, Error>) -> String {
    match result {
        Err(Error::ItemUnavailable { what, cause }) => format!("{what}: {cause}"),
        other => panic!("{other:?}"),
    }
}

fn invalid(result: Result<Artifact, Error>) -> String {
    match result {
        Err(Error::InvalidResponse(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// Reports of the workspace `W`, as (id, name).
fn reports(all: &[(&str, &str)]) -> Reply {
    let one = |(id, name): &(&str, &str)| json!({"id": id, "name": name, "datasetId": D});
    Reply::json(
        200,
        &json!({"value": all.iter().map(one).collect::<Vec<_>>()}),
    )
}

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
async fn paginated_reports_are_told_by_their_type_or_else_by_having_no_dataset() {
    let paginated = json!({"reportType": "PaginatedReport", "datasetId": null});
    for (change, expected) in [
        (paginated, Some(true)),
        (json!({"reportType": null, "datasetId": ""}), Some(true)),
        (json!({"reportType": null}), Some(false)),
        (json!({"reportType": "Hologram"}), None),
    ] {
        let script = usual_but(format!("groups/{W}/reports/{R}"), move |body| {
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
        });
        let fake = Fake::start(script).await;
        let power_bi = Setup::default().power_bi(&fake);
        let result = facts(&power_bi, grant(report(R))).await;
        let Some(expected) = expected else {
            invalid(result);
            continue;
        };
        let artifact = result.unwrap();
        assert_eq!(artifact.datasets.is_empty(), expected);
        match artifact.content {
            ContentFacts::Report(report) => assert_eq!(report.paginated, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_interactive_report_without_a_dataset_is_unavailable() {
    let script = usual_but(format!("groups/{W}/reports/{R}"), |body| {
        body["datasetId"] = json!(null);
    });
    let fake = Fake::start(script).await;
    let power_bi = Setup::default().power_bi(&fake);
    unavailable(facts(&power_bi, grant(report(R))).await);
}

#[tokio::test]
async fn security_flags_are_read_in_both_spellings_and_never_guessed() {
    let read = |flags: serde_json::Value| async move {
        let script = usual_but(format!("groups/{W}/datasets/{D}"), move |body| {
            let body = body.as_object_mut().unwrap();
            body.retain(|name, _| !name.starts_with("isEffective"));
            body.extend(flags.as_object().unwrap().clone());
        });
        let fake = Fake::start(script).await;
        let power_bi = Setup::default().power_bi(&fake);
        let result = facts(&power_bi, grant(report(R))).await;
        result.map(|artifact| {
            let dataset = &artifact.datasets[0];
            (dataset.identity_required, dataset.roles_required)
        })
    };
    let (one, many) = (
        "isEffectiveIdentityRequired",
        "isEffectiveIdentityRolesRequired",
    );
    let (big_one, big_many) = (
        "IsEffectiveIdentityRequired",
        "IsEffectiveIdentityRolesRequired",
    );
    assert_eq!(
        read(json!({one: true, many: true})).await.unwrap(),
        (true, true)
    );
    assert_eq!(
        read(json!({big_one: true, big_many: true})).await.unwrap(),
        (true, true)
    );
    assert_eq!(
        read(json!({big_one: true, many: false})).await.unwrap(),
        (true, false)
    );
    assert_eq!(
        read(json!({one: false, many: false})).await.unwrap(),
        (false, false)
    );
    for bad in [
        json!({}),
        json!({many: false}),
        json!({one: false}),
        json!({one: null, many: false}),
        json!({one: "false", many: false}),
        json!({one: 0, many: 0}),
    ] {
        assert!(
            matches!(read(bad.clone()).await, Err(Error::InvalidResponse(_))),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn urls_for_questions_and_new_reports_are_read_in_both_spellings() {
    let script = usual_but(format!("groups/{W}/datasets/{D}"), |body| {
        let body = body.as_object_mut().unwrap();
        body.remove("createReportEmbedURL");
        body.remove("qnaEmbedURL");
        body.insert(
            "CreateReportEmbedURL".into(),
            json!("https://app.powerbi.com/c"),
        );
        body.insert("QnaEmbedURL".into(), json!("https://app.powerbi.com/q"));
        body.insert("IsOnPremGatewayRequired".into(), json!(true));
        body.remove("isOnPremGatewayRequired");
    });
    let fake = Fake::start(script).await;
    let power_bi = Setup::default().power_bi(&fake);
    let artifact = facts(&power_bi, grant(report(R))).await.unwrap();
    let dataset = &artifact.datasets[0];
    assert_eq!(
        dataset.create_report_url.as_deref(),
        Some("https://app.powerbi.com/c")
    );
    assert_eq!(
        dataset.qna_url.as_deref(),
        Some("https://app.powerbi.com/q")
    );
    assert!(dataset.on_premises_gateway);
}

#[tokio::test]
async fn an_answer_about_another_id_is_no_answer() {
    let board = Content::Dashboard {
        dashboard: B.into(),
    };
    for (path, content) in [
        (format!("groups/{W}"), report(R)),
        (format!("groups/{W}/reports/{R}"), report(R)),
        (format!("groups/{W}/datasets/{D}"), report(R)),
        (format!("groups/{W}/dashboards/{B}"), board),
    ] {
        let fake = Fake::start(usual_but(path, |body| body["id"] = json!(P))).await;
        let power_bi = Setup::default().power_bi(&fake);
        assert!(invalid(facts(&power_bi, grant(content)).await).contains("another id"));
    }
}

#[tokio::test]
async fn an_embed_url_on_a_foreign_host_is_refused_wherever_it_comes_from() {
    let board = || Content::Dashboard {
        dashboard: B.into(),
    };
    let tile = || Content::Tile {
        dashboard: B.into(),
        tile: T.into(),
    };
    for (path, pointer, content) in [
        (format!("groups/{W}/reports/{R}"), "/embedUrl", report(R)),
        (
            format!("groups/{W}/datasets/{D}"),
            "/createReportEmbedURL",
            report(R),
        ),
        (
            format!("groups/{W}/datasets/{D}"),
            "/qnaEmbedURL",
            report(R),
        ),
        (format!("groups/{W}/dashboards/{B}"), "/embedUrl", board()),
        (
            format!("groups/{W}/dashboards/{B}/tiles"),
            "/value/0/embedUrl",
            tile(),
        ),
    ] {
        for bad in [
            "https://app.powerbi.com.evil.example/x",
            "http://app.powerbi.com/",
            "",
        ] {
            if bad.is_empty() && pointer.ends_with("URL") {
                continue; // these may be missing
            }
            let script = usual_but(path.clone(), move |body| {
                *body.pointer_mut(pointer).unwrap() = json!(bad);
            });
            let fake = Fake::start(script).await;
            let power_bi = Setup::default().power_bi(&fake);
            let problem = invalid(facts(&power_bi, grant(content.clone())).await);
            assert!(
                problem.contains("embed URL") && !problem.contains("evil"),
                "{problem}"
            );
        }
    }
}

#[tokio::test]
async fn ids_and_names_never_leave_their_place_in_the_url() {
    let nasty = [
        "..",
        ".",
        "../..",
        "a/b",
        "x?y=z",
        "x#y",
        "%2e%2e",
        "..%2f..",
        "a b",
        "a\\b",
        "é",
        "",
        "../../admin/groups",
    ];
    let fake = Fake::start(usual).await;
    for text in nasty {
        let settings = GrantParts {
            datasets: vec![setting(text)],
            ..grant(report(R))
        };
        let workspace = GrantParts {
            workspace: text.into(),
            ..grant(report(R))
        };
        let board = Content::Dashboard {
            dashboard: text.into(),
        };
        let tile = Content::Tile {
            dashboard: B.into(),
            tile: text.into(),
        };
        let questions = Content::Qna {
            dataset: text.into(),
        };
        let all = [
            settings,
            workspace,
            grant(report(text)),
            grant(board),
            grant(tile),
            grant(questions),
        ];
        for parts in all {
            let power_bi = Setup::default().power_bi(&fake);
            unavailable(facts(&power_bi, parts).await);
        }
    }
    for text in nasty {
        let script = usual_but(format!("groups/{W}/reports/{R}"), move |body| {
            body["datasetId"] = json!(text);
        });
        let fake = Fake::start(script).await;
        let power_bi = Setup::default().power_bi(&fake);
        unavailable(facts(&power_bi, grant(report(R))).await);
        assert_eq!(
            fake.count(),
            2,
            "the id in the reply is not followed: {text}"
        );
    }
    for seen in fake.seen() {
        let known = [
            "groups",
            "reports",
            "dashboards",
            "datasets",
            "tiles",
            W,
            R,
            B,
            D,
        ];
        let below = seen.path.strip_prefix("/v1.0/myorg/").unwrap();
        assert!(
            below.split('/').all(|part| known.contains(&part)),
            "{}",
            seen.path
        );
    }
}

#[tokio::test]
async fn data_sources_are_read_only_when_they_are_needed() {
    let count = |identity_required: bool, security: Security| async move {
        let script = usual_but(format!("groups/{W}/datasets/{D}"), move |body| {
            body["isEffectiveIdentityRequired"] = json!(identity_required);
        });
        let fake = Fake::start(script).await;
        let power_bi = Setup::default().power_bi(&fake);
        let parts = GrantParts {
            security,
            ..grant(report(R))
        };
        let artifact = facts(&power_bi, parts).await.unwrap();
        artifact.datasets[0].sources.len()
    };
    assert_eq!(count(false, Security::Auto).await, 0);
    assert_eq!(count(true, Security::Auto).await, 1);
    assert_eq!(count(false, Security::AsAzure).await, 1);
    assert_eq!(count(false, Security::AsOnPremises).await, 1);
    assert_eq!(count(false, Security::Sso).await, 0);
}

#[tokio::test]
async fn a_dataset_elsewhere_is_read_where_policy_says_and_the_remedy_names_the_key() {
    let fake = Fake::start(usual_but(format!("groups/{W}/reports/{R}"), |body| {
        body["datasetId"] = json!(D2);
        body["datasetWorkspaceId"] = json!(P);
    }))
    .await;
    let parts = GrantParts {
        dataset_workspace: Some(W2.into()),
        ..grant(report(R))
    };
    let power_bi = Setup::default().power_bi(&fake);
    let artifact = facts(&power_bi, parts).await.unwrap();
    assert_eq!(artifact.datasets[0].workspace_id, W2);

    let missing = "00000000-0000-4000-8000-0000000000d9";
    let fake = Fake::start(usual_but(format!("groups/{W}/reports/{R}"), move |body| {
        body["datasetId"] = json!(missing);
        body["datasetWorkspaceId"] = json!(W2);
    }))
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let cause = unavailable(facts(&power_bi, grant(report(R))).await);
    assert!(cause.contains("`dataset_workspace`"), "{cause}");
    assert!(fake.paths().iter().all(|path| !path.contains(W2)));
}

#[tokio::test]
async fn datasets_come_in_order_and_once_each() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let parts = GrantParts {
        datasets: vec![
            DatasetSetting {
                workspace: Some(W2.into()),
                ..setting(D2)
            },
            setting(&D.to_uppercase()),
        ],
        ..grant(report(R))
    };
    let artifact = facts(&power_bi, parts).await.unwrap();
    let ids: Vec<_> = artifact
        .datasets
        .iter()
        .map(|d| (d.id.as_str(), d.workspace_id.as_str()))
        .collect();
    assert_eq!(ids, [(D, W), (D2, W2)]);
}

#[tokio::test]
async fn a_dashboard_brings_the_datasets_of_its_tiles() {
    let fake = Fake::start(usual_but(
        format!("groups/{W}/dashboards/{B}/tiles"),
        |body| {
            let tiles = body["value"].as_array_mut().unwrap();
            tiles.push(json!({"id": P, "reportId": R}));
            tiles.push(json!({"id": W2, "datasetId": D2.to_uppercase()}));
        },
    ))
    .await;
    for reference in [B, "Board"] {
        let power_bi = Setup::default().power_bi(&fake);
        let board = Content::Dashboard {
            dashboard: reference.into(),
        };
        let artifact = facts(&power_bi, grant(board)).await.unwrap();
        let ids: Vec<_> = artifact.datasets.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(
            ids,
            [D2, D],
            "the last one is that of a tile that names its report only"
        );
        assert!(matches!(artifact.content, ContentFacts::Dashboard { id, .. } if id == B));
    }
}

#[tokio::test]
async fn a_tile_by_id_or_title_brings_its_own_dataset_only() {
    let fake = Fake::start(usual_but(
        format!("groups/{W}/dashboards/{B}/tiles"),
        |body| {
            let tiles = body["value"].as_array_mut().unwrap();
            tiles.push(json!({"id": P, "title": "Twin"}));
            tiles.push(json!({"id": W2, "title": "Twin"}));
        },
    ))
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let tile = |tile: &str| {
        grant(Content::Tile {
            dashboard: "Board".into(),
            tile: tile.into(),
        })
    };
    for reference in [T, "Profit"] {
        let artifact = facts(&power_bi, tile(reference)).await.unwrap();
        let ids: Vec<_> = artifact.datasets.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, [D2]);
        assert!(matches!(artifact.content, ContentFacts::Tile { id, .. } if id == T));
    }
    for reference in ["Twin", "profit", "Nothing"] {
        unavailable(facts(&power_bi, tile(reference)).await);
    }
}

#[tokio::test]
async fn questions_and_new_reports_name_their_dataset_by_id_or_name() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    for reference in [D2, "Second"] {
        let qna = Content::Qna {
            dataset: reference.into(),
        };
        let artifact = facts(&power_bi, grant(qna)).await.unwrap();
        assert_eq!(artifact.content, ContentFacts::Dataset);
        assert_eq!(artifact.datasets[0].id, D2);
    }
    let create = Content::CreateReport {
        dataset: "Model".into(),
        target_workspace: W2.into(),
    };
    let artifact = facts(&power_bi, grant(create)).await.unwrap();
    assert_eq!(artifact.datasets[0].id, D);
    assert_eq!(artifact.target_workspace.unwrap().id, W2);
}

#[tokio::test]
async fn copies_are_saved_where_policy_says_else_beside_the_report() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    for (elsewhere, expected) in [(None, W), (Some(W2), W2)] {
        let parts = GrantParts {
            save_as: true,
            save_as_workspace: elsewhere.map(Into::into),
            ..grant(report(R))
        };
        let artifact = facts(&power_bi, parts).await.unwrap();
        assert_eq!(artifact.target_workspace.unwrap().id, expected);
    }
}

#[tokio::test]
async fn a_target_is_one_report_of_the_workspace_or_answers_like_a_forbidden_item() {
    let list = || reports(&[(R, "Sales"), (P, "Twin"), (W2, "Twin"), (B, "Gone")]);
    let fake = Fake::start(move |seen| {
        if seen.path.ends_with("/reports") {
            list()
        } else {
            usual(seen)
        }
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    for (target, found) in [
        ("Sales", true),
        (R, true),
        ("sales", false),
        ("Twin", false),
        (R2, false),
        ("Gone", false),
        ("../../x", false),
        ("*", false),
    ] {
        let grants = [Grant::for_test(grant(report(target)))];
        let result = power_bi
            .look_up(&grants, Some(target), Freshness::Cached, soon())
            .await;
        match result {
            Ok(artifacts) => assert!(found && artifacts.len() == 1, "{target}"),
            Err(Error::TargetUnavailable { target: named, .. }) => {
                assert!(!found && named == target, "{target}");
            }
            other => panic!("{target}: {other:?}"),
        }
    }
    assert!(
        fake.paths().iter().all(|path| !path.contains(R2)),
        "an id that is not in the list is never asked for"
    );
}

#[tokio::test]
async fn a_target_that_was_saved_after_the_list_was_read_is_found_by_another_look() {
    let saved = Arc::new(AtomicBool::new(false));
    let is_saved = Arc::clone(&saved);
    let fake = Fake::start(move |seen| {
        if seen.path.ends_with("/reports") {
            let all = [(R2, "Old"), (R, "New")];
            return reports(&all[..=usize::from(is_saved.load(Ordering::SeqCst))]);
        }
        usual(seen)
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let ask = async |target: &str| {
        let grants = [Grant::for_test(grant(report(target)))];
        let asked = power_bi.look_up(&grants, Some(target), Freshness::Cached, soon());
        asked.await.map(|_| ())
    };
    let lists = || {
        let list = format!("groups/{W}/reports");
        fake.paths().iter().filter(|path| **path == list).count()
    };
    // Many guesses, one list: it is too young to be doubted.
    for _ in 0..5 {
        assert!(matches!(ask(R).await, Err(Error::TargetUnavailable { .. })));
    }
    assert_eq!(lists(), 1);
    saved.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    ask(R).await.unwrap();
    assert_eq!(lists(), 2);
    ask(R).await.unwrap();
    assert_eq!(lists(), 2);
}

#[tokio::test]
async fn targets_are_the_reports_of_the_workspace() {
    let script = usual_but(format!("groups/{W}/reports"), |body| {
        let reports = body["value"].as_array_mut().unwrap();
        reports.push(json!({"id": R2, "name": "Invoice", "reportType": "PaginatedReport"}));
    });
    let fake = Fake::start(script).await;
    let power_bi = Setup::default().power_bi(&fake);
    let grant = Grant::for_test(grant(report("*")));
    let targets = power_bi.targets(&grant, soon()).await.unwrap();
    let told: Vec<_> = targets
        .iter()
        .map(|t| (t.id.as_str(), t.name.as_str(), t.paginated))
        .collect();
    assert_eq!(told, [(R, "Sales", false), (R2, "Invoice", true)]);
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
    for pair in artifacts.chunks(2) {
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
                               "displayName": "Broker", "profile": {"id": W2, "displayName": "x"}}]}),
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
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].access.as_deref(), Some("Member"));
    assert_eq!(users[0].profile_id.as_deref(), Some(W2));
}
