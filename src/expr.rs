//! CEL behind one small type: compile with limits at load, evaluate to JSON.
//!
//! Why CEL: it is what Kubernetes' `AuthenticationConfiguration`, AKS and Google's workload identity federation use for
//! the same job. The `cel` crate breaks its API with every minor release, so nothing outside this module names it.
//!
//! Limits, because an evaluation cannot be cancelled: at most [`MAX_LENGTH`] characters, no comprehension in another's
//! body, only CEL's standard functions and the `strings` extension, no free name but the ones that the caller offers
//! (all checked by `check` when compiling); and a variable that holds a list or map of more than [`MAX_ITEMS`]
//! entries, among what is read of it, fails every evaluation that uses it.
//!
//! An [`EvalError`] says what failed and never shows a value: it goes to logs and audit records.

mod check;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::{Key, ValueType};
use cel::{Context, Env, ExecutionError, Program};
use serde_json::{Map, Value};

/// Longest expression, in characters; the limit of Google's workload identity federation.
pub const MAX_LENGTH: usize = 2048;

/// Most entries of a list or map that an expression may work on: bounds the one loop that is allowed.
pub const MAX_ITEMS: usize = 1000;

/// The standard functions and the `strings` extension; built once.
static ENVIRONMENT: LazyLock<Result<Arc<Env>, CompileError>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings)
        .map_err(|error| CompileError::new(error.to_string()))?;
    Ok(Arc::new(env))
});

/// A compiled expression.
pub struct Expr {
    source: String,
    program: Program,
    env: Arc<Env>,
    /// The offered names that it uses, and what it reads of each.
    uses: BTreeMap<String, Reads>,
    /// The keys that it spells out, so that an error may repeat them.
    keys: BTreeSet<String>,
}

/// What expressions read of a variable that is a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// These members, each by a key that stands in the expression.
    Members(BTreeSet<String>),
    /// Perhaps all of it.
    Whole,
}

/// The variables of one evaluation; cheap to clone, converted from JSON once.
#[derive(Clone, Default)]
pub struct Scope {
    variables: Vec<(Arc<str>, Variable)>,
}

#[derive(Clone)]
enum Variable {
    Usable(Arc<dyn Val>),
    /// Some list or map in it has more than [`MAX_ITEMS`] entries.
    TooLarge,
}

/// Why an expression was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is wrong and, where it helps, what to write instead.
    pub message: String,
}

/// Why an expression gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// The evaluator's words; they may name a claim, never its value.
    pub message: String,
}

impl CompileError {
    fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message }
    }
}

impl EvalError {
    fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message }
    }
}

impl Expr {
    /// Compiles `source`, which may use the free names `names` and no other.
    ///
    /// # Errors
    /// Syntax, limits, unknown names, unknown functions and faulty patterns of `matches`.
    pub fn compile(source: &str, names: &[&str]) -> Result<Self, CompileError> {
        let length = source.chars().count();
        if length > MAX_LENGTH {
            return Err(CompileError::new(format!(
                "the expression has {length} characters; at most {MAX_LENGTH} are allowed"
            )));
        }
        let env = ENVIRONMENT.clone()?;
        let program = env.compile(source).map_err(|errors| {
            CompileError::new(errors.errors.first().map_or_else(
                || "not a CEL expression".to_owned(),
                |error| {
                    let (line, column) = error.pos;
                    format!("not a CEL expression: {line}:{column}: {}", error.msg)
                },
            ))
        })?;
        let found = check::check(program.expression(), names, &env)?;
        Ok(Self {
            source: source.to_owned(),
            program,
            env,
            uses: found.uses,
            keys: found.keys,
        })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression uses the free name `name`.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.uses.contains_key(name)
    }

    /// What the expression reads of the free name `name`.
    #[must_use]
    pub fn reads(&self, name: &str) -> Option<&Reads> {
        self.uses.get(name)
    }

    /// Whether the value of `name.key` can become part of the expression's value. What is only compared or tested does not,
    /// as in `has(claims.tid)` and `claims.tid == 'x' ? … : …`.
    #[must_use]
    pub fn passes_on(&self, name: &str, key: &str) -> bool {
        check::passes_on(self.program.expression(), name, key)
    }

    /// Evaluates to JSON.
    ///
    /// # Errors
    /// A missing claim, a wrong type, an overflow, a variable that is not in scope or too large, or a value that has no
    /// JSON form.
    pub fn eval(&self, scope: &Scope) -> Result<Value, EvalError> {
        to_json(&self.run(scope)?)
    }

    /// Evaluates to a boolean; anything else is an error.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and when the value is no boolean.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, EvalError> {
        match self.run(scope)? {
            cel::Value::Bool(value) => Ok(value),
            other => Err(EvalError::new(format!(
                "gives a value of type {}, not a bool",
                other.type_of()
            ))),
        }
    }

    fn run(&self, scope: &Scope) -> Result<cel::Value, EvalError> {
        for name in self.uses.keys() {
            match scope.find(name) {
                Some(Variable::Usable(_)) => {}
                Some(Variable::TooLarge) => {
                    return Err(EvalError::new(format!(
                        "`{name}` holds a list or map of more than {MAX_ITEMS} entries"
                    )));
                }
                None => return Err(EvalError::new(format!("there is no `{name}`"))),
            }
        }
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(scope);
        self.program
            .execute(&context)
            .map_err(|error| EvalError::new(self.describe(&error)))
    }

    /// The evaluator's own messages print values; these do not.
    fn describe(&self, error: &ExecutionError) -> String {
        match error {
            // A computed key is a value of somebody's claim.
            ExecutionError::NoSuchKey(key) if self.keys.contains(key.as_str()) => {
                format!("no such key: `{key}`")
            }
            ExecutionError::NoSuchKey(_) => "no such key".to_owned(),
            ExecutionError::NoSuchOverload(overload) => overload.to_string(),
            ExecutionError::UndeclaredReference(name) => format!("there is no `{name}`"),
            ExecutionError::FunctionError { function, .. } => {
                format!("`{function}` cannot work with this value")
            }
            ExecutionError::UnexpectedType { want, .. } => format!("a value is no {want}"),
            ExecutionError::ValuesNotComparable(a, b) => {
                format!("cannot compare {} with {}", a.type_of(), b.type_of())
            }
            ExecutionError::UnsupportedBinaryOperator(operator, a, b) => {
                let (a, b) = (a.type_of(), b.type_of());
                format!("cannot apply `{operator}` to {a} and {b}")
            }
            ExecutionError::Overflow(operator, ..) => format!("`{operator}` overflows"),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "division by zero".to_owned()
            }
            ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
            ExecutionError::DuplicateKey(_) => "a map has the same key twice".to_owned(),
            _ => "the evaluation failed".to_owned(),
        }
    }
}

impl Default for Reads {
    /// Nothing.
    fn default() -> Self {
        Self::Members(BTreeSet::new())
    }
}

impl Reads {
    fn member(key: &str) -> Self {
        Self::Members(BTreeSet::from([key.to_owned()]))
    }

    /// Both this and `other`.
    pub fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Whole, _) => {}
            (Self::Members(keys), Self::Members(more)) => keys.extend(more.iter().cloned()),
            (Self::Members(_), Self::Whole) => *self = Self::Whole,
        }
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.source).finish()
    }
}

impl Scope {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a variable. Integers become CEL `int`s, so that arithmetic with literals works.
    #[must_use]
    pub fn with(self, name: &str, value: &Value) -> Self {
        self.set(name, from_json(value))
    }

    /// Adds or replaces a variable that is a map, of which nobody may read more than `reads`: a token holds many claims,
    /// and a policy uses few.
    #[must_use]
    pub fn with_members(self, name: &str, members: &Map<String, Value>, reads: &Reads) -> Self {
        let value = match reads {
            Reads::Whole => map(members.iter()),
            Reads::Members(keys) => map(keys.iter().filter_map(|key| members.get_key_value(key))),
        };
        self.set(name, value)
    }

    fn set(mut self, name: &str, value: Option<Box<dyn Val>>) -> Self {
        let variable = value.map_or(Variable::TooLarge, |value| {
            Variable::Usable(Arc::from(value))
        });
        self.variables.retain(|(present, _)| **present != *name);
        self.variables.push((name.into(), variable));
        self
    }

    fn find(&self, name: &str) -> Option<&Variable> {
        self.variables
            .iter()
            .find(|(present, _)| **present == *name)
            .map(|(_, variable)| variable)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.variables.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Lends the variables to an evaluation, so that claims are converted once a request and not once an expression.
impl VariableResolver for Scope {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        match self.find(name)? {
            Variable::Usable(value) => Some(CowVal::Borrowed(value.as_ref())),
            Variable::TooLarge => None,
        }
    }
}

/// `None` when some list or map has more than [`MAX_ITEMS`] entries.
///
/// Not the `cel` crate's own conversion: that makes positive integers `uint`, so that `claims.exp - 3600` fails.
fn from_json(value: &Value) -> Option<Box<dyn Val>> {
    Some(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Box::new(CelInt::from(value)),
            (None, Some(value), _) => Box::new(CelUInt::from(value)),
            (None, None, value) => Box::new(CelDouble::from(value.unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Array(items) if items.len() > MAX_ITEMS => return None,
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(from_json).collect();
            Box::new(CelList::from(items?))
        }
        Value::Object(members) => map(members.iter())?,
    })
}

/// As [`from_json`], of the members of an object.
fn map<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>) -> Option<Box<dyn Val>> {
    let most = members.size_hint().1.unwrap_or_default();
    let mut map = HashMap::with_capacity(most.min(MAX_ITEMS));
    for (key, value) in members {
        if map.len() == MAX_ITEMS {
            return None;
        }
        map.insert(key.clone().into(), from_json(value)?);
    }
    Some(Box::new(CelMap::from(map)))
}

fn to_json(value: &cel::Value) -> Result<Value, EvalError> {
    match value {
        cel::Value::Null => Ok(Value::Null),
        cel::Value::Bool(value) => Ok(Value::from(*value)),
        cel::Value::Int(value) => Ok(Value::from(*value)),
        cel::Value::UInt(value) => Ok(Value::from(*value)),
        cel::Value::Float(value) => serde_json::Number::from_f64(*value)
            .map(Value::Number)
            .ok_or_else(|| EvalError::new("gives a number that is not finite")),
        cel::Value::String(text) => Ok(Value::from(text.as_str())),
        cel::Value::List(items) => items.iter().map(to_json).collect(),
        cel::Value::Map(map) => map
            .map
            .iter()
            .map(|(key, value)| match key {
                Key::String(key) => Ok((key.to_string(), to_json(value)?)),
                Key::Int(_) | Key::Uint(_) | Key::Bool(_) => {
                    Err(EvalError::new("gives a map with keys that are no strings"))
                }
            })
            .collect(),
        other => Err(EvalError::new(match other.type_of() {
            ValueType::Opaque => {
                "gives an optional or a type: end an optional with `.orValue(…)`".to_owned()
            }
            kind => format!("gives a value of type {kind}, which has no JSON form"),
        })),
    }
}
