//! Rules, items, claims and asks, made up.

use super::*;

fn who() -> impl Strategy<Value = Option<Who>> {
    let role = prop_oneof![
        2 => Just(Role::Literal("L1")),
        1 => Just(Role::Literal("EMEA")),
        1 => Just(Role::Regions),
        1 => Just(Role::Subject),
    ];
    let who = (
        any::<bool>(),
        prop::collection::vec(role, 0..4),
        prop::bool::weighted(0.2),
    );
    let who = who.prop_map(|(by_email, roles, custom_data)| Who {
        by_email,
        roles,
        custom_data,
    });
    prop::option::weighted(0.8, who)
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::View), Just(Access::Edit), Just(Access::Create)]
}

pub(super) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let when = prop_oneof![
        3 => Just(When::Always),
        2 => Just(When::Flag),
        2 => Just(When::Group("m")),
        1 => Just(When::Group("n")),
        1 => Just(When::Missing),
        2 => Just(When::Row),
        1 => Just(When::RowOrNot),
    ];
    let minutes = prop::option::of(1..90_u64);
    let gift = (
        access(),
        any::<bool>(),
        who(),
        prop::option::weighted(0.3, who()),
        minutes,
    );
    let gift = gift.prop_map(|(access, save_as, who, own, minutes)| Gift {
        access,
        save_as,
        who,
        own,
        minutes,
    });
    let items = prop::sample::subsequence(vec![0, 1, 2], 1..=3);
    let rule = (items, when, prop::option::weighted(0.8, gift));
    prop::collection::vec(
        rule.prop_map(|(items, when, gift)| Rule { items, when, gift }),
        1..5,
    )
}

pub(super) fn item() -> impl Strategy<Value = Item> {
    let kind = prop_oneof![
        4 => Just(Kind::Report),
        1 => Just(Kind::PaginatedReport),
        1 => Just(Kind::Dashboard),
        1 => Just(Kind::Tile),
        1 => Just(Kind::Qna),
        1 => Just(Kind::CreateReport),
        1 => Just(Kind::Visual),
    ];
    let rare = || prop::bool::weighted(0.3);
    (
        kind,
        rare(),
        any::<bool>(),
        prop::option::of(any::<bool>()),
        rare(),
        rare(),
    )
        .prop_map(|(kind, target, by_row, profile, principal, dataset)| Item {
            kind,
            target: target && matches!(kind, Kind::Report | Kind::PaginatedReport),
            by_row,
            profile,
            principal,
            dataset,
        })
}

pub(super) fn claims() -> impl Strategy<Value = Map<String, Value>> {
    let of = |usual: Vec<Value>, odd: Vec<Value>| {
        prop_oneof![
            8 => prop::sample::select(usual).prop_map(Some),
            1 => prop::sample::select(odd).prop_map(Some),
            1 => Just(None),
        ]
    };
    let claims = (
        of(vec![json!("u1")], vec![json!("")]),
        of(
            vec![json!("ana@contoso.com")],
            vec![json!(5), json!(""), Value::Null],
        ),
        of(
            vec![json!("a"), json!("b")],
            vec![json!("zz"), json!(["a"])],
        ),
        of(
            vec![json!(false), json!(true)],
            vec![json!("yes"), Value::Null],
        ),
        of(
            vec![json!(["m"]), json!(["n", "m"]), json!([])],
            vec![json!("m"), Value::Null],
        ),
        of(
            vec![json!(["EMEA"]), json!(["EMEA", "APAC", "EMEA"])],
            vec![json!([5]), json!("EMEA"), json!([""])],
        ),
    );
    claims.prop_map(|(sub, email, tid, f, g, regions)| {
        let claims = [
            ("sub", sub),
            ("email", email),
            ("tid", tid),
            ("f", f),
            ("g", g),
            ("regions", regions),
        ];
        claims
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    })
}

pub(super) fn ask() -> impl Strategy<Value = Ask> {
    (
        prop::option::of(access()),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(access, save_as, target)| Ask {
            items: Vec::new(),
            access,
            save_as,
            target: target.then(|| "T".to_owned()),
        })
}
