//! What a rule gives at a place, to nobody in particular.

use std::collections::BTreeMap;

use super::Probe;
use crate::policy::decide::grant_of;
use crate::policy::model::{self, Item, Permission, Roles, Term};
use crate::policy::permit::Permit;
use crate::policy::session::Session;
use crate::policy::{Ask, Identity};

/// Stands in for a name that only a caller's claims give. Every source takes it, and nobody has it.
const SOMEBODY: &str = "somebody@embed-broker.invalid";

/// Stands in for a role.
const SOME_ROLE: &str = "some role";

/// A look at the policy without a caller.
pub(super) struct Look<'a> {
    pub(super) session: Session<'a>,
    /// The table whose row is known.
    pub(super) table: Option<usize>,
    pub(super) assumed: bool,
}

impl Look<'_> {
    /// What a rule gives to somebody, at its widest; `None`: nothing that the item's kind can have.
    pub(super) fn probe(&mut self, permit: Permit<'_>) -> Option<Probe> {
        let access = permit.rights().last().copied()?;
        let ask = Ask {
            access: Some(access),
            save_as: permit.offers_copies(),
            ..Ask::default()
        };
        self.assumed = false;
        let Permission {
            identity,
            dataset_identities,
            ..
        } = permit.permission;
        let item = permit.item;
        let identity = self.supposed(identity.as_ref(), item);
        let dataset_identities: BTreeMap<_, _> = dataset_identities
            .iter()
            .map(|(dataset, own)| (dataset.clone(), self.supposed(own.as_ref(), item)))
            .collect();
        Some(Probe {
            grant: grant_of(permit, &ask, identity, dataset_identities),
            target: None,
            assumed: self.assumed,
        })
    }

    /// The identity with values that stand in for what only claims give.
    fn supposed(&mut self, identity: Option<&model::Identity>, item: &Item) -> Option<Identity> {
        let identity = identity?;
        Some(Identity {
            username: self.text(identity.username.as_ref(), item),
            roles: self.roles(&identity.roles, item),
            custom_data: self.text(identity.custom_data.as_ref(), item),
            auditable_context: self.text(identity.auditable_context.as_ref(), item),
            identity_blob: identity.blob.clone(),
            datasource_identities: identity.datasource_identities.clone(),
        })
    }

    fn text(&mut self, term: Option<&Term>, item: &Item) -> Option<String> {
        let term = term?;
        let known = self.is_known(term).then(|| self.session.text(term, item));
        if let Some(Ok(text)) = known {
            return Some(text);
        }
        self.assumed = true;
        Some(SOMEBODY.to_owned())
    }

    fn roles(&mut self, roles: &Roles, item: &Item) -> Vec<String> {
        let terms = match roles {
            Roles::List(terms) => terms.iter().collect(),
            Roles::Whole(term) => vec![term],
        };
        if terms.iter().all(|term| self.is_known(term))
            && let Ok(roles) = self.session.roles(roles, item)
        {
            return roles;
        }
        self.assumed = true;
        let literal = terms.iter().filter_map(|term| term.literal());
        literal.chain([SOME_ROLE]).map(ToOwned::to_owned).collect()
    }

    /// Whether a term says the same for every caller who has this row.
    fn is_known(&self, term: &Term) -> bool {
        let tables = self.session.policy.tables.iter().enumerate();
        let others = tables.filter(|(index, _)| Some(*index) != self.table);
        let unknown = others.map(|(_, table)| &*table.name);
        !["claims", "issuer"]
            .into_iter()
            .chain(unknown)
            .any(|variable| term.uses(variable))
    }
}
