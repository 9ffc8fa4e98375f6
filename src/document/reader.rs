//! Typed values out of a tree: one `Deserializer`, whatever is asked for.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::{Misfit, Node, Place, Step, Value};

/// Whether a scalar may be read as another type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalars {
    /// Nothing is coerced.
    AsWritten,
    /// As from the environment, where all is text: text as number or boolean (`1`, `on` and `yes` as well), and both of
    /// these as text.
    Coerced,
}

/// Name of the tuple that asks for line, column and value: how a type gets at its place.
pub(crate) const PLACED: &str = "embed_broker::document::placed";

/// Gives a node to whatever type asks.
#[derive(Clone, Copy)]
pub(super) struct Reader<'de> {
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
    pub(super) fn new(node: &'de Node, scalars: Scalars) -> Self {
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
