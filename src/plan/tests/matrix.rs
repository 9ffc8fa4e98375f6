//! The RLS matrix as Microsoft's documents have it: every security, either minter, with and without an identity.

use super::*;
use crate::plan::rls::{MATRIX, Part, Username, Without};

/// What policy declares, the item that it is declared for, and the identity that such a source takes.
fn source(security: &str) -> ((GrantParts, Artifact), Identity, Security) {
    let sso = |roles: &[&str]| Identity {
        identity_blob: Some("x-sql-token".into()),
        roles: roles.iter().map(ToString::to_string).collect(),
        ..named("ana")
    };
    match security {
        "none" => (
            report("R1", [plain("D1")]),
            identity("ana", ["Sales"]),
            Security::None,
        ),
        "cloud_rls" => (
            report("R1", [rls("D1")]),
            identity("ana", ["Sales"]),
            Security::CloudRls,
        ),
        "rdl" => (paginated([]), named("Ana Smith"), Security::Rdl),
        "as_on_premises" => (
            report("R1", [on_premises("D1")]),
            named(r"CONTOSO\ana"),
            Security::AsOnPremises,
        ),
        "as_azure" => (
            report("R1", [azure("D1")]),
            Identity {
                custom_data: Some("EMEA".into()),
                ..Identity::default()
            },
            Security::AsAzure,
        ),
        "sso" => (report("R1", [plain("D1")]), sso(&[]), Security::Sso),
        "sso_cloud_rls" => (
            report("R1", [rls("D1")]),
            sso(&["Sales"]),
            Security::SsoCloudRls,
        ),
        other => panic!("no such security: {other}"),
    }
}

/// Security × minter × identity → outcome, and whether an identity is sent.
#[rustfmt::skip]
const ROWS: [(&str, &str, &str, &str); 28] = [
    ("none",           "principal", "omitted", "planned, bare"),
    ("none",           "principal", "given",   "planned, bare"),
    ("none",           "master",    "omitted", "planned, bare, fresh facts"),
    ("none",           "master",    "given",   "planned, bare, fresh facts"),
    ("cloud_rls",      "principal", "omitted", "identity_required"),
    ("cloud_rls",      "principal", "given",   "planned, as given"),
    ("cloud_rls",      "master",    "omitted", "planned, bare, fresh facts"),
    ("cloud_rls",      "master",    "given",   "planned, as given"),
    ("rdl",            "principal", "omitted", "planned, bare"),
    ("rdl",            "principal", "given",   "planned, as given"),
    ("rdl",            "master",    "omitted", "security_mismatch"),
    ("rdl",            "master",    "given",   "security_mismatch"),
    ("as_on_premises", "principal", "omitted", "identity_required"),
    ("as_on_premises", "principal", "given",   "planned, as given"),
    ("as_on_premises", "master",    "omitted", "planned, bare, fresh facts"),
    ("as_on_premises", "master",    "given",   "planned, as given"),
    ("as_azure",       "principal", "omitted", "identity_required"),
    ("as_azure",       "principal", "given",   "planned, as itself"),
    ("as_azure",       "master",    "omitted", "planned, bare, fresh facts"),
    ("as_azure",       "master",    "given",   "planned, as itself"),
    ("sso",            "principal", "omitted", "identity_required"),
    ("sso",            "principal", "given",   "planned, as given"),
    ("sso",            "master",    "omitted", "planned, bare, fresh facts"),
    ("sso",            "master",    "given",   "planned, as given"),
    ("sso_cloud_rls",  "principal", "omitted", "identity_required"),
    ("sso_cloud_rls",  "principal", "given",   "planned, as given"),
    ("sso_cloud_rls",  "master",    "omitted", "planned, bare, fresh facts"),
    ("sso_cloud_rls",  "master",    "given",   "planned, as given"),
];

fn outcome(security: &str, minter: &str, given: &str, declared: bool) -> String {
    let (item, identity, named_security) = source(security);
    let item = granted(item, |parts| {
        if declared {
            parts.security = named_security;
        }
        parts.identity = (given == "given").then(|| identity.clone());
    });
    let mut case = Case::of([item]).blob("x-sql-token", "opaque");
    if minter == "master" {
        case = case.by_master_user();
    }
    let Ok(plan) = case.build() else {
        return case.outcome().to_owned();
    };
    let body: Value = serde_json::from_slice(plan.body()).unwrap();
    let own = match minter {
        "master" => MASTER,
        _ => OBJECT_ID,
    };
    let sent = match body["identities"][0]["username"].as_str() {
        None => "bare",
        Some(name) if Some(name) == identity.username.as_deref() => "as given",
        Some(name) if name == own => "as itself",
        Some(other) => panic!("sent as {other}"),
    };
    let fresh = if plan.needs_fresh_facts() {
        ", fresh facts"
    } else {
        ""
    };
    format!("planned, {sent}{fresh}")
}

#[test]
fn every_row_of_the_documents_holds() {
    for (security, minter, given, expected) in ROWS {
        let outcome = outcome(security, minter, given, true);
        assert_eq!(
            outcome, expected,
            "{security}, {minter}, identity {given}, declared"
        );
    }
}

#[test]
fn what_is_learned_is_what_would_have_been_declared() {
    // Single sign-on cannot be learned, and `none` is nobody's guess once the rule gives an identity.
    let learnable = |security: &str, given: &str| match security {
        "sso" | "sso_cloud_rls" => false,
        "none" => given == "omitted",
        _ => true,
    };
    for (security, minter, given, expected) in ROWS {
        if learnable(security, given) {
            let outcome = outcome(security, minter, given, false);
            assert_eq!(
                outcome, expected,
                "{security}, {minter}, identity {given}, auto"
            );
        }
    }
}

/// The matrix as a table for people: what happens with each minter, without and with an identity, and which parts one has.
fn table() -> String {
    let mut lines = vec![
        "| Security | Principal, no identity | Principal, identity | Master user, no identity | Master user, identity | User name | Roles | Custom data | Blob |".to_owned(),
        format!("|{}", "---|".repeat(9)),
    ];
    for (place, row) in MATRIX.iter().enumerate() {
        assert_eq!(
            row.secured as usize, place,
            "rows stand in the enum's order"
        );
        let security = row.secured.name();
        let without = |without| match without {
            Without::Allowed => "served",
            Without::Unfiltered => "served: **every row**",
            Without::Fails => "`identity_required`",
            Without::Unusable => "`security_mismatch`",
        };
        let with = |minter| {
            let found = ROWS
                .iter()
                .find(|(of, by, given, _)| (*of, *by, *given) == (security, minter, "given"));
            match found.unwrap().3 {
                "planned, bare" | "planned, bare, fresh facts" => "served, not sent",
                "planned, as given" => "served",
                "planned, as itself" => "served, as itself",
                "security_mismatch" => "`security_mismatch`",
                other => panic!("no words for {other}"),
            }
        };
        let username = match row.username {
            Username::Forbidden => "–",
            Username::Ascii => "ASCII, no spaces",
            Username::AsciiOrNone => "ASCII, no spaces, or none",
            Username::Windows => "Windows name or UPN",
            Username::Own => "the minter's own, filled in",
            Username::Text => "text in NFKC form",
        };
        let part = |part| match part {
            Part::Required => "required",
            Part::ByModel => "if the model has roles",
            Part::Allowed => "allowed",
            Part::Forbidden => "–",
        };
        let cells = [
            without(row.service_principal),
            with("principal"),
            without(row.master_user),
            with("master"),
            username,
            part(row.roles),
            part(row.custom_data),
            part(row.blob),
        ];
        lines.push(format!("| `{security}` | {} |", cells.join(" | ")));
    }
    lines.join("\n")
}

#[test]
#[expect(clippy::print_stderr, reason = "for people, with `--nocapture`")]
fn the_matrix_prints() {
    eprintln!("{}", table());
    for (security, minter, given, outcome) in ROWS {
        eprintln!("{security:<18}{minter:<10} identity {given:<9}{outcome}");
    }
}

#[test]
fn the_documentation_shows_this_matrix() {
    let document = include_str!("../../../docs/embedding.md");
    let (_, rest) = document.split_once("<!-- matrix -->\n").unwrap();
    let (shown, _) = rest.split_once("\n<!-- /matrix -->").unwrap();
    assert_eq!(shown, table(), "{}", table());
}

/// Declared × shown: only what the facts bear out is believed.
#[test]
fn an_assertion_is_held_against_the_facts() {
    type Row = (Security, fn(&str) -> Dataset, &'static str);
    let rows: [Row; 14] = [
        (Security::None, plain, "planned"),
        (Security::None, rls, "security_mismatch"),
        (Security::None, on_premises, "security_mismatch"),
        (Security::CloudRls, rls, "planned"),
        (Security::CloudRls, plain, "rls_missing"),
        (Security::CloudRls, on_premises, "security_mismatch"),
        (Security::Rdl, rls, "security_mismatch"),
        (Security::AsOnPremises, on_premises, "planned"),
        (Security::AsOnPremises, azure, "security_mismatch"),
        (Security::AsOnPremises, rls, "security_mismatch"),
        (Security::AsAzure, on_premises, "security_mismatch"),
        (Security::AsAzure, plain, "security_mismatch"),
        (Security::Auto, plain, "rls_missing"),
        (Security::Auto, rls, "planned"),
    ];
    for (declared, dataset, expected) in rows {
        let item = opened_as(report("R1", [dataset("D1")]), identity("ana", ["Sales"]));
        let case = Case::of([granted(item, |parts| parts.security = declared)]);
        assert_eq!(
            case.outcome(),
            expected,
            "{declared:?} on {:?}",
            dataset("D1")
        );
    }
}

#[test]
fn an_assertion_holds_without_an_identity_as_well() {
    for declared in [
        Security::CloudRls,
        Security::AsOnPremises,
        Security::AsAzure,
    ] {
        let case = Case::of([granted(report("R1", [plain("D1")]), |parts| {
            parts.security = declared;
        })]);
        assert_eq!(case.outcome(), "security_mismatch", "{declared:?}");
    }
}

#[test]
fn a_mismatch_names_both_sides() {
    let item = granted(report("R1", [rls("D1")]), |parts| {
        parts.security = Security::None;
    });
    let text = Case::of([item]).build().unwrap_err().to_string();
    for part in [
        "item `r1`",
        "rule `r`",
        "dataset `D1`",
        "says `none`",
        "shows `cloud_rls`",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
