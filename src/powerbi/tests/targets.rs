//! The reports that an item may be aimed at.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::plan::ContentFacts;

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
            .await
            .map(|(artifacts, _)| artifacts);
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

/// Whoever may save a copy may name it as another report's id.
#[tokio::test]
async fn a_name_never_disturbs_an_id() {
    for (all, target, found) in [
        (vec![(R, "Sales"), (P, R)], R.to_owned(), true),
        (vec![(P, R), (R, "Sales")], R.to_uppercase(), true),
        (vec![(R, R)], R.to_owned(), true),
        // An id that is not in the list is no name either.
        (vec![(R, R2)], R2.to_owned(), false),
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
        let grants = [Grant::for_test(grant(report(&target)))];
        let asked = power_bi.look_up(&grants, Some(&target), Freshness::Cached, soon());
        match asked.await {
            Ok((artifacts, _)) => {
                assert!(found, "{all:?}");
                let ContentFacts::Report(shown) = &artifacts[0].content else {
                    panic!("{artifacts:?}")
                };
                assert_eq!(shown.id, R);
            }
            Err(error) => assert!(!found, "{all:?}: {error}"),
        }
    }
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
