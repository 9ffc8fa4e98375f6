//! What each kind of item brings: datasets, their data sources, and where copies are saved.

use serde_json::json;

use super::*;
use crate::plan::ContentFacts;

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
async fn a_dataset_named_as_anothers_id_disturbs_nobody() {
    let script = |name: &'static str| {
        usual_but(format!("groups/{W}/datasets"), move |body| {
            let all = body["value"].as_array_mut().unwrap();
            all.push(json!({"id": P, "name": name}));
            // Ids of datasets are not always GUIDs.
            all.push(json!({"id": "push-1", "name": "Live"}));
        })
    };
    let qna = || {
        grant(Content::Qna {
            dataset: "push-1".into(),
        })
    };
    for name in ["push-1", "Other"] {
        let fake = Fake::start(script(name)).await;
        let power_bi = Setup::default().power_bi(&fake);
        let _ = facts(&power_bi, qna()).await;
        let read = format!("groups/{W}/datasets/push-1");
        assert_eq!(fake.paths().last(), Some(&read), "another named {name}");
    }
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
            // Disturbs nobody who asks by id.
            tiles.push(json!({"id": D, "title": T}));
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
