//! Why a value does not fit its type, with place and path, and without the value.

use std::fmt;

use serde::de::{self, Unexpected};

use super::{Place, Step};

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

    pub(super) fn new(problem: String) -> Self {
        Self(Box::new(Found {
            problem,
            ..Found::default()
        }))
    }

    pub(super) fn under(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    pub(super) fn at(mut self, place: Place) -> Self {
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
