//! The decision, in the order of the contract: permission of every item, then whether the request fits the items, then
//! whether they can be combined, then the identities. `decide`, `catalogue`, `explain` and the cases all come here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Datasets, Item, Permission, Report, Rule, Shown, Term};
use super::permit::{Permit, Whereabouts, combinable, not_permitted, right, unfit};
use super::session::Session;
use super::{Ask, Content, DatasetSetting, Denied, Grant, Identity};

impl<'a> Session<'a> {
    /// Decides a whole request.
    ///
    /// # Errors
    /// See [`Denied`].
    pub(super) fn decide(&mut self, ask: &Ask) -> Result<Vec<Grant>, Denied> {
        let mut permits: Vec<Permit<'a>> = Vec::with_capacity(ask.items.len());
        for name in &ask.items {
            if permits.iter().all(|permit| *permit.item.name != **name) {
                let permit = self.permit(name)?;
                permit.covers(ask)?;
                permits.push(permit);
            }
        }
        let Some(first) = permits.first() else {
            let cause = "the request names no item".to_owned();
            return Err(not_permitted("", None, cause));
        };
        if ask.target.is_some() && permits.len() > 1 {
            return Err(unfit(first.item, "`target` goes with a single item"));
        }
        for permit in &permits {
            permit.fits(ask)?;
        }
        combinable(&permits)?;
        permits
            .into_iter()
            .map(|permit| self.grant(permit, ask))
            .collect()
    }

    /// Decides about an item whose target is still to be chosen.
    ///
    /// # Errors
    /// See [`Policy::decide_targets`](super::Policy::decide_targets).
    pub(super) fn decide_targets(&mut self, name: &str) -> Result<Grant, Denied> {
        let permit = self.permit(name)?;
        if permit.item.needs_target() {
            self.grant(permit, &Ask::default())
        } else {
            Err(unfit(permit.item, "it takes no `target`"))
        }
    }

    /// Whether the caller may embed an item at all.
    ///
    /// # Errors
    /// [`Denied::NotPermitted`].
    pub(super) fn permit(&mut self, name: &str) -> Result<Permit<'a>, Denied> {
        let Some(item) = self.policy.item(name) else {
            let cause = "there is no such item".to_owned();
            return Err(not_permitted(name, None, cause));
        };
        let rule = self
            .first_match(item)
            .map_err(|(rule, cause)| not_permitted(name, rule, cause))?;
        let denied = |cause| not_permitted(name, Some(rule), cause);
        let Some(permission) = &rule.permission else {
            return Err(denied("the rule denies".to_owned()));
        };
        for tables in [&item.tables, &rule.tables] {
            if let Some(cause) = self.missing_row(tables) {
                return Err(denied(cause));
            }
        }
        let place = self.whereabouts(item).map_err(denied)?;
        let permit = self.permit_at(item, rule, permission, place);
        permit.keeps_apart().map_err(denied)?;
        Ok(permit)
    }

    /// What `rule` gives at `place`.
    pub(super) fn permit_at(
        &mut self,
        item: &'a Item,
        rule: &'a Rule,
        permission: &'a Permission,
        place: Whereabouts,
    ) -> Permit<'a> {
        let saved_into = if place.found_by_name(item) {
            self.saved_into(&place.workspace)
        } else {
            Arc::default()
        };
        let found_by_name_in = match place.destination() {
            Some(into) if item.saves_into(permission).is_some() => self.found_by_name_in(into),
            Some(_) | None => Arc::default(),
        };
        Permit {
            item,
            rule,
            permission,
            place,
            saved_into,
            found_by_name_in,
        }
    }

    pub(super) fn whereabouts(&mut self, item: &Item) -> Result<Whereabouts, String> {
        let principal = self.reference(&item.principal, item, "principal")?;
        if !self.policy.principals.contains(&principal) {
            return Err("`principal` gives none that is configured".to_owned());
        }
        Ok(Whereabouts {
            content: self.content(item)?,
            workspace: self.reference(&item.workspace, item, "workspace")?,
            principal,
            profile: self.optional(item.profile.as_ref(), item, "profile")?,
            dataset_workspace: self.optional(
                item.dataset_workspace.as_ref(),
                item,
                "dataset_workspace",
            )?,
            save_as_workspace: self.optional(
                item.save_as_workspace.as_ref(),
                item,
                "save_as_workspace",
            )?,
            datasets: self.datasets(item)?,
        })
    }

    /// A reference that must not be null or empty, whatever the expression says.
    fn reference(&mut self, term: &Term, item: &Item, key: &str) -> Result<String, String> {
        match self.text(term, item) {
            Ok(text) if text.is_empty() => Err(format!("`{key}` is empty")),
            Ok(text) => Ok(text),
            Err(cause) => Err(format!("`{key}`: {cause}")),
        }
    }

    fn optional(
        &mut self,
        term: Option<&Term>,
        item: &Item,
        key: &str,
    ) -> Result<Option<String>, String> {
        term.map(|term| self.reference(term, item, key)).transpose()
    }

    fn content(&mut self, item: &Item) -> Result<Content, String> {
        let mut part = |term, key| self.reference(term, item, key);
        Ok(match &item.shown {
            Shown::Report(Report::Fixed(report)) => Content::Report {
                report: part(report, "report")?,
            },
            Shown::PaginatedReport(Report::Fixed(report)) => Content::PaginatedReport {
                report: part(report, "report")?,
            },
            Shown::Report(Report::Target) => Content::Report {
                report: String::new(),
            },
            Shown::PaginatedReport(Report::Target) => Content::PaginatedReport {
                report: String::new(),
            },
            Shown::Dashboard { dashboard } => Content::Dashboard {
                dashboard: part(dashboard, "dashboard")?,
            },
            Shown::Tile { dashboard, tile } => Content::Tile {
                dashboard: part(dashboard, "dashboard")?,
                tile: part(tile, "tile")?,
            },
            Shown::Qna { dataset } => Content::Qna {
                dataset: part(dataset, "dataset")?,
            },
            Shown::CreateReport {
                dataset,
                target_workspace,
            } => Content::CreateReport {
                dataset: part(dataset, "dataset")?,
                target_workspace: part(target_workspace, "target_workspace")?,
            },
            Shown::Visual {
                report,
                page,
                visual,
            } => Content::Visual {
                report: part(report, "report")?,
                page: page.clone(),
                visual: visual.clone(),
            },
        })
    }

    fn datasets(&mut self, item: &Item) -> Result<Arc<[DatasetSetting]>, String> {
        let datasets = match &item.datasets {
            Datasets::Known(datasets) => return Ok(Arc::clone(datasets)),
            Datasets::Evaluated(datasets) => datasets,
        };
        datasets
            .iter()
            .map(|(setting, workspace)| {
                let mut setting = setting.clone();
                if let Some(workspace) = workspace {
                    setting.workspace =
                        Some(self.reference(workspace, item, "datasets[].workspace")?);
                }
                Ok(setting)
            })
            .collect()
    }

    /// The last step: the identities.
    fn grant(&mut self, permit: Permit<'a>, ask: &Ask) -> Result<Grant, Denied> {
        let (item, rule, permission) = (permit.item, permit.rule, permit.permission);
        let unmappable = |cause| Denied::IdentityUnmappable {
            item: item.name.to_string(),
            rule: Arc::clone(&rule.name),
            cause,
        };
        let identity = self
            .identity(permission.identity.as_ref(), item)
            .map_err(|cause| unmappable(format!("identity.{cause}")))?;
        let mut dataset_identities = BTreeMap::new();
        for (dataset, own) in &permission.dataset_identities {
            let own = self
                .identity(own.as_ref(), item)
                .map_err(|cause| unmappable(format!("dataset_identities.{dataset}.{cause}")))?;
            dataset_identities.insert(dataset.clone(), own);
        }
        Ok(grant_of(permit, ask, identity, dataset_identities))
    }
}

/// What a permit comes to for `ask`, with these identities.
pub(super) fn grant_of(
    permit: Permit<'_>,
    ask: &Ask,
    identity: Option<Identity>,
    dataset_identities: BTreeMap<String, Option<Identity>>,
) -> Grant {
    let Permit {
        item,
        rule,
        permission,
        place,
        saved_into,
        found_by_name_in,
    } = permit;
    Grant {
        item: Arc::clone(&item.name),
        kind: item.kind,
        rule: Arc::clone(&rule.name),
        access: right(item.kind, ask.access),
        save_as: ask.save_as,
        content: place.content.aimed_at(ask.target.as_deref()),
        workspace: place.workspace,
        dataset_workspace: place.dataset_workspace,
        save_as_workspace: place.save_as_workspace,
        principal: place.principal,
        profile: place.profile,
        workspace_version: item.workspace_version,
        security: item.security,
        xmla: item.xmla,
        datasets: place.datasets,
        dataset_binding: item.dataset_binding.clone(),
        paginated_visuals: Arc::clone(&item.paginated_visuals),
        identity,
        dataset_identities,
        saved_into,
        found_by_name_in,
        lifetime: permission.lifetime,
        embed: Arc::clone(&item.embed),
    }
}
