//! CEL behind one small type: compile with limits at load, evaluate to JSON.
//!
//! Why CEL: it is what Kubernetes' `AuthenticationConfiguration`, AKS and Google's workload identity federation use for
//! the same job. The `cel` crate breaks its API with every minor release, so nothing else in this crate names it.
//!
//! Limits, checked at compile time because an evaluation cannot be cancelled: at most [`MAX_LENGTH`] characters, no
//! comprehension in another's body, only CEL's standard functions and the `strings` extension, no free name but the
//! ones that the caller offers.

use serde_json::Value;

/// Longest expression, in characters; the limit of Google's workload identity federation.
pub const MAX_LENGTH: usize = 2048;

/// A compiled expression.
pub struct Expr {
    source: String,
}

/// The variables of one evaluation; cheap to clone, converted from JSON once.
#[derive(Clone)]
pub struct Scope {}

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

impl Expr {
    /// Compiles `source`, which may use the free names `names` and no other.
    ///
    /// # Errors
    /// Syntax, limits, unknown names and unknown functions.
    pub fn compile(source: &str, names: &[&str]) -> Result<Self, CompileError> {
        let _ = names;
        Ok(Self {
            source: source.to_owned(),
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
        let _ = name;
        unimplemented!()
    }

    /// Evaluates to JSON.
    ///
    /// # Errors
    /// A missing claim, a wrong type, an overflow, or a value that has no JSON form.
    pub fn eval(&self, scope: &Scope) -> Result<Value, EvalError> {
        let _ = scope;
        unimplemented!()
    }

    /// Evaluates to a boolean; anything else is an error.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and when the value is no boolean.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, EvalError> {
        let _ = scope;
        unimplemented!()
    }
}

impl Scope {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Adds or replaces a variable. Integers become CEL `int`s, so that arithmetic with literals works.
    #[must_use]
    pub fn with(self, name: &str, value: &Value) -> Self {
        let _ = (name, value);
        self
    }
}
