//! The rules of GenerateToken that all six calls share, in the service's own words where those are known.
//!
//! Where the documents are silent the stricter reading was chosen: two identities for one dataset, ids in an identity
//! that the request does not list, and roles on a paginated report are refused.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::Call;
use super::mint::Draft;
use super::refusal::Refusal;
use crate::embed::EmbedToken;
use crate::rls;
use crate::seed::{Dataset, Report};
use crate::wire::{DatasourceIdentity, Identity};
use crate::world::World;

const MAX_ROLES: usize = 50;
const MAX_ROLE_LENGTH: usize = 50;
const MAX_USERNAME_LENGTH: usize = 256;
/// "Embed a report with an Azure Analysis Services live connection".
const MAX_CUSTOM_DATA_LENGTH: usize = 1024;

impl Draft {
    /// Models below composite models and paginated reports must be covered, everything with XMLA read-only
    /// ("Considerations when generating an embed token").
    pub(super) fn check_models_below(&self, world: &World) -> Result<(), Refusal> {
        let composite = self
            .grant
            .datasets
            .iter()
            .filter_map(|id| world.dataset(id));
        let over_models = composite
            .filter(|dataset| !dataset.upstream.is_empty())
            .map(|dataset| {
                let own = std::iter::once(dataset.id.clone());
                own.chain(dataset.upstream.iter().cloned())
                    .collect::<Vec<_>>()
            });
        let paginated = self.grant.reports.keys().filter_map(|id| world.report(id));
        let over_datasets = paginated.map(|report| report.source_datasets.clone());
        for id in over_models.chain(over_datasets).flatten() {
            if !self.grant.datasets.contains(&id) || !self.xmla.contains(&id) {
                return Err(Refusal::invalid(format!(
                    "Dataset {id} must be included in the request with xmlaPermissions ReadOnly"
                )));
            }
            let all_on_capacity = self
                .workspaces
                .iter()
                .all(|workspace| world.on_capacity(workspace));
            if !all_on_capacity {
                return Err(Refusal::invalid(
                    "XMLA permissions need a workspace on a capacity",
                ));
            }
        }
        Ok(())
    }

    /// Applies what all calls share, and mints.
    pub(super) fn mint(self, world: &World, call: &Call) -> Result<EmbedToken, Refusal> {
        if self.lifetime_in_minutes < 0 {
            return Err(Refusal::invalid(
                "lifetimeInMinutes must be a positive integer",
            ));
        }
        self.check_paginated(world, call)?;
        for identity in &self.identities {
            check_shape(identity, world)?;
        }
        self.check_coverage(world)?;
        for dataset in self
            .grant
            .datasets
            .iter()
            .filter_map(|id| world.dataset(id))
        {
            let who = EmbedToken::who(&self.identities, &self.datasource_identities, dataset);
            let impersonates = world.may_impersonate(&call.caller, dataset);
            rls::check(dataset, who, &call.caller, impersonates).map_err(Refusal::invalid)?;
        }
        let on_trial = self
            .workspaces
            .iter()
            .any(|workspace| !world.on_capacity(workspace));
        if on_trial && world.trial_usage >= 100 {
            return Err(Refusal::quota());
        }
        Ok(EmbedToken {
            token_id: uuid::Uuid::new_v4(),
            expires: expiry(self.lifetime_in_minutes, call.expires),
            caller: call.caller.clone(),
            grant: self.grant,
            identities: self.identities,
            datasource_identities: self.datasource_identities,
        })
    }

    /// "Embed paginated reports": a service principal, view only, on a capacity.
    fn check_paginated(&self, world: &World, call: &Call) -> Result<(), Refusal> {
        for (id, &edit) in &self.grant.reports {
            let Some(report) = world.report(id).filter(|report| report.is_paginated()) else {
                continue;
            };
            if call.caller.is_master_user() {
                return Err(Refusal::invalid(
                    "Paginated reports need a service principal",
                ));
            }
            if edit || !self.grant.targets.is_empty() {
                return Err(Refusal::invalid("A paginated report can be viewed only"));
            }
            if !world.on_capacity(&report.workspace) {
                return Err(Refusal::invalid(
                    "A paginated report needs a workspace on a capacity",
                ));
            }
        }
        Ok(())
    }

    /// Every identity must cover something of the request, and nothing twice.
    fn check_coverage(&self, world: &World) -> Result<(), Refusal> {
        let mut covered: BTreeMap<String, usize> = BTreeMap::new();
        for identity in &self.identities {
            if identity.datasets().is_empty() && identity.reports().is_empty() {
                return Err(Refusal::invalid(
                    "An effective identity must list datasets or reports",
                ));
            }
            for id in identity.datasets() {
                if !self.grant.datasets.contains(&id.to_ascii_lowercase()) {
                    return Err(Refusal::invalid(format!(
                        "The request does not cover dataset {id} of an identity"
                    )));
                }
                *covered.entry(id.to_ascii_lowercase()).or_default() += 1;
            }
            for id in identity.reports() {
                let paginated = world.report(id).is_some_and(Report::is_paginated);
                if !paginated || !self.grant.reports.contains_key(&id.to_ascii_lowercase()) {
                    return Err(Refusal::invalid(format!(
                        "The request does not cover paginated report {id} of an identity"
                    )));
                }
                *covered.entry(id.to_ascii_lowercase()).or_default() += 1;
            }
        }
        if let Some((id, _)) = covered.iter().find(|(_, times)| **times > 1) {
            return Err(Refusal::invalid(format!("Several identities for {id}")));
        }
        let unknown = |identity: &&DatasourceIdentity| {
            let datasets = self
                .grant
                .datasets
                .iter()
                .filter_map(|id| world.dataset(id));
            let reports = self.grant.reports.keys().filter_map(|id| world.report(id));
            let mut sources = datasets
                .flat_map(|dataset| &dataset.datasources)
                .chain(reports.flat_map(|report| &report.datasources));
            identity.blob.is_empty() || !sources.any(|source| identity.names(source))
        };
        match self.datasource_identities.iter().find(unknown) {
            None => Ok(()),
            Some(_) => Err(Refusal::invalid(
                "A datasource identity names no data source of the request",
            )),
        }
    }
}

/// Limits of one `EffectiveIdentity` (Microsoft's API description).
fn check_shape(identity: &Identity, world: &World) -> Result<(), Refusal> {
    let username = identity.username.as_deref().unwrap_or_default();
    let roles = identity.roles();
    let for_model = !identity.datasets().is_empty();
    let sso_alone = identity.blob.is_some()
        || identity
            .datasets()
            .iter()
            .all(|id| world.dataset(id).is_some_and(Dataset::is_sso));
    let bad_role = |role: &&String| {
        role.is_empty() || role.contains(',') || role.chars().count() > MAX_ROLE_LENGTH
    };
    let problem = if username.is_empty() && !(for_model && sso_alone) {
        "username is required in an effective identity"
    } else if username.chars().count() > MAX_USERNAME_LENGTH {
        "username is longer than 256 characters"
    } else if for_model && (!username.is_ascii() || username.contains(char::is_whitespace)) {
        // The official example of a paginated report has a space.
        "username must be ASCII without spaces"
    } else if roles.len() > MAX_ROLES {
        "An effective identity can have 50 roles at most"
    } else if roles.iter().find(bad_role).is_some() {
        "A role must have 1 to 50 characters and no comma"
    } else if !identity.reports().is_empty()
        && (!roles.is_empty() || identity.custom_data.is_some())
    {
        "The identity of a paginated report has a username only"
    } else if identity
        .custom_data
        .as_ref()
        .is_some_and(|data| data.chars().count() > MAX_CUSTOM_DATA_LENGTH)
    {
        "customData is longer than 1024 characters"
    } else if identity
        .blob
        .as_ref()
        .is_some_and(|blob| blob.value.is_empty())
    {
        "identityBlob is empty"
    } else {
        return Ok(());
    };
    Err(Refusal::invalid(problem))
}

/// A lifetime can only shorten what is left of the Entra token; 0 is none.
fn expiry(minutes: i64, entra: OffsetDateTime) -> OffsetDateTime {
    let wanted = match minutes {
        0 => entra,
        minutes => OffsetDateTime::now_utc() + Duration::minutes(minutes.min(60 * 24 * 365)),
    };
    wanted.min(entra).truncate_to_second()
}
