//! What a decision grants: what the item says, rights by kind, targets, and what may stand under one token.

use super::super::*;
use super::support::{ALL, ask, caller, denial, grant, outcome, policy, with_rules};

#[test]
fn a_grant_holds_what_the_item_says() {
    let policy = policy(
        "tables: { t: { key: claims.tid, rows: { x: { w: w1, p: p1, pr: other, r: R9 } } } }
items:
  a:
    kind: report
    workspace: { cel: t.w }
    report: { cel: t.r }
    principal: { cel: t.pr }
    profile: { cel: t.p }
    dataset_workspace: data
    save_as_workspace: { cel: \"t.w + '-copies'\" }
    security: cloud_rls
    xmla: read_only
    datasets: [{ dataset: D1, workspace: { cel: t.w }, security: none, xmla: read_only }, { dataset: D2 }]
    dataset_binding: d1
    paginated_visuals: [v1]
    workspace_version: classic
    embed: { pageName: P }
rules: [{ name: r, items: [a], access: edit, lifetime: 15m, identity: none, dataset_identities: { DD: { username: u } } }]",
    );
    let grant = grant(&policy, "{ tid: x }", "a");
    assert_eq!(
        (&**grant.item(), grant.kind(), &**grant.rule()),
        ("a", Kind::Report, "r")
    );
    assert_eq!(
        grant.content(),
        &Content::Report {
            report: "R9".to_owned()
        }
    );
    assert_eq!(
        (grant.workspace(), grant.principal(), grant.profile()),
        ("w1", "other", Some("p1"))
    );
    assert_eq!(
        (grant.dataset_workspace(), grant.save_as_workspace()),
        (Some("data"), Some("w1-copies"))
    );
    assert_eq!(
        (grant.security(), grant.xmla(), grant.workspace_version()),
        (
            Security::CloudRls,
            Xmla::ReadOnly,
            WorkspaceVersion::Classic
        )
    );
    let [first, second] = grant.datasets() else {
        panic!()
    };
    assert_eq!(
        (
            &*first.dataset,
            first.workspace.as_deref(),
            first.security,
            first.xmla
        ),
        ("D1", Some("w1"), Security::None, Xmla::ReadOnly)
    );
    assert_eq!(
        (
            &*second.dataset,
            second.workspace.as_deref(),
            second.security,
            second.xmla
        ),
        ("D2", None, Security::Auto, Xmla::Off)
    );
    assert_eq!(
        grant.dataset_binding(),
        Some("D1"),
        "as `datasets` writes it"
    );
    assert_eq!(grant.paginated_visuals(), ["v1"]);
    assert_eq!(grant.lifetime(), Some(std::time::Duration::from_secs(900)));
    assert_eq!(grant.embed()["pageName"], "P");
    assert_eq!(
        (grant.access(), grant.save_as()),
        (Access::View, false),
        "not more than was asked for"
    );
    assert!(grant.identity().is_none());
    for dataset in ["DD", "dd"] {
        assert!(
            grant.identity_for(dataset).is_some(),
            "ids compare without regard to case"
        );
    }
    assert!(grant.identity_for("ee").is_none());
}

#[test]
fn access_by_kind_and_rule() {
    use Access::{Create, Edit, View};
    for (item, rule, asked, expected) in [
        ("sales", "view", None, Ok(View)),
        ("sales", "view", Some(View), Ok(View)),
        ("sales", "view", Some(Edit), Err("403")),
        ("sales", "edit", None, Ok(View)),
        ("sales", "edit", Some(Edit), Ok(Edit)),
        ("sales", "create", Some(Edit), Ok(Edit)),
        ("sales", "create", Some(Create), Err("unfit")),
        ("sales", "edit", Some(Create), Err("unfit")),
        ("visual", "edit", Some(Edit), Ok(Edit)),
        ("visual", "view", Some(Edit), Err("403")),
        ("new", "create", None, Ok(Create)),
        ("new", "create", Some(Create), Ok(Create)),
        ("new", "create", Some(View), Err("unfit")),
        ("new", "create", Some(Edit), Err("unfit")),
        ("new", "edit", None, Err("403")),
        ("new", "edit", Some(View), Err("403")),
        ("new", "view", Some(Create), Err("403")),
        ("board", "view", None, Ok(View)),
        ("board", "edit", Some(Edit), Err("unfit")),
        ("board", "view", Some(Edit), Err("unfit")),
        ("statement", "edit", Some(Edit), Err("unfit")),
        ("tile", "edit", Some(View), Ok(View)),
        ("ask", "edit", Some(Create), Err("unfit")),
    ] {
        let policy = with_rules(&format!(
            "  - {{ name: r, items: ['*'], access: {rule}, identity: none }}\n"
        ));
        let ask = Ask {
            access: asked,
            ..ask(&[item])
        };
        let decision = policy.decide(&caller("{}"), &ask);
        let got = match &decision {
            Ok(grants) => Ok(grants[0].access()),
            Err(_) => Err(outcome(&decision)),
        };
        assert_eq!(got, expected, "{item}, rule {rule}, asked {asked:?}");
    }
}

#[test]
fn save_as_by_kind_and_rule() {
    let items = "items:
  id: { kind: report, workspace: w, report: 5b218778-e7a5-4d73-8187-f10824047715 }
  moved: { kind: report, workspace: v, report: Sales, save_as_workspace: copies }
  any: { kind: report, workspace: w, report: '*' }
  statement: { kind: paginated_report, workspace: v, report: Statement }
  visual: { kind: visual, workspace: v, report: Sales, page: P, visual: V }
";
    let rules = |save_as: bool| {
        policy(&format!(
            "{items}rules: [{{ name: r, items: ['*'], save_as: {save_as}, identity: none }}]"
        ))
    };
    let (with, without) = (rules(true), rules(false));
    let decide = |policy: &Policy, item: &str| {
        let ask = Ask {
            save_as: true,
            target: (item == "any").then(|| "Sales".to_owned()),
            ..ask(&[item])
        };
        outcome(&policy.decide(&caller("{}"), &ask))
    };
    for (item, expected) in [
        ("id", "granted"),
        ("moved", "granted"),
        ("any", "granted"),
        ("statement", "unfit"),
        ("visual", "unfit"),
    ] {
        assert_eq!(decide(&with, item), expected, "{item}");
    }
    assert_eq!(decide(&without, "id"), "403");
    assert!(
        !grant(&with, "{}", "id").save_as(),
        "not asked for, not given"
    );
}

#[test]
fn targets_choose_a_report_of_the_workspace() {
    let policy =
        with_rules("  - { name: r, items: ['*'], identity: { username: { cel: claims.sub } } }\n");
    let decide = |item: &str, target: Option<&str>| {
        let ask = Ask {
            target: target.map(str::to_owned),
            ..ask(&[item])
        };
        policy.decide(&caller("{ sub: u }"), &ask)
    };
    for (item, target, expected) in [
        ("any", Some("Pipeline"), "granted"),
        ("any-statement", Some("Pipeline"), "granted"),
        ("any", None, "unfit"),
        ("any", Some(""), "unfit"),
        ("sales", Some("Pipeline"), "unfit"),
        ("board", Some("Pipeline"), "unfit"),
        ("nothing", Some("Pipeline"), "403"),
    ] {
        assert_eq!(
            outcome(&decide(item, target)),
            expected,
            "{item} {target:?}"
        );
    }
    let grants = decide("any", Some("Pipeline")).unwrap();
    assert_eq!(
        grants[0].content(),
        &Content::Report {
            report: "Pipeline".to_owned()
        }
    );
    assert_eq!(grants[0].workspace(), "w");

    let listing = policy.decide_targets(&caller("{ sub: u }"), "any").unwrap();
    assert_eq!(
        listing.content(),
        &Content::Report {
            report: String::new()
        }
    );
    assert!(listing.identity().is_some(), "no identity is left out");
    assert!(matches!(
        policy.decide_targets(&caller("{ sub: u }"), "sales"),
        Err(Denied::Unfit { .. })
    ));
    assert!(matches!(
        policy.decide_targets(&caller("{ sub: u }"), "nothing"),
        Err(Denied::NotPermitted { .. })
    ));
}

#[test]
fn a_target_goes_with_a_single_item() {
    let policy = with_rules(ALL);
    let decide = |items: &[&str]| {
        let ask = Ask {
            target: Some("T".to_owned()),
            ..ask(items)
        };
        outcome(&policy.decide(&caller("{}"), &ask))
    };
    assert_eq!(decide(&["any", "sales"]), "unfit");
    assert_eq!(
        decide(&["any", "any"]),
        "granted",
        "a repeat is no second item"
    );
}

#[test]
fn repeats_are_folded_and_the_order_kept() {
    let policy = with_rules(ALL);
    let grants = policy
        .decide(&caller("{}"), &ask(&["stock", "sales", "stock", "sales"]))
        .unwrap();
    let names: Vec<&str> = grants.iter().map(|grant| &**grant.item()).collect();
    assert_eq!(names, ["stock", "sales"]);
    assert_eq!(outcome(&policy.decide(&caller("{}"), &ask(&[]))), "403");
}

#[test]
fn what_cannot_stand_under_one_token_is_refused() {
    let policy = with_rules(ALL);
    for (items, expected) in [
        (
            &["sales", "stock", "statement", "ask", "visual"][..],
            "granted",
        ),
        (&["sales", "other"], "not combinable"),
        (&["sales", "profiled"], "not combinable"),
        (&["sales", "board"], "not combinable"),
        (&["board", "sales"], "not combinable"),
        (&["board", "board2"], "not combinable"),
        (&["board", "tile"], "not combinable"),
        (&["tile", "ask"], "not combinable"),
        (&["board", "board"], "granted"),
        (&["board"], "granted"),
    ] {
        assert_eq!(
            outcome(&policy.decide(&caller("{}"), &ask(items))),
            expected,
            "{items:?}"
        );
    }
    let Err(Denied::NotCombinable { problem }) =
        policy.decide(&caller("{}"), &ask(&["sales", "other"]))
    else {
        panic!()
    };
    assert_eq!(
        problem,
        "`sales` and `other` belong to different principals or profiles"
    );
}

#[test]
fn refusals_come_in_the_order_of_the_contract() {
    let policy = with_rules(
        "  - { name: closed, items: [stock], deny: true }
  - { name: r, items: ['*'], access: edit, identity: { username: { cel: claims.missing } } }
",
    );
    let decide = |items: &[&str], access, target: Option<&str>| {
        let ask = Ask {
            access,
            target: target.map(str::to_owned),
            ..ask(items)
        };
        outcome(&policy.decide(&caller("{}"), &ask))
    };
    // Each line is wrong in every way that the following ones are, too.
    assert_eq!(
        decide(&["any", "board", "stock"], Some(Access::Edit), None),
        "403"
    );
    assert_eq!(decide(&["any", "board", "other"], None, None), "unfit");
    assert_eq!(
        decide(&["sales", "board", "other"], None, None),
        "not combinable"
    );
    assert_eq!(decide(&["sales"], None, None), "422");
}

#[test]
fn names_of_items_are_exact() {
    let policy = with_rules(ALL);
    for name in ["Sales", "sales ", "*", "s*", ""] {
        denial(&policy, "{}", name);
    }
}

#[test]
fn a_policy_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Policy>();
}
