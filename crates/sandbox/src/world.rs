//! The contents of the simulated Power BI at this moment, and who may see which part of them.
//!
//! Starts as the seed and changes only by the control path (`/sandbox/...`) and by reports that people save. A caller
//! is a principal or one of its profiles; the two never see each other's workspaces, as in Power BI itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::seed::{
    Dashboard, Dataset, Gateway, Member, Persona, Profile, Report, Right, Seed, Workspace,
    WorkspaceKind,
};

/// Whoever calls the REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// A service principal or a user.
    pub(super) kind: CallerKind,
    /// Object id of the principal, or name of the user.
    pub(super) who: String,
    /// The profile that it acts as.
    pub(super) profile: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerKind {
    App,
    MasterUser,
}

/// Everything that the simulated Power BI knows.
pub(super) struct World {
    pub(super) personas: Vec<Persona>,
    pub(super) profiles: Vec<Profile>,
    pub(super) capacities: Vec<Value>,
    pub(super) gateways: Vec<Gateway>,
    /// In the order in which the API lists them.
    pub(super) workspaces: Vec<Workspace>,
    pub(super) datasets: BTreeMap<String, Dataset>,
    pub(super) reports: BTreeMap<String, Report>,
    pub(super) dashboards: BTreeMap<String, Dashboard>,
    /// Percent of the trial allowance that is used up.
    pub(super) trial_usage: u32,
    /// Longest page of a collection.
    pub(super) page_size: usize,
    pub(super) tenant: TenantSwitches,
}

/// Switches of the tenant's admin portal, "Developer settings".
#[derive(Clone, Copy)]
pub(super) struct TenantSwitches {
    /// "Service principals can call Fabric public APIs".
    pub(super) service_principals: bool,
    /// "Allow service principals to create and use profiles".
    pub(super) profiles: bool,
}

impl Caller {
    /// The name that Azure Analysis Services knows the caller by.
    pub(super) fn principal_name(&self) -> &str {
        self.profile.as_deref().unwrap_or(&self.who)
    }

    pub(super) fn is_master_user(&self) -> bool {
        self.kind == CallerKind::MasterUser
    }
}

impl World {
    pub(super) fn new(seed: &Seed, page_size: usize) -> Self {
        let mut world = Self {
            personas: seed.personas.clone(),
            profiles: filler_profiles(seed)
                .chain(seed.profiles.iter().cloned())
                .collect(),
            capacities: seed.capacities.clone(),
            gateways: seed.gateways.clone(),
            workspaces: filler_workspaces(seed).collect(),
            datasets: BTreeMap::new(),
            reports: BTreeMap::new(),
            dashboards: BTreeMap::new(),
            trial_usage: 1,
            page_size,
            tenant: TenantSwitches {
                service_principals: true,
                profiles: true,
            },
        };
        for entry in &seed.workspaces {
            let workspace = entry.workspace.id.clone();
            world.workspaces.push(entry.workspace.clone());
            for dataset in &entry.datasets {
                let dataset = Dataset {
                    workspace: workspace.clone(),
                    ..dataset.clone()
                };
                world.datasets.insert(dataset.id.clone(), dataset);
            }
            for report in &entry.reports {
                let report = Report {
                    workspace: workspace.clone(),
                    ..report.clone()
                };
                world.reports.insert(report.id.clone(), report);
            }
            for dashboard in &entry.dashboards {
                let dashboard = Dashboard {
                    workspace: workspace.clone(),
                    ..dashboard.clone()
                };
                world.dashboards.insert(dashboard.id.clone(), dashboard);
            }
        }
        world
    }

    pub(super) fn workspace(&self, id: &str) -> Option<&Workspace> {
        self.workspaces
            .iter()
            .find(|workspace| workspace.id.eq_ignore_ascii_case(id))
    }

    /// The right of `caller` in a workspace; none: it does not see it.
    pub(super) fn right(&self, caller: &Caller, workspace: &str) -> Option<Right> {
        let is_caller =
            |member: &&Member| member.who == caller.who && member.profile == caller.profile;
        self.workspace(workspace)?
            .users
            .iter()
            .find(is_caller)
            .map(|member| member.right)
    }

    /// The workspaces that `caller` sees; My workspace is not listed.
    pub(super) fn visible_workspaces<'a>(
        &'a self,
        caller: &'a Caller,
    ) -> impl Iterator<Item = &'a Workspace> {
        self.workspaces.iter().filter(|workspace| {
            workspace.kind != WorkspaceKind::PersonalGroup
                && self.right(caller, &workspace.id).is_some()
        })
    }

    pub(super) fn dataset(&self, id: &str) -> Option<&Dataset> {
        self.datasets.get(&id.to_ascii_lowercase())
    }

    pub(super) fn report(&self, id: &str) -> Option<&Report> {
        self.reports.get(&id.to_ascii_lowercase())
    }

    pub(super) fn dashboard(&self, id: &str) -> Option<&Dashboard> {
        self.dashboards.get(&id.to_ascii_lowercase())
    }

    /// Whether `caller` administers the gateway; a profile never does ("Embed for multiple tenants").
    pub(super) fn administers(&self, caller: &Caller, gateway: &str) -> bool {
        let is_admin = |gateway: &Gateway| gateway.admins.contains(&caller.who);
        caller.profile.is_none() && self.gateway(gateway).is_some_and(is_admin)
    }

    pub(super) fn gateway(&self, id: &str) -> Option<&Gateway> {
        let same = |gateway: &&Gateway| gateway.id.eq_ignore_ascii_case(id);
        self.gateways.iter().find(same)
    }

    /// Whether `caller` may name somebody else to the on-premises server behind `dataset`: as admin of its gateway, or
    /// with `ReadOverrideEffectiveIdentity` on the data source ("SQL Server Analysis Services in embedded analytics").
    pub(super) fn may_impersonate(&self, caller: &Caller, dataset: &Dataset) -> bool {
        let name = caller.principal_name();
        let mut gateways = dataset
            .datasources
            .iter()
            .filter_map(|source| source["gatewayId"].as_str());
        dataset.impersonators.iter().any(|who| who == name)
            || gateways.any(|gateway| self.administers(caller, gateway))
    }

    /// Whether a workspace stands on a capacity.
    pub(super) fn on_capacity(&self, workspace: &str) -> bool {
        self.workspace(workspace)
            .is_some_and(|workspace| workspace.capacity.is_some())
    }
}

fn filler_workspaces(seed: &Seed) -> impl Iterator<Item = Workspace> {
    let member = Member {
        who: seed.fillers.owner.clone(),
        profile: None,
        right: Right::Admin,
    };
    (1..=seed.fillers.workspaces).map(move |n| Workspace {
        id: format!("50aceffe-0000-4000-8000-{n:012}"),
        name: format!("Customer {n:03}"),
        kind: WorkspaceKind::Workspace,
        capacity: None,
        users: vec![member.clone()],
    })
}

fn filler_profiles(seed: &Seed) -> impl Iterator<Item = Profile> {
    let owner = seed.fillers.owner.clone();
    (1..=seed.fillers.profiles).map(move |n| Profile {
        id: format!("940f11ef-0000-4000-8000-{n:012}"),
        display_name: format!("customer-{n:03}"),
        owner: owner.clone(),
    })
}
