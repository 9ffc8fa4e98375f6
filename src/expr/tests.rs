use serde_json::json;

use super::*;

const NAMES: [&str; 3] = ["claims", "issuer", "tenant"];

fn scope() -> Scope {
    Scope::new().with("issuer", &json!("login")).with(
        "claims",
        &json!({
            "sub": "u1", "email": "Ana@Contoso.com", "exp": 1_700_003_600, "groups": ["managers", "all"],
            "regions": ["EMEA", "APAC"], "https://x/roles": ["a"], "big": 18_446_744_073_709_551_615_u64,
            "score": 1.5, "nothing": null, "secret": "hunter2", "suspended": false
        }),
    )
}

fn eval(source: &str) -> Result<Value, EvalError> {
    Expr::compile(source, &NAMES).unwrap().eval(&scope())
}

fn refusal(source: &str) -> String {
    Expr::compile(source, &NAMES).unwrap_err().message
}

#[test]
fn expressions_give_the_json_that_policy_authors_expect() {
    for (source, expected) in [
        ("claims.email", json!("Ana@Contoso.com")),
        (
            "claims.regions.map(r, 'Region ' + r)",
            json!(["Region EMEA", "Region APAC"]),
        ),
        (
            "claims.regions.filter(r, r != 'APAC').map(r, r.lowerAscii())",
            json!(["emea"]),
        ),
        ("claims.exp - 3600", json!(1_700_000_000)),
        (
            "timestamp(claims.exp) < timestamp('2023-11-15T00:00:00Z')",
            json!(true),
        ),
        ("claims.exp + 1 > 5 && claims.score < 2.0", json!(true)),
        ("claims['https://x/roles']", json!(["a"])),
        ("claims.?upn.orValue('none')", json!("none")),
        ("claims.?email.optMap(e, e.size()).orValue(0)", json!(15)),
        ("has(claims.upn) ? claims.upn : claims.sub", json!("u1")),
        (
            "'managers' in claims.groups && issuer == 'login'",
            json!(true),
        ),
        ("claims.groups.exists(g, g.startsWith('man'))", json!(true)),
        ("claims.groups.map(g, claims.regions.size())", json!([2, 2])),
        (
            "claims.email.split('@')[1].matches('^[Cc]ontoso[.]com$')",
            json!(true),
        ),
        (
            "type(claims.groups) == list && type(claims.exp) == int",
            json!(true),
        ),
        (
            "{'a': [claims.nothing, claims.big]}",
            json!({"a": [null, u64::MAX]}),
        ),
        (
            "optional.of(claims.sub).value() + strings.quote('x')",
            json!("u1\"x\""),
        ),
        (
            "'%s-%d'.format([claims.sub, claims.exp])",
            json!("u1-1700003600"),
        ),
        (
            "['b', 'a'].join('/').reverse().replace('a', 'c').substring(1)",
            json!("/b"),
        ),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn faulty_expressions_are_refused_at_load() {
    let long = format!("'{}'", "a".repeat(MAX_LENGTH));
    for (source, message) in [
        (long.as_str(), "2050 characters"),
        ("claims.", "not a CEL expression: 1:"),
        ("", "not a CEL expression"),
        (
            "claim.email",
            "unknown name `claim`; expressions here may use claims, issuer, tenant",
        ),
        (".claims.email", "unknown name `.claims`"),
        ("claims.groups.map(g, h)", "unknown name `h`"),
        ("[1].map(g, g) + [g]", "unknown name `g`"),
        ("claims.email.lower()", "unknown function `lower`"),
        ("sha256(claims.email)", "unknown function `sha256`"),
        (
            "lowerAscii(claims.email)",
            "`lowerAscii` is called as `x.lowerAscii(…)`",
        ),
        ("claims.exp.int()", "`int` is called as `int(x)`"),
        ("claims.email.substring()", "wrong number of arguments"),
        (
            "claims.groups.exists(g)",
            "`exists` has the wrong number of arguments",
        ),
        ("claims.email.matches('(')", "not a valid regex"),
        ("matches(claims.email, '(')", "not a valid regex"),
        ("Foo{a: 1}", "no message type `Foo`"),
        (
            "claims.groups.map(a, claims.groups.map(b, a))",
            "in another's body",
        ),
        (
            "claims.groups.exists(a, claims.regions.all(b, a != b))",
            "in another's body",
        ),
        (
            "claims.groups.filter(a, optional.of(a).optMap(x, [x].all(b, true)).hasValue())",
            "in another's body",
        ),
    ] {
        let refusal = refusal(source);
        assert!(refusal.contains(message), "{source}: {refusal}");
    }
}

#[test]
fn errors_name_the_claim_and_never_its_value() {
    for (source, message) in [
        ("claims.upn", "no such key: `upn`"),
        ("claims['upn']", "no such key: `upn`"),
        ("{'a': 1}[claims.secret]", "no such key"),
        ("claims.secret + 1", "cannot apply `add` to string and int"),
        ("int(claims.secret)", "`int` cannot work with this value"),
        ("claims.secret > 1", "'_>_' applied to '(string, int)'"),
        (
            "claims.secret.matches(claims.regions[0] + '(')",
            "`matches` cannot work with this value",
        ),
        ("[1, 2][claims.exp]", "an index is out of bounds"),
        ("claims.exp / 0", "division by zero"),
        ("claims.exp * 9223372036854775807", "overflows"),
        ("claims.?upn", "orValue"),
        ("b'abc'", "type bytes, which has no JSON form"),
        ("{1: claims.secret}", "keys that are no strings"),
        ("1.0 / 0.0", "not finite"),
        ("tenant.workspace", "there is no `tenant`"),
        ("claims.secret.map(x, x)", "a value is no iterable"),
    ] {
        let error = eval(source).unwrap_err().message;
        assert!(error.contains(message), "{source}: {error}");
        assert!(!error.contains("hunter2"), "{source}: {error}");
    }
}

#[test]
fn only_a_boolean_is_a_condition() {
    let holds = |source| Expr::compile(source, &NAMES).unwrap().eval_bool(&scope());
    assert_eq!(holds("!claims.suspended"), Ok(true));
    for source in [
        "claims.nothing",
        "claims.groups",
        "1",
        "claims.secret",
        "claims.?suspended",
    ] {
        let error = holds(source).unwrap_err().message;
        assert!(error.contains("not a bool"), "{source}: {error}");
    }
}

#[test]
fn used_names_are_known_and_loop_variables_are_none() {
    let expr = Expr::compile(
        "claims.groups.all(issuer, issuer != '') && has(tenant.id)",
        &NAMES,
    )
    .unwrap();
    assert!(expr.uses("claims") && expr.uses("tenant"));
    assert!(!expr.uses("issuer") && !expr.uses("groups"));
}

#[test]
fn what_is_read_of_a_variable_is_known() {
    let members = |keys: &[&str]| {
        Some(Reads::Members(
            keys.iter().map(|&key| key.to_owned()).collect(),
        ))
    };
    for (source, expected) in [
        ("issuer == 'login'", None),
        ("claims.email", members(&["email"])),
        (
            "has(claims.upn) ? claims['upn'] : claims.?sub.orValue('')",
            members(&["sub", "upn"]),
        ),
        (
            "claims[?'upn'].orValue('') + claims.deep.inner",
            members(&["deep", "upn"]),
        ),
        (
            "claims.groups.exists(g, g == claims.sub)",
            members(&["groups", "sub"]),
        ),
        (
            "claims.email.endsWith('x') && size(claims.groups) > 1",
            members(&["email", "groups"]),
        ),
        // A loop's own variable is not the claims, and within it they may be both.
        ("tenant.list.map(claims, claims.id)", None),
        ("tenant.list.map(t, claims.id)", members(&["id"])),
        // A computed key may be any.
        ("claims[issuer]", Some(Reads::Whole)),
        ("claims[claims.sub]", Some(Reads::Whole)),
        ("claims[1]", Some(Reads::Whole)),
        ("'upn' in claims", Some(Reads::Whole)),
        ("size(claims) > 3 && claims.email != ''", Some(Reads::Whole)),
        ("claims.email != '' && size(claims) > 3", Some(Reads::Whole)),
        ("claims.exists(name, name == 'upn')", Some(Reads::Whole)),
        ("claims == {'sub': 'u1'}", Some(Reads::Whole)),
        ("[claims].map(c, c.email)", Some(Reads::Whole)),
        ("{'c': claims}.c.email", Some(Reads::Whole)),
        ("(true ? claims : tenant).email", Some(Reads::Whole)),
        ("claims.optMap(c, c.email)", Some(Reads::Whole)),
        ("type(claims) == map", Some(Reads::Whole)),
    ] {
        let expr = Expr::compile(source, &NAMES).unwrap();
        assert_eq!(expr.reads("claims").cloned(), expected, "{source}");
    }
}

#[test]
fn a_claim_that_is_only_tested_is_not_passed_on() {
    for (source, expected) in [
        ("claims.tid", true),
        ("claims['tid']", true),
        ("claims[?'tid'].orValue('')", true),
        ("claims.?tid.orValue('')", true),
        ("issuer + '/' + claims.tid", true),
        ("string(claims.tid).lowerAscii()", true),
        ("[issuer, claims.tid].join('/')", true),
        ("{'t': claims.tid}.t", true),
        ("[claims.tid].map(t, t + '/')[0]", true),
        ("[issuer].map(i, i + claims.tid)[0]", true),
        ("issuer == 'a' ? claims.tid : claims.email", true),
        ("has(claims.tid) ? claims.email + claims.tid : 'x'", true),
        ("claims.email", false),
        ("issuer", false),
        ("'claims.tid'", false),
        ("claims.deep.tid", false),
        ("tenant.tid", false),
        ("claims[issuer]", false),
        ("string(claims)", false),
        ("has(claims.tid) ? claims.email : ''", false),
        ("claims.tid == 'x' ? claims.email : claims.email", false),
        ("claims.tid.startsWith('x') ? claims.email : 'x'", false),
        (
            "claims.tid in ['x', 'y'] && true ? claims.email : 'x'",
            false,
        ),
        ("string(claims.tid != '') + claims.email", false),
        ("string(has(claims.tid)) + claims.email", false),
        ("bool(claims.tid) ? claims.email : 'x'", false),
        ("tenant.list.map(claims, claims.tid)[0]", false),
    ] {
        let expr =
            Expr::compile(source, &NAMES).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(expr.passes_on("claims", "tid"), expected, "{source}");
    }
}

#[test]
fn nothing_else_of_the_members_is_converted() {
    let claims = json!({"sub": "u1", "unread": vec![0; MAX_ITEMS + 1]});
    let claims = claims.as_object().unwrap();
    let eval = |source: &str, reads: &Reads| {
        let expr = Expr::compile(source, &NAMES).unwrap();
        expr.eval(&Scope::new().with_members("claims", claims, reads))
    };
    let sub = Expr::compile("claims.sub", &NAMES).unwrap();
    let reads = sub.reads("claims").unwrap();
    assert_eq!(eval("claims.sub", reads), Ok(json!("u1")));
    assert_eq!(
        eval("claims.unread", reads).unwrap_err().message,
        "no such key: `unread`"
    );
    assert_eq!(eval("claims", reads), Ok(json!({"sub": "u1"})));
    let whole = eval("claims.sub", &Reads::Whole).unwrap_err().message;
    assert!(whole.contains("more than 1000 entries"), "{whole}");
}

#[test]
fn a_list_beyond_the_cap_fails_whatever_uses_its_variable() {
    let expr = Expr::compile("claims.sub == 'u1'", &NAMES).unwrap();
    let with = |items: usize| {
        scope().with(
            "claims",
            &json!({"sub": "u1", "deep": {"l": vec![0; items]}}),
        )
    };
    assert_eq!(expr.eval_bool(&with(MAX_ITEMS)), Ok(true));
    let error = expr.eval_bool(&with(MAX_ITEMS + 1)).unwrap_err().message;
    assert_eq!(
        error,
        "`claims` holds a list or map of more than 1000 entries"
    );
    let other = Expr::compile("issuer", &NAMES).unwrap();
    assert_eq!(other.eval(&with(MAX_ITEMS + 1)), Ok(json!("login")));
}

#[test]
fn every_listed_function_exists_in_the_evaluator() {
    for source in [
        "bool('true')",
        "bytes('a') == b'a'",
        "double(1)",
        "dyn(1)",
        "int('1')",
        "matches('a', 'a')",
        "optional.none().hasValue()",
        "optional.ofNonZeroValue('').or(optional.of(1)).value()",
        "size('a')",
        "string(1)",
        "uint(1)",
        "'abc'.charAt(1)",
        "'abc'.contains('b')",
        "'abc'.endsWith('c')",
        "'abc'.indexOf('b') + 'abc'.indexOf('b', 1)",
        "'abc'.lastIndexOf('b') + 'abc'.lastIndexOf('b', 2)",
        "['a'].join()",
        "' a '.trim()",
        "'abc'.replace('a', 'b', 1)",
        "'a,b'.split(',', 1)",
        "'abc'.substring(0, 2)",
        "'abc'.upperAscii()",
        "duration('90m').getHours() + duration('90m').getMinutes() + duration('1s').getSeconds()",
        "duration('1s').getMilliseconds() + timestamp(claims.exp).getMilliseconds()",
        "timestamp('2026-01-31T08:00:00Z').getDate() + timestamp(0).getDayOfMonth('+02:00')",
        "timestamp(0).getDayOfWeek() + timestamp(0).getDayOfYear() + timestamp(0).getFullYear()",
        "timestamp(0).getHours('-08:00') + timestamp(0).getMinutes() + timestamp(0).getMonth()",
        "timestamp(0).getSeconds() + int(timestamp(claims.exp) - timestamp(0) < duration('1h') ? 1 : 0)",
    ] {
        assert!(eval(source).is_ok(), "{source}: {:?}", eval(source));
    }
}
