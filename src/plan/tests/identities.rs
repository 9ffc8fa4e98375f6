//! Identities that do not fit what they are for.

use super::*;

#[test]
fn an_identity_for_a_model_that_lost_its_rls_is_refused_whatever_else_the_item_holds() {
    let both = || opened_as(report("R1", [rls("D1"), plain("D2")]), sales());
    assert_eq!(Case::of([both()]).outcome(), "rls_missing");
    let declared = granted(both(), |parts| parts.datasets[0].security = Security::None);
    assert_eq!(Case::of([declared]).outcome(), "planned");
    let shown = opened_as(dashboard([rls("D1"), plain("D2")]), sales());
    assert_eq!(Case::of([shown]).outcome(), "rls_missing");
    let second_item = opened_as(report("R2", [plain("D2")]), sales());
    let first = opened_as(report("R1", [rls("D1")]), sales());
    assert_eq!(Case::of([first, second_item]).outcome(), "rls_missing");
}

#[test]
fn a_rule_may_say_none_for_one_dataset() {
    let item = opened_as(report("R1", [rls("D1"), plain("D2")]), sales());
    let item = granted(item, |parts| {
        parts.dataset_identities.insert("D2".into(), None);
    });
    assert_eq!(Case::of([item]).outcome(), "planned");
    let item = opened_as(report("R1", [rls("D1"), rls("D2")]), sales());
    let item = granted(item, |parts| {
        parts.dataset_identities.insert("D2".into(), None);
    });
    assert_eq!(Case::of([item]).outcome(), "identity_required");
}

#[test]
fn none_for_a_whole_dashboard_covers_no_dataset_that_was_not_named() {
    let item = granted(opened_as(dashboard([plain("D1")]), sales()), |parts| {
        parts.security = Security::None;
    });
    assert_eq!(Case::of([item]).outcome(), "rls_missing");
}

#[test]
fn an_identity_needs_something_to_filter() {
    assert_eq!(
        Case::of([opened_as(dashboard([]), sales())]).outcome(),
        "rls_missing"
    );
    assert_eq!(Case::of([dashboard([])]).outcome(), "planned");
}

#[test]
fn two_declarations_for_one_dataset_must_agree() {
    let item = granted(report("R1", [plain("D1")]), |parts| {
        parts.security = Security::Sso;
        parts.datasets = vec![setting("d1", Security::None)];
    });
    assert_eq!(Case::of([item]).outcome(), "security_mismatch");
}

#[test]
fn usernames_fit_their_source() {
    type Row<'a> = (fn(&str) -> Dataset, &'a str, &'a str);
    let long = "x".repeat(256);
    let longer = "x".repeat(257);
    let rows: [Row<'_>; 15] = [
        (rls, "", "identity_unmappable"),
        (rls, " ", "identity_unmappable"),
        (rls, "ana smith", "identity_unmappable"),
        (rls, "ana\u{e9}", "identity_unmappable"),
        (rls, "ana\n", "identity_unmappable"),
        (rls, "ana+tag@contoso.com", "planned"),
        (rls, &long, "planned"),
        (rls, &longer, "identity_unmappable"),
        (on_premises, r"CONTOSO\ana.b-c_d!#^~@e", "planned"),
        (on_premises, "ana+tag", "identity_unmappable"),
        (on_premises, "ana smith", "identity_unmappable"),
        (azure, OBJECT_ID, "planned"),
        (azure, "0B1EC7ED-0000-4000-8000-000000000001", "planned"),
        (azure, "ana", "security_mismatch"),
        (azure, "", "security_mismatch"),
    ];
    for (dataset, username, expected) in rows {
        let identity = if dataset("D1").roles_required {
            identity(username, ["Sales"])
        } else {
            named(username)
        };
        let case = Case::of([opened_as(report("R1", [dataset("D1")]), identity)]);
        assert_eq!(case.outcome(), expected, "{username:?}");
    }
    for (username, expected) in [
        ("John Smith", "planned"),
        ("Jos\u{e9}", "planned"),
        ("a\u{0}b", "identity_unmappable"),
        ("", "identity_unmappable"),
        (&longer, "identity_unmappable"),
    ] {
        let case = Case::of([opened_as(paginated([]), named(username))]);
        assert_eq!(case.outcome(), expected, "paginated, {username:?}");
    }
}

/// What SQL Server may take for `ana@contoso.com`, or for another name that somebody has.
#[test]
fn a_look_alike_is_no_username_for_a_paginated_report() {
    let outcomes = |username: &str| {
        let of_the_report = opened_as(paginated([]), named(username));
        let inside = granted(report("R1", [plain("D1")]), |parts| {
            parts.paginated_visuals = vec!["RDL1".into()];
            parts.security = Security::None;
            parts.identity = Some(named(username));
        });
        [of_the_report, inside].map(|item| Case::of([item]).outcome())
    };
    for username in [
        "ana@contoso.com ",
        " ana@contoso.com",
        "ana@contoso.com\u{a0}",
        "ana@contoso.com\u{3000}",
        "ana@contoso.com\u{2029}",
        "ana\u{ff20}contoso.com",  // full-width @
        "\u{ff41}na@contoso.com",  // full-width a
        "ana@contoso\u{2024}com",  // one dot leader
        "ana@con\u{2075}oso.com",  // superscript five
        "o\u{fb03}ce@contoso.com", // ligature ffi
        "Jose\u{301}",             // a letter and its accent apart
        "\u{212b}sa",              // the sign for angstrom
        "ana\u{200b}@contoso.com", // zero-width space
        "ana\u{200d}@contoso.com", // zero-width joiner
        "\u{feff}ana@contoso.com", // byte order mark
        "a\u{ad}na@contoso.com",   // soft hyphen
        "ana\u{202e}@contoso.com", // right-to-left override
        "ana\u{2060}@contoso.com", // word joiner
        "ana\u{e0061}",            // tag
    ] {
        assert_eq!(
            outcomes(username),
            ["identity_unmappable"; 2],
            "{username:?}"
        );
    }
    for username in [
        "ana@contoso.com",
        "John Smith",
        "Jos\u{e9}",
        "\u{5c71}\u{7530} \u{592a}\u{90ce}",
        "O'Brien, \u{160}\u{e1}rka",
        "\u{d55c}\u{ad6d}",
    ] {
        assert_eq!(outcomes(username), ["planned"; 2], "{username:?}");
    }
}

#[test]
fn a_model_in_the_service_needs_a_username() {
    let roles_only = Identity {
        username: None,
        ..sales()
    };
    assert_eq!(secured(roles_only).outcome(), "identity_unmappable");
    let on_premises_only = Case::of([opened_as(
        report("R1", [on_premises("D1")]),
        Identity::default(),
    )]);
    assert_eq!(on_premises_only.outcome(), "identity_unmappable");
}

#[test]
fn roles_fit_what_power_bi_takes() {
    let many = |count: usize| (0..count).map(|n| format!("r{n}")).collect::<Vec<_>>();
    let rows = [
        (vec![], "identity_unmappable"),
        (vec![String::new()], "identity_unmappable"),
        (vec!["a,b".to_owned()], "identity_unmappable"),
        (vec!["x".repeat(50)], "planned"),
        (vec!["x".repeat(51)], "identity_unmappable"),
        (many(50), "planned"),
        (many(51), "identity_unmappable"),
    ];
    for (roles, expected) in rows {
        let case = secured(Identity {
            roles: roles.clone(),
            ..named("ana")
        });
        assert_eq!(case.outcome(), expected, "{roles:?}");
    }
}

#[test]
fn custom_data_fits_its_source() {
    let with = |identity: Identity, length: usize| Identity {
        custom_data: Some("x".repeat(length)),
        ..identity
    };
    assert_eq!(secured(with(sales(), 1_024)).outcome(), "planned");
    assert_eq!(
        secured(with(sales(), 1_025)).outcome(),
        "identity_unmappable"
    );
    for item in [report("R1", [on_premises("D1")]), paginated([])] {
        let case = Case::of([opened_as(item, with(named("ana"), 1))]);
        assert_eq!(case.outcome(), "security_mismatch");
    }
}

#[test]
fn azure_analysis_services_knows_nobody_but_the_minter() {
    let item = || opened_as(report("R1", [azure("D1")]), Identity::default());
    let case = Case::of([item()]);
    assert_eq!(case.body()["identities"][0]["username"], OBJECT_ID);
    assert_eq!(
        case.clone().by_master_user().body()["identities"][0]["username"],
        MASTER
    );
    let unknown = case.changed(|case| {
        case.minter.kind = MinterKind::ServicePrincipal { object_id: None };
    });
    assert_eq!(unknown.outcome(), "identity_unmappable");
    let profiled = case.changed(|case| {
        case.items[0].0.profile = Some("p".into());
        case.items[0].1.profile_id = Some("p".into());
    });
    assert_eq!(profiled.outcome(), "security_mismatch");
}

#[test]
fn a_paginated_report_takes_a_name_and_nothing_else() {
    let rows = [
        (sales(), "security_mismatch"),
        (Identity::default(), "identity_unmappable"),
        (named("Ana"), "planned"),
    ];
    for (identity, expected) in rows {
        let case = Case::of([opened_as(paginated([]), identity.clone())]);
        assert_eq!(case.outcome(), expected, "{identity:?}");
    }
}

#[test]
fn roles_that_no_model_of_a_paginated_report_takes_are_refused() {
    // The model has an identity of its own, so these roles would silently vanish.
    let item = granted(opened_as(paginated([rls("D1")]), sales()), |parts| {
        parts
            .dataset_identities
            .insert("D1".into(), Some(identity("b", ["Other"])));
    });
    assert_eq!(Case::of([item]).outcome(), "security_mismatch");
    let unfiltered = granted(opened_as(paginated([plain("D1")]), sales()), |parts| {
        parts.datasets[0].security = Security::None;
    });
    assert_eq!(Case::of([unfiltered]).outcome(), "security_mismatch");
}
