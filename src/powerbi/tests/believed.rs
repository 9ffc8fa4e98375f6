//! Which answers about items are believed, and what a URL can hold.

use serde_json::json;

use super::*;
use crate::plan::ContentFacts;

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
