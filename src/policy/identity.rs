//! Evaluates a rule's identity for one caller, within the limits of Power BI.
//!
//! A part that the rule names is never dropped or shortened: an error, a null or a wrong type ends the decision.

use serde_json::Value;

use super::Identity;
use super::limits;
use super::model::{self, Item, Roles, Term};
use super::session::{Session, type_name};

impl Session<'_> {
    /// An effective identity; `None`: the rule gives none.
    ///
    /// # Errors
    /// The part that cannot be made for this caller, and why.
    pub(super) fn identity(
        &mut self,
        identity: Option<&model::Identity>,
        item: &Item,
    ) -> Result<Option<Identity>, String> {
        let Some(identity) = identity else {
            return Ok(None);
        };
        Ok(Some(Identity {
            username: self.part(
                identity.username.as_ref(),
                item,
                "username",
                limits::not_empty,
            )?,
            roles: self
                .roles(&identity.roles, item)
                .map_err(|cause| format!("roles: {cause}"))?,
            custom_data: self.part(
                identity.custom_data.as_ref(),
                item,
                "custom_data",
                limits::custom_data,
            )?,
            auditable_context: self.part(
                identity.auditable_context.as_ref(),
                item,
                "auditable_context",
                limits::not_empty,
            )?,
            identity_blob: identity.blob.clone(),
            datasource_identities: identity.datasource_identities.clone(),
        }))
    }

    /// A part of an identity that the rule names: null is a value of the wrong type, not an omission.
    fn part(
        &mut self,
        term: Option<&Term>,
        item: &Item,
        key: &str,
        check: fn(&str) -> Result<(), &'static str>,
    ) -> Result<Option<String>, String> {
        let Some(term) = term else {
            return Ok(None);
        };
        let text = self
            .text(term, item)
            .map_err(|cause| format!("{key}: {cause}"))?;
        check(&text).map_err(|problem| format!("{key}: {problem}"))?;
        Ok(Some(text))
    }

    /// The roles, without repeats.
    ///
    /// # Errors
    /// Why there are none to be had, without any of them.
    pub(super) fn roles(&mut self, roles: &Roles, item: &Item) -> Result<Vec<String>, String> {
        let mut found: Vec<String> = Vec::new();
        let mut add = |role: &Value| {
            let Value::String(role) = role else {
                return Err(format!("a role is {}, not a string", type_name(role)));
            };
            limits::role(role)?;
            if !found.contains(role) {
                found.push(role.clone());
            }
            if found.len() > limits::MAX_ROLES {
                return Err(format!("there are more than {} roles", limits::MAX_ROLES));
            }
            Ok(())
        };
        match roles {
            Roles::Whole(term) => match self.value(term, item)? {
                Value::Array(roles) => roles.iter().try_for_each(&mut add)?,
                other => {
                    return Err(format!(
                        "the expression gives {}, not a list",
                        type_name(&other)
                    ));
                }
            },
            Roles::List(terms) => {
                for term in terms {
                    match self.value(term, item)? {
                        Value::Array(roles) => roles.iter().try_for_each(&mut add)?,
                        role => add(&role)?,
                    }
                }
            }
        }
        Ok(found)
    }
}
