use std::collections::BTreeMap;

use super::*;

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    number: Option<u16>,
    #[serde(default)]
    yes: bool,
    #[serde(default)]
    text: String,
    #[serde(default)]
    many: BTreeMap<String, Vec<Word>>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    One,
    True,
}

fn read(text: &str, scalars: Scalars) -> Result<Sample, String> {
    let node: Node = serde_saphyr::from_str(text).unwrap();
    node.read(scalars).map_err(|misfit| {
        let Place { line, column } = misfit.place();
        format!("{line}:{column} {}: {misfit}", readable(&misfit.path()))
    })
}

#[test]
fn values_are_read_as_written_or_as_the_environment_writes_them() {
    let written = "number: 5\nyes: true\ntext: a\nmany: { a: [one, true] }";
    let sample = Sample {
        number: Some(5),
        yes: true,
        text: "a".into(),
        many: BTreeMap::from([("a".into(), vec![Word::One, Word::True])]),
    };
    assert_eq!(read(written, Scalars::AsWritten).as_ref(), Ok(&sample));
    assert_eq!(read(written, Scalars::Coerced).as_ref(), Ok(&sample));
    for (coerced, sample) in [
        ("number: off", empty_with(0)),
        (
            "number: '5'",
            Sample {
                number: Some(5),
                ..empty()
            },
        ),
        (
            "yes: 'On'",
            Sample {
                yes: true,
                ..empty()
            },
        ),
        (
            "text: 5",
            Sample {
                text: "5".into(),
                ..empty()
            },
        ),
    ] {
        assert_eq!(read(coerced, Scalars::Coerced), Ok(sample), "{coerced}");
        let refused = read(coerced, Scalars::AsWritten);
        assert!(refused.is_err(), "{coerced}: {refused:?}");
    }
    assert_eq!(read("number: ~", Scalars::AsWritten), Ok(empty()));
}

fn empty_with(number: u16) -> Sample {
    Sample {
        number: Some(number),
        ..empty()
    }
}

fn empty() -> Sample {
    read("{}", Scalars::AsWritten).unwrap()
}

#[test]
fn what_does_not_fit_is_told_with_place_and_path() {
    for (text, told) in [
        (
            "yes: true\nnumber: 70000",
            "2:9 number: is integer `70000`, expected u16",
        ),
        (
            "many:\n  a:\n    - one\n    - two",
            "4:7 many.a[1]: unknown variant `two`",
        ),
        ("many: { a: one }", "1:12 many.a: is text, expected a list"),
        ("many: [one]", "1:7 many: is a list, expected a mapping"),
        ("text: a\nother: b", "2:8 other: unknown field `other`"),
        ("yes: ~", "1:6 yes: is empty, expected a boolean"),
        ("yes: hunter2", "1:6 yes: is text, expected a boolean"),
    ] {
        let found = read(text, Scalars::AsWritten).unwrap_err();
        assert!(found.starts_with(told), "{text}\nis told as {found}");
    }
}

#[test]
fn a_key_stands_once_however_it_is_written_and_merged_keys_give_way() {
    for twice in [
        "{ a: 1, a: 2 }",
        "{ 7: 1, \"7\": 2 }",
        "{ a: { true: 1, 'true': 2 } }",
    ] {
        let read = serde_saphyr::from_str::<Node>(twice);
        let error = read.expect_err(twice).to_string();
        assert!(error.contains("duplicate mapping key"), "{twice}: {error}");
    }
    let merged = "base: &base { number: 1, text: a }\nmore: { <<: *base, number: 2 }";
    let node: Node = serde_saphyr::from_str(merged).unwrap();
    let both: BTreeMap<String, Sample> = node.read(Scalars::AsWritten).unwrap();
    assert_eq!(
        (both["more"].number, both["more"].text.as_str()),
        (Some(2), "a")
    );
}
