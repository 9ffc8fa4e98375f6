//! What only `doctor` asks: the trial allowance, capacities, gateways, and who may do what in a workspace.
//!
//! Nothing here is remembered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{CallKind, Request};
use super::fact_cache::{Lookup, LookupContext, Reader};
use super::reads::{self, Collection};
use super::{Error, Freshness, PowerBi, wire};
use crate::plan::Workspace;

/// Time for one question.
const TIME: Duration = Duration::from_secs(10);

/// How much of a principal's embed-token allowance on shared capacity is used.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialUsage {
    /// `state` of the feature, such as `Enabled`.
    pub state: Option<String>,
    /// Percent used.
    pub percent: Option<f64>,
}

/// A workspace with what a token's safety does not need.
#[derive(Clone, Debug)]
pub struct WorkspaceDetails {
    /// What is known of it for every token.
    pub workspace: Arc<Workspace>,
    /// Its capacity.
    pub capacity_id: Option<String>,
    /// Id of the profile that asked.
    pub profile_id: Option<Arc<str>>,
}

/// A capacity that the principal may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its size, such as `F64`.
    pub sku: String,
    /// `Active`, `Suspended`, …; none: Power BI does not tell.
    pub state: Option<String>,
}

/// A data source of a dataset that is reached through a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySource {
    /// Id of the gateway.
    pub gateway: String,
    /// Id of the data source, when Power BI tells it.
    pub source: Option<String>,
}

/// Somebody with a right to a gateway's data source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUser {
    /// Object id, or e-mail address.
    pub identifier: String,
    /// `Read`, `ReadOverrideEffectiveIdentity` or `None`.
    pub right: Option<String>,
    /// The service principal profile that holds the right.
    pub profile_id: Option<String>,
}

/// Somebody with a right to a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceUser {
    /// E-mail address or object id.
    pub identifier: String,
    /// Its name.
    pub display_name: Option<String>,
    /// `Admin`, `Member`, `Contributor`, `Viewer` or `None`.
    pub access: Option<String>,
    /// `User`, `Group` or `App`.
    pub principal_type: Option<String>,
    /// The service principal profile that holds the right.
    pub profile_id: Option<String>,
}

impl PowerBi {
    /// The trial allowance of `principal`; also the cheapest proof that its Entra token works.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn trial_usage(&self, principal: &str) -> Result<TrialUsage, Error> {
        let client = self.client(principal)?;
        let mut url = client.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("availableFeatures(featureName='embedTrial')");
        }
        let request = Request {
            kind: CallKind::Diagnosis,
            url,
            profile: None,
            body: None,
        };
        let read = |body: &[u8]| reads::parse::<wire::Feature>(CallKind::Diagnosis, body);
        let feature = client
            .call(&request, Instant::now() + TIME, read)
            .await?
            .value;
        Ok(TrialUsage {
            state: feature.state,
            percent: feature.additional_info.and_then(|info| info.usage),
        })
    }

    /// The workspace, by id or name, as `principal` sees it when it acts as `profile`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn workspace_details(
        &self,
        principal: &str,
        profile: Option<&str>,
        workspace: &str,
    ) -> Result<WorkspaceDetails, Error> {
        let context = self.lookup_context(principal, profile).await?;
        let workspace = self.facts.workspace(&context, workspace).await?;
        let profile_id = context.profile.clone();
        let (details, _) = reader(context)
            .one::<wire::Workspace>(CallKind::Diagnosis, &["groups", &workspace.id])
            .await?;
        Ok(WorkspaceDetails {
            workspace,
            capacity_id: details.capacity_id,
            profile_id,
        })
    }

    /// Who has which right to `workspace`, seen by `principal` as `profile`; both by id or name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn workspace_users(
        &self,
        principal: &str,
        profile: Option<&str>,
        workspace: &str,
    ) -> Result<Vec<WorkspaceUser>, Error> {
        let context = self.lookup_context(principal, profile).await?;
        let workspace = self.facts.workspace(&context, workspace).await?;
        let path = ["groups", &workspace.id, "users"];
        let (users, _) = reader(context)
            .all(
                CallKind::Diagnosis,
                &path,
                Collection::Paged,
                // A principal stands there once for itself and once for each of its profiles.
                |user: &wire::User| {
                    let profile = user.profile.as_ref();
                    profile.map_or(&user.identifier, |profile| &profile.id)
                },
            )
            .await?;
        Ok(users.into_iter().map(WorkspaceUser::from).collect())
    }

    /// The capacities that `principal` has rights on; a profile has those of its principal.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn capacities(
        &self,
        principal: &str,
        profile: Option<&str>,
    ) -> Result<Vec<Capacity>, Error> {
        let context = self.lookup_context(principal, profile).await?;
        let (capacities, _) = reader(context)
            .all::<wire::Capacity>(
                CallKind::Diagnosis,
                &["capacities"],
                Collection::Whole,
                |one| &one.id,
            )
            .await?;
        Ok(capacities.into_iter().map(Capacity::from).collect())
    }

    /// The Analysis Services sources of a dataset that are reached through a gateway.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn gateway_sources(
        &self,
        principal: &str,
        profile: Option<&str>,
        workspace: &str,
        dataset: &str,
    ) -> Result<Vec<GatewaySource>, Error> {
        let context = self.lookup_context(principal, profile).await?;
        let path = ["groups", workspace, "datasets", dataset, "datasources"];
        let (sources, _) = reader(context)
            .one::<wire::Page<wire::DataSource>>(CallKind::Diagnosis, &path)
            .await?;
        let live = sources.value.into_iter().filter(|source| {
            source
                .datasource_type
                .eq_ignore_ascii_case("AnalysisServices")
        });
        Ok(live
            .filter_map(|source| {
                Some(GatewaySource {
                    gateway: source.gateway_id.filter(|id| !id.is_empty())?,
                    source: source.datasource_id,
                })
            })
            .collect())
    }

    /// Whether `principal` administers the gateway: nobody else can read it.
    ///
    /// # Errors
    /// See [`Error`]; a refusal is none.
    pub async fn administers_gateway(&self, principal: &str, gateway: &str) -> Result<bool, Error> {
        let context = self.lookup_context(principal, None).await?;
        let read = reader(context)
            .one::<wire::Gateway>(CallKind::Diagnosis, &["gateways", gateway])
            .await;
        match read {
            Ok((found, _)) => Ok(found.id.eq_ignore_ascii_case(gateway)),
            Err(Error::Rejected { .. } | Error::ItemUnavailable { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Who has which right to a gateway's data source; only administrators of the gateway can read it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn gateway_users(
        &self,
        principal: &str,
        gateway: &str,
        source: &str,
    ) -> Result<Vec<GatewayUser>, Error> {
        let context = self.lookup_context(principal, None).await?;
        let path = ["gateways", gateway, "datasources", source, "users"];
        let (users, _) = reader(context)
            .one::<wire::Page<wire::GatewayUser>>(CallKind::Diagnosis, &path)
            .await?;
        Ok(users.value.into_iter().map(GatewayUser::from).collect())
    }

    /// Whether the report of that id is a paginated one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn is_paginated(
        &self,
        principal: &str,
        profile: Option<&str>,
        workspace: &str,
        report: &str,
    ) -> Result<bool, Error> {
        let context = self.lookup_context(principal, profile).await?;
        let workspace = self.facts.workspace(&context, workspace).await?;
        let report = self.facts.report(&context, &workspace.id, report).await?;
        Ok(report.paginated)
    }

    async fn lookup_context(
        &self,
        principal: &str,
        profile: Option<&str>,
    ) -> Result<LookupContext, Error> {
        let deadline = Instant::now() + TIME;
        let mut context = LookupContext {
            client: Arc::clone(self.client(principal)?),
            profile: None,
            ages: self.facts.ages,
            lookup: Lookup::new(Freshness::Cached, deadline),
        };
        if let Some(profile) = profile {
            context.profile = Some(self.facts.profile(&context, profile).await?);
        }
        Ok(context)
    }
}

fn reader(context: LookupContext) -> Reader {
    Reader {
        client: context.client,
        profile: context.profile,
        deadline: Instant::now() + TIME,
    }
}

impl From<wire::User> for WorkspaceUser {
    fn from(user: wire::User) -> Self {
        Self {
            identifier: user.identifier,
            display_name: user.display_name,
            access: user.group_user_access_right,
            principal_type: user.principal_type,
            profile_id: user.profile.map(|profile| profile.id),
        }
    }
}

impl From<wire::Capacity> for Capacity {
    fn from(capacity: wire::Capacity) -> Self {
        Self {
            id: capacity.id,
            name: capacity.display_name.unwrap_or_default(),
            sku: capacity.sku.unwrap_or_default(),
            state: capacity.state,
        }
    }
}

impl From<wire::GatewayUser> for GatewayUser {
    fn from(user: wire::GatewayUser) -> Self {
        Self {
            identifier: user.identifier.or(user.email_address).unwrap_or_default(),
            right: user.datasource_access_right,
            profile_id: user.profile.map(|profile| profile.id),
        }
    }
}
