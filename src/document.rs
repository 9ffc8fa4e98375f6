//! A YAML document as a tree whose nodes know their places, and typed values out of it.
//!
//! serde compiles the code that reads a type once for every format it is read from, and wrappers that track paths or
//! places count as formats. Configuration and policy have a hundred types, so both are read through this one tree: it
//! knows place and path of whatever does not fit, for a megabyte less of program.

use std::collections::HashSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_saphyr::Spanned;

/// Where something stands in its document, counted from 1; 0 when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What YAML can say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the document's order.
    Map(Vec<(String, Node)>),
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Why a value does not fit its type. What it says of secrets is up to their types.
#[derive(Debug)]
pub(crate) struct Misfit(Box<Found>);

#[derive(Debug, Default)]
struct Found {
    problem: String,
    missing: Option<&'static str>,
    place: Option<Place>,
    /// The last step first.
    path: Vec<Step>,
}

/// Whether a scalar may be read as another type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalars {
    /// Nothing is coerced.
    AsWritten,
    /// As from the environment, where all is text: text as number or boolean (`1`, `on` and `yes` as well), and both of
    /// these as text.
    Coerced,
}

/// A path as people write it: `rules[0].identity.username`.
pub(crate) fn readable(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&["[", &index.to_string(), "]"].concat()),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
        }
    }
    text
}

/// Name of the tuple that asks for line, column and value: how a type gets at its place.
pub(crate) const PLACED: &str = "embed_broker::document::placed";

impl Node {
    /// A node of unknown place.
    pub(crate) fn nowhere(value: Value) -> Self {
        Self {
            value,
            place: Place::default(),
        }
    }

    /// Reads a `T`.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub(crate) fn read<'de, T: Deserialize<'de>>(&'de self, scalars: Scalars) -> Result<T, Misfit> {
        T::deserialize(Reader::new(self, scalars))
    }
}

impl Misfit {
    pub(crate) fn problem(&self) -> &str {
        &self.0.problem
    }

    /// The key that is needed and not there.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        self.0.missing
    }

    pub(crate) fn place(&self) -> Place {
        self.0.place.unwrap_or_default()
    }

    /// From the document down to the value.
    pub(crate) fn path(&self) -> Vec<Step> {
        self.0.path.iter().rev().cloned().collect()
    }

    fn new(problem: String) -> Self {
        Self(Box::new(Found {
            problem,
            ..Found::default()
        }))
    }

    fn under(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.problem)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }

    /// Without the value: what stands in the wrong place may be a secret.
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let kind = match unexpected {
            Unexpected::Unit | Unexpected::Option => "empty",
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Map => "a mapping",
            Unexpected::Seq => "a list",
            _ => "text",
        };
        Self::new(format!("is {kind}, expected {expected}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        match unexpected {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => {
                Self::new(format!("is {unexpected}, expected {expected}"))
            }
            _ => Self::invalid_type(unexpected, expected),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        let mut misfit = Self::new(format!("the key `{field}` is missing"));
        misfit.0.missing = Some(field);
        misfit
    }
}

// === out of YAML ===

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// `Spanned` also reads values without a place, out of serde's buffers. A newtype refuses those.
        #[derive(serde::Deserialize)]
        struct Placed(Value);

        let spanned = Spanned::<Placed>::deserialize(deserializer)?;
        Ok(Self {
            place: Place {
                line: spanned.referenced.line(),
                column: spanned.referenced.column(),
            },
            value: spanned.value.0,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Integer(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Unsigned(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let (mut entries, mut keys) = (Vec::new(), HashSet::new());
                while let Some((key, value)) = map.next_entry::<String, Node>()? {
                    // The library holds `7` and `"7"` for two keys.
                    if !keys.insert(key.clone()) {
                        return Err(de::Error::custom(format!("duplicate mapping key `{key}`")));
                    }
                    entries.push((key, value));
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

// === into types ===

/// Gives a node to whatever type asks.
#[derive(Clone, Copy)]
struct Reader<'de> {
    view: View<'de>,
    place: Place,
    scalars: Scalars,
}

/// A value, or a part of one that has no node of its own.
#[derive(Clone, Copy)]
enum View<'de> {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'de str),
    List(&'de [Node]),
    Map(&'de [(String, Node)]),
}

impl<'de> Reader<'de> {
    fn new(node: &'de Node, scalars: Scalars) -> Self {
        let view = match &node.value {
            Value::Null => View::Null,
            Value::Bool(value) => View::Bool(*value),
            Value::Integer(value) => View::Integer(*value),
            Value::Unsigned(value) => View::Unsigned(*value),
            Value::Float(value) => View::Float(*value),
            Value::Text(text) => View::Text(text),
            Value::List(items) => View::List(items),
            Value::Map(entries) => View::Map(entries),
        };
        Self {
            view,
            place: node.place,
            scalars,
        }
    }

    fn with(self, view: View<'de>) -> Self {
        Self { view, ..self }
    }

    fn misfit(self, expected: &dyn de::Expected) -> Misfit {
        let unexpected = match self.view {
            View::Null => Unexpected::Unit,
            View::Bool(value) => Unexpected::Bool(value),
            View::Integer(value) => Unexpected::Signed(value),
            View::Unsigned(value) => Unexpected::Unsigned(value),
            View::Float(value) => Unexpected::Float(value),
            View::Text(text) => Unexpected::Str(text),
            View::List(_) => Unexpected::Seq,
            View::Map(_) => Unexpected::Map,
        };
        de::Error::invalid_type(unexpected, expected)
    }

    /// The boolean that a scalar stands for in an environment.
    fn as_boolean(self) -> Self {
        match (self.view, self.scalars) {
            (View::Text(text), Scalars::Coerced) => match truth(text) {
                Some(value) => self.with(View::Bool(value)),
                None => self,
            },
            (View::Unsigned(0) | View::Integer(0), Scalars::Coerced) => {
                self.with(View::Bool(false))
            }
            (View::Unsigned(1) | View::Integer(1), Scalars::Coerced) => self.with(View::Bool(true)),
            _ => self,
        }
    }

    /// The number that a scalar stands for in an environment; `off` is 0.
    fn as_number(self) -> Self {
        match (self.view, self.scalars) {
            (View::Text(text), Scalars::Coerced) => match number(text) {
                Some(view) => self.with(view),
                None => self,
            },
            (View::Bool(value), Scalars::Coerced) => self.with(View::Unsigned(value.into())),
            _ => self,
        }
    }

    /// The text of a scalar.
    fn text(self) -> Option<String> {
        match self.view {
            View::Bool(value) => Some(value.to_string()),
            View::Integer(value) => Some(value.to_string()),
            View::Unsigned(value) => Some(value.to_string()),
            View::Float(value) => Some(value.to_string()),
            View::Null | View::Text(_) | View::List(_) | View::Map(_) => None,
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<View<'static>> {
    let unsigned = text.parse().map(View::Unsigned).ok();
    unsigned
        .or_else(|| text.parse().map(View::Integer).ok())
        .or_else(|| text.parse().map(View::Float).ok())
        .or_else(|| truth(text).map(|value| View::Unsigned(value.into())))
}

/// What is asked for as a number may be text.
macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.as_number().deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.view {
            View::Null => visitor.visit_unit(),
            View::Bool(value) => visitor.visit_bool(value),
            View::Integer(value) => visitor.visit_i64(value),
            View::Unsigned(value) => visitor.visit_u64(value),
            View::Float(value) => visitor.visit_f64(value),
            View::Text(text) => visitor.visit_borrowed_str(text),
            View::List(items) => visitor.visit_seq(Items::new(items, self.scalars)),
            View::Map(entries) => visitor.visit_map(Entries::new(entries, self.scalars)),
        }
        .map_err(|misfit| misfit.at(self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.as_boolean().deserialize_any(visitor)
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match (self.view, self.scalars) {
            (View::Text(text), _) => visitor.visit_borrowed_str(text),
            (_, Scalars::Coerced) => match self.text() {
                Some(text) => visitor.visit_string(text),
                None => Err(self.misfit(&visitor)),
            },
            (_, Scalars::AsWritten) => Err(self.misfit(&visitor)),
        }
        .map_err(|misfit| misfit.at(self.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.view {
            View::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.view {
            View::List(items) => visitor.visit_seq(Items::new(items, self.scalars)),
            _ => Err(self.misfit(&"a list")),
        }
        .map_err(|misfit| misfit.at(self.place))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.view {
            View::Map(entries) => visitor.visit_map(Entries::new(entries, self.scalars)),
            _ => Err(self.misfit(&"a mapping")),
        }
        .map_err(|misfit| misfit.at(self.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    /// Nothing but a place is asked for by this.
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        debug_assert_eq!(name, PLACED);
        visitor.visit_seq(PlacedParts {
            reader: self,
            given: 0,
        })
    }

    /// A word; no type of ours has variants with content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let written = self.text();
        let word = match (self.view, &written) {
            (View::Text(text), _) => text,
            (_, Some(text)) => text,
            (_, None) => return Err(self.misfit(&"a word").at(self.place)),
        };
        let word: StrDeserializer<'_, Misfit> = word.into_deserializer();
        visitor
            .visit_enum(word)
            .map_err(|misfit| misfit.at(self.place))
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple identifier ignored_any
    }
}

/// The members of a list.
struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
    scalars: Scalars,
}

impl<'de> Items<'de> {
    fn new(items: &'de [Node], scalars: Scalars) -> Self {
        Self {
            items: items.iter().enumerate(),
            scalars,
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader::new(node, self.scalars))
            .map(Some)
            .map_err(|misfit| misfit.under(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a mapping.
struct Entries<'de> {
    rest: std::slice::Iter<'de, (String, Node)>,
    /// The one whose key was read.
    current: Option<&'de (String, Node)>,
    scalars: Scalars,
}

impl<'de> Entries<'de> {
    fn new(entries: &'de [(String, Node)], scalars: Scalars) -> Self {
        Self {
            rest: entries.iter(),
            current: None,
            scalars,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        self.current = self.rest.next();
        let Some((key, node)) = self.current else {
            return Ok(None);
        };
        let reader = Reader::new(node, self.scalars).with(View::Text(key));
        seed.deserialize(reader)
            .map(Some)
            .map_err(|misfit| misfit.under(Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some((key, node)) = self.current.take() else {
            return Err(Misfit::new("a value was asked for before its key".into()));
        };
        seed.deserialize(Reader::new(node, self.scalars))
            .map_err(|misfit| misfit.under(Step::Key(key.clone())))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// Line, column and the value itself. All three come from the same reader: a second kind of it would compile every
/// type once more.
struct PlacedParts<'de> {
    reader: Reader<'de>,
    given: u8,
}

impl<'de> SeqAccess<'de> for PlacedParts<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Place { line, column } = self.reader.place;
        let part = match self.given {
            0 => self.reader.with(View::Unsigned(line)),
            1 => self.reader.with(View::Unsigned(column)),
            2 => self.reader,
            _ => return Ok(None),
        };
        self.given += 1;
        seed.deserialize(part).map(Some)
    }
}

#[cfg(test)]
mod tests {
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
}
