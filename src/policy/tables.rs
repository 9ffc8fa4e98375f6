//! Look-up tables: rows inline or from a YAML or JSON file, found by key.
//!
//! A table may hold a hundred thousand rows of which a request needs one, so a row is kept as compact JSON text and
//! parsed when a caller's key finds it. Keys compare as strings. A key that stands twice is refused: whichever row won
//! would be wrong for somebody.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::file::{yaml_mistake, yaml_options};
use super::model::Term;
use crate::config::Mistake;

/// Longest row as JSON text. A row names a tenant's places and roles; what is longer is no row but a mistake.
const MAX_ROW_BYTES: usize = 64 * 1024;

/// Largest file with rows.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// A look-up table.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name, which is the variable that holds the caller's row.
    pub(super) name: Box<str>,
    /// Gives the caller's key.
    pub(super) key: Term,
    /// The rows.
    pub(super) rows: Rows,
}

/// The rows of a table, each as compact JSON text.
#[derive(Debug, Default)]
pub(super) struct Rows(HashMap<Box<str>, Box<str>>);

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row(pub(super) Map<String, Value>);

impl Rows {
    /// Reads a file: JSON when it is called `.json` or begins with `{`, else YAML.
    ///
    /// # Errors
    /// When the file cannot be read or is not a mapping of mappings.
    pub(super) fn from_file(path: &Path) -> Result<Self, Mistake> {
        let label = path.display().to_string();
        let text = read(path).map_err(|error| {
            Mistake::new(
                &label,
                format!("cannot read the rows: {error}"),
                "check path and permissions; the path is relative to the policy file",
            )
        })?;
        let named_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if named_json || text.trim_start().starts_with('{') {
            serde_json::from_str(&text).map_err(|error| {
                let place = format!("{label}:{}:{}", error.line(), error.column());
                Mistake::new(
                    place,
                    error.to_string(),
                    "write one object of rows, each an object, by key",
                )
            })
        } else {
            serde_saphyr::from_str_with_options(&text, yaml_options())
                .map_err(|error| yaml_mistake(&error, &label, ""))
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// At most `wanted` rows with their keys, spread evenly over the sorted keys.
    pub(super) fn sample(&self, wanted: usize) -> Vec<(&str, Row)> {
        let mut keys: Vec<&str> = self.0.keys().map(AsRef::as_ref).collect();
        keys.sort_unstable();
        let taken = wanted.min(keys.len());
        let nth = |n: usize| keys[n * keys.len() / taken];
        let row = |key: &str| match self.get(key) {
            Some(Value::Object(row)) => Some(Row(row)),
            _ => None,
        };
        (0..taken)
            .map(nth)
            .filter_map(|key| Some((key, row(key)?)))
            .collect()
    }

    /// The row of `key`.
    pub(super) fn get(&self, key: &str) -> Option<Value> {
        self.0
            .get(key)
            .and_then(|row| serde_json::from_str(row).ok())
    }
}

/// The key that an expression gave, as a string.
///
/// # Errors
/// When it is empty or neither string, number nor boolean.
pub(super) fn key_text(key: &Value) -> Result<Cow<'_, str>, &'static str> {
    match key {
        Value::String(text) if text.is_empty() => Err("the key is empty"),
        Value::String(text) => Ok(text.into()),
        Value::Number(number) => Ok(number.to_string().into()),
        Value::Bool(value) => Ok(value.to_string().into()),
        Value::Null => Err("the key is null"),
        Value::Array(_) | Value::Object(_) => Err("the key is a list or a map"),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!(
            "{length} bytes are more than the {MAX_FILE_BYTES} that are allowed"
        )));
    }
    std::fs::read_to_string(path)
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Rows;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of rows by key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
                let mut rows = HashMap::new();
                while let Some(key) = map.next_key::<Box<str>>()? {
                    let Row(row) = map.next_value()?;
                    let row = serde_json::to_string(&row).map_err(de::Error::custom)?;
                    if row.len() > MAX_ROW_BYTES {
                        return Err(de::Error::custom(format!(
                            "row `{key}` is longer than {MAX_ROW_BYTES} bytes"
                        )));
                    }
                    if key.is_empty() {
                        return Err(de::Error::custom("a row has an empty key"));
                    }
                    match rows.entry(key) {
                        Entry::Vacant(free) => free.insert(row.into_boxed_str()),
                        Entry::Occupied(taken) => {
                            let key = taken.key();
                            return Err(de::Error::custom(format!("row `{key}` stands twice")));
                        }
                    };
                }
                Ok(Rows(rows))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Row;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row, which is a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = Map::new();
                while let Some((column, value)) = map.next_entry::<String, Value>()? {
                    if row.contains_key(&column) {
                        return Err(de::Error::custom(format!("column `{column}` stands twice")));
                    }
                    row.insert(column, value);
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(Read)
    }
}
