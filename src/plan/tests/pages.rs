//! What the page gets: powerbi-client's configuration by kind.

use serde_json::json;

use super::*;
use crate::policy::Access;

#[track_caller]
fn config(item: (GrantParts, Artifact)) -> Value {
    let plan = Case::of([item]).plan();
    Value::Object(plan.items()[0].embed_config.clone())
}

#[test]
fn each_kind_has_the_members_that_powerbi_client_knows() {
    let rows = [
        (
            report("R1", [plain("D1")]),
            json!({ "type": "report", "id": "R1", "embedUrl": "https://app.powerbi.com/reportEmbed?reportId=R1",
                    "tokenType": 1, "permissions": 0, "viewMode": 0 }),
        ),
        (
            paginated([]),
            json!({ "type": "report", "id": "RDL1", "embedUrl": "https://app.powerbi.com/rdlEmbed?reportId=RDL1",
                    "tokenType": 1 }),
        ),
        (
            visual([plain("D1")]),
            json!({ "type": "visual", "id": "R1", "embedUrl": "https://app.powerbi.com/reportEmbed?reportId=R1",
                    "pageName": "P", "visualName": "V", "tokenType": 1, "permissions": 0, "viewMode": 0 }),
        ),
        (
            dashboard([]),
            json!({ "type": "dashboard", "id": "DB1", "tokenType": 1,
                    "embedUrl": "https://app.powerbi.com/dashboardEmbed?dashboardId=DB1" }),
        ),
        (
            tile([]),
            json!({ "type": "tile", "id": "T1", "dashboardId": "DB1", "tokenType": 1,
                    "embedUrl": "https://app.powerbi.com/embed?dashboardId=DB1&tileId=T1" }),
        ),
        (
            qna(plain("D1")),
            json!({ "type": "qna", "datasetIds": ["D1"], "tokenType": 1,
                    "embedUrl": "https://app.powerbi.com/qnaEmbed?dataset=D1" }),
        ),
        (
            create(plain("D1")),
            json!({ "type": "create", "datasetId": "D1", "tokenType": 1,
                    "embedUrl": "https://app.powerbi.com/reportEmbed?create=D1" }),
        ),
    ];
    for (item, expected) in rows {
        assert_eq!(config(item), expected);
    }
}

#[test]
fn rights_show_as_permissions_and_view_mode() {
    let rows = [
        (Access::View, false, 0, 0),
        (Access::Edit, false, 1, 1),
        (Access::View, true, 2, 0),
        (Access::Edit, true, 7, 1),
    ];
    for (access, save_as, permissions, view_mode) in rows {
        let config = config(granted(report("R1", [plain("D1")]), |parts| {
            parts.access = access;
            parts.save_as = save_as;
        }));
        assert_eq!(
            config["permissions"], permissions,
            "{access:?}, copies: {save_as}"
        );
        assert_eq!(
            config["viewMode"], view_mode,
            "{access:?}, copies: {save_as}"
        );
    }
}

#[test]
fn settings_are_passed_on_and_never_decide_what_is_shown() {
    let settings = json!({
        "pageName": "ReportSection1", "settings": { "localeSettings": { "language": "de" } },
        "id": "X", "type": "X", "embedUrl": "X", "accessToken": "X", "tokenType": 0, "permissions": 7,
        "datasetId": "X", "datasetIds": ["X"], "dashboardId": "X", "visualName": "X",
        "datasetBinding": { "datasetId": "X" }, "eventHooks": "X", "hostname": "X",
    });
    let items = [
        report("R1", [plain("D1")]),
        paginated([]),
        visual([plain("D1")]),
        dashboard([]),
        tile([]),
        qna(plain("D1")),
        create(plain("D1")),
    ];
    for item in items {
        let bare = config(item.clone());
        let mut expected = settings.clone();
        let members = expected.as_object_mut().unwrap();
        members.retain(|member, _| member == "settings" || member == "pageName");
        members.extend(bare.as_object().unwrap().clone());
        let with = granted(item, |parts| {
            parts.embed = settings.as_object().unwrap().clone();
        });
        assert_eq!(config(with), expected);
    }
}

#[test]
fn a_bound_dataset_must_be_covered() {
    let item = granted(report("R1", [plain("D1"), plain("D2")]), |parts| {
        parts.dataset_binding = Some("d2".into());
    });
    assert_eq!(
        config(item.clone())["datasetBinding"],
        json!({ "datasetId": "D2" })
    );
    let uncovered = granted(item, |parts| parts.dataset_binding = Some("D3".into()));
    assert_eq!(Case::of([uncovered]).outcome(), "item_unavailable");
}

#[test]
fn a_url_that_power_bi_does_not_give_is_missed() {
    let mut dataset = plain("D1");
    dataset.create_report_url = None;
    dataset.qna_url = None;
    assert_eq!(
        Case::of([create(dataset.clone())]).outcome(),
        "item_unavailable"
    );
    assert_eq!(Case::of([qna(dataset)]).outcome(), "item_unavailable");
}

#[test]
fn paginated_reports_alone_are_embedded_anew() {
    let renewal = |item| Case::of([item]).plan().items()[0].re_embed;
    assert!(renewal(paginated([])));
    assert!(!renewal(report("R1", [plain("D1")])));
    assert!(!renewal(dashboard([])));
}
