//! What a compiled expression must not contain, found by one walk over its tree.
//!
//! CEL has no cost limit and this implementation no type checker: an unknown function or a misspelt name would fail
//! only when somebody signs in, and three nested loops over 200 groups run for seconds. So names, functions (with
//! their number of arguments), literal patterns and the nesting of loops are checked when the policy is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, operators,
};
use cel::{Context, Env, ExecutionError, Value};

use super::{CompileError, Reads};

/// Names of CEL's types, as in `type(claims.groups) == list`.
const TYPES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// Functions called as `f(x)`, with the numbers of arguments they take.
const FUNCTIONS: [(&str, &[usize]); 16] = [
    ("bool", &[1]),
    ("bytes", &[1]),
    ("double", &[1]),
    ("duration", &[1]),
    ("dyn", &[1]),
    ("int", &[1]),
    ("matches", &[2]),
    ("optional.none", &[0]),
    ("optional.of", &[1]),
    ("optional.ofNonZeroValue", &[1]),
    ("size", &[1]),
    ("string", &[1]),
    ("strings.quote", &[1]),
    ("timestamp", &[1]),
    ("type", &[1]),
    ("uint", &[1]),
];

/// Functions called as `x.f(…)`, with the numbers of arguments they take beside `x`. The `get…` are those of timestamps,
/// with a time zone or without, and of durations.
const METHODS: [(&str, &[usize]); 31] = [
    ("charAt", &[1]),
    ("contains", &[1]),
    ("endsWith", &[1]),
    ("format", &[1]),
    ("getDate", &[0, 1]),
    ("getDayOfMonth", &[0, 1]),
    ("getDayOfWeek", &[0, 1]),
    ("getDayOfYear", &[0, 1]),
    ("getFullYear", &[0, 1]),
    ("getHours", &[0, 1]),
    ("getMilliseconds", &[0, 1]),
    ("getMinutes", &[0, 1]),
    ("getMonth", &[0, 1]),
    ("getSeconds", &[0, 1]),
    ("hasValue", &[0]),
    ("indexOf", &[1, 2]),
    ("join", &[0, 1]),
    ("lastIndexOf", &[1, 2]),
    ("lowerAscii", &[0]),
    ("matches", &[1]),
    ("or", &[1]),
    ("orValue", &[1]),
    ("replace", &[2, 3]),
    ("reverse", &[0]),
    ("size", &[0]),
    ("split", &[1, 2]),
    ("startsWith", &[1]),
    ("substring", &[1, 2]),
    ("trim", &[0]),
    ("upperAscii", &[0]),
    ("value", &[0]),
];

/// Operators and methods that give a bool: nothing of what they are applied to is in it.
const TESTS: [&str; 15] = [
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::IN,
    "contains",
    "endsWith",
    "hasValue",
    "matches",
    "startsWith",
];

/// What an accepted expression refers to.
#[derive(Default)]
pub(super) struct Found {
    /// The offered names that it uses, and what it reads of each.
    pub(super) uses: BTreeMap<String, Reads>,
    /// The keys that it spells out: `email` in `claims.email` and in `claims['email']`.
    pub(super) keys: BTreeSet<String>,
}

struct Walk<'a> {
    names: &'a [&'a str],
    env: &'a Arc<Env>,
    /// Variables of the comprehensions around the current node.
    bound: Vec<&'a str>,
    in_loop: bool,
    found: Found,
}

pub(super) fn check(
    expression: &IdedExpr,
    names: &[&str],
    env: &Arc<Env>,
) -> Result<Found, CompileError> {
    let mut walk = Walk {
        names,
        env,
        bound: Vec::new(),
        in_loop: false,
        found: Found::default(),
    };
    walk.visit(expression)?;
    Ok(walk.found)
}

impl<'a> Walk<'a> {
    fn visit(&mut self, node: &'a IdedExpr) -> Result<(), CompileError> {
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                self.found.keys.insert(select.field.clone());
                self.member(&select.operand, &select.field)
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.visit(item)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(entry)),
            Expr::Struct(literal) => Err(CompileError::new(format!(
                "there is no message type `{}`",
                literal.type_name
            ))),
            Expr::Unspecified => Err(CompileError::new("the expression is incomplete")),
        }
    }

    fn name(&mut self, name: &str) -> Result<(), CompileError> {
        if self.bound.contains(&name) {
            return Ok(());
        }
        if self.names.contains(&name) {
            self.used(name).add(&Reads::Whole);
            return Ok(());
        }
        if TYPES.contains(&name) {
            return Ok(());
        }
        Err(CompileError::new(format!(
            "unknown name `{name}`; expressions here may use {}",
            self.names.join(", ")
        )))
    }

    /// `operand.key`: the key is all that is read of a free name.
    fn member(&mut self, operand: &'a IdedExpr, key: &str) -> Result<(), CompileError> {
        if let Expr::Ident(name) = &operand.expr
            && self.names.contains(&name.as_str())
            && !self.bound.contains(&name.as_str())
        {
            self.used(name).add(&Reads::member(key));
            return Ok(());
        }
        self.visit(operand)
    }

    fn used(&mut self, name: &str) -> &mut Reads {
        self.found.uses.entry(name.to_owned()).or_default()
    }

    fn entry(&mut self, entry: &'a IdedEntryExpr) -> Result<(), CompileError> {
        match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key)?;
                self.visit(&entry.value)
            }
            EntryExpr::StructField(_) => Err(CompileError::new("a map has no field names")),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<(), CompileError> {
        // What people can type is a function; the parser's own names for operators are not of that form.
        if call
            .func_name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            self.function(call)?;
        } else if let Some((operand, key)) = member_by_index(call) {
            self.found.keys.insert(key.to_owned());
            return self.member(operand, key);
        }
        if let Some(target) = &call.target
            && qualified(call).is_none()
        {
            self.visit(target)?;
        }
        call.args
            .iter()
            .try_for_each(|argument| self.visit(argument))
    }

    fn function(&self, call: &CallExpr) -> Result<(), CompileError> {
        let name = &call.func_name;
        let known = |table: &[(&str, &'static [usize])], name: &str| {
            table
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, counts)| *counts)
        };
        let counts = match (&call.target, qualified(call)) {
            (_, Some(qualified)) => known(&FUNCTIONS, &qualified),
            (Some(_), None) => known(&METHODS, name),
            (None, None) => known(&FUNCTIONS, name),
        };
        let Some(counts) = counts else {
            return Err(CompileError::new(match &call.target {
                Some(_) if known(&FUNCTIONS, name).is_some() => {
                    format!("`{name}` is called as `{name}(x)`")
                }
                None if known(&METHODS, name).is_some() => {
                    format!("`{name}` is called as `x.{name}(…)`")
                }
                _ if ["has", "all", "exists", "exists_one", "filter", "map"]
                    .contains(&name.as_str()) =>
                {
                    format!("`{name}` has the wrong number of arguments")
                }
                _ => format!(
                    "unknown function `{name}`; there are CEL's standard functions and its strings extension"
                ),
            }));
        };
        if !counts.contains(&call.args.len()) {
            return Err(CompileError::new(format!(
                "`{name}` has the wrong number of arguments ({})",
                call.args.len()
            )));
        }
        if name == "matches" {
            self.pattern(call)
        } else {
            Ok(())
        }
    }

    /// Lets the evaluator itself try a pattern that stands in the expression.
    fn pattern(&self, call: &CallExpr) -> Result<(), CompileError> {
        let Some(pattern) = call
            .args
            .last()
            .filter(|argument| literal_text(argument).is_some())
        else {
            return Ok(());
        };
        let trial = IdedExpr {
            id: 0,
            expr: Expr::Call(CallExpr {
                func_name: "matches".to_owned(),
                target: None,
                args: vec![pattern.clone(), pattern.clone()],
            }),
        };
        match Value::resolve(&trial, &Context::with_env(Arc::clone(self.env))) {
            Ok(_) => Ok(()),
            Err(ExecutionError::FunctionError { message, .. }) => Err(CompileError::new(message)),
            Err(error) => Err(CompileError::new(error.to_string())),
        }
    }

    fn comprehension(&mut self, node: &'a ComprehensionExpr) -> Result<(), CompileError> {
        // `optMap` binds a name by a loop over nothing.
        let loops = !matches!(&node.iter_range.expr, Expr::List(list) if list.elements.is_empty());
        if loops && self.in_loop {
            return Err(CompileError::new(
                "a comprehension stands in another's body; chain them instead, as in `x.filter(…).map(…)`",
            ));
        }
        self.visit(&node.iter_range)?;
        self.visit(&node.accu_init)?;

        let (bound, in_loop) = (self.bound.len(), self.in_loop);
        self.bound.push(&node.accu_var);
        self.visit(&node.result)?;
        self.bound.push(&node.iter_var);
        self.bound.extend(node.iter_var2.as_deref());
        self.in_loop |= loops;
        self.visit(&node.loop_cond)?;
        self.visit(&node.loop_step)?;
        self.bound.truncate(bound);
        self.in_loop = in_loop;
        Ok(())
    }
}

/// Whether the value of `name.key` can become part of the value of `node`.
pub(super) fn passes_on(node: &IdedExpr, name: &str, key: &str) -> bool {
    let within = |node: &IdedExpr| passes_on(node, name, key);
    let is_name = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(ident) if ident == name);
    match &node.expr {
        Expr::Select(select) if select.test => false,
        Expr::Select(select) => {
            is_name(&select.operand) && select.field == key || within(&select.operand)
        }
        Expr::Call(call) if TESTS.contains(&call.func_name.as_str()) => false,
        Expr::Call(call) => {
            if let Some((operand, member)) = member_by_index(call)
                && is_name(operand)
            {
                return member == key;
            }
            let condition = usize::from(call.func_name == operators::CONDITIONAL);
            call.target.as_deref().is_some_and(within) || call.args[condition..].iter().any(within)
        }
        Expr::List(list) => list.elements.iter().any(within),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => within(&entry.value),
            EntryExpr::StructField(_) => false,
        }),
        // A loop's own variables may hide the name.
        Expr::Comprehension(node) => {
            within(&node.iter_range)
                || node.iter_var != name
                    && node.iter_var2.as_deref() != Some(name)
                    && within(&node.loop_step)
        }
        Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) | Expr::Unspecified => false,
    }
}

/// `operand['key']`, `operand[?'key']` or `operand.?key`, with the key as it stands there.
fn member_by_index(call: &CallExpr) -> Option<(&IdedExpr, &str)> {
    let by_index = [
        operators::INDEX,
        operators::OPT_INDEX,
        operators::OPT_SELECT,
    ]
    .contains(&call.func_name.as_str());
    match (&call.target, &call.args[..]) {
        (None, [operand, key]) if by_index => Some((operand, literal_text(key)?)),
        _ => None,
    }
}

/// The name of a function that is written like a method of its name space: `optional.of(x)`. As in the evaluator, the
/// name alone decides.
fn qualified(call: &CallExpr) -> Option<String> {
    let Expr::Ident(space) = &call.target.as_ref()?.expr else {
        return None;
    };
    let name = format!("{space}.{}", call.func_name);
    FUNCTIONS
        .iter()
        .any(|(known, _)| *known == name)
        .then_some(name)
}

fn literal_text(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
