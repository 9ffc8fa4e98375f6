//! Every workspace that an item touches: its own, its datasets', the one for copies. Is it there, is it one that can be
//! embedded, does the principal (or profile) hold the right to mint, does it stand on a capacity that works?

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _};

use super::AT_ONCE;
use super::causes;
use super::principals::Working;
use super::report::{Finding, Report, Subject};
use crate::app::Services;
use crate::plan::{MinterKind, WorkspaceKind};
use crate::policy::{Content, Grant, Survey, WorkspaceVersion};
use crate::powerbi::{Capacity, WorkspaceDetails, WorkspaceUser};

/// A workspace as somebody sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct View {
    /// Configured name of the principal.
    pub(super) principal: String,
    /// Profile, by id or name.
    pub(super) profile: Option<String>,
    /// Workspace, by id or name.
    pub(super) workspace: String,
    /// Whether policy says that it is a classic one.
    classic: bool,
}

/// The workspaces that are fit for minting, with whether each stands on a capacity.
pub(super) type Fit = BTreeMap<View, Option<bool>>;

/// What is known of one principal.
struct Standing<'a> {
    kind: &'a MinterKind,
    capacities: &'a [Capacity],
    trial_used: Option<f64>,
}

impl View {
    pub(super) fn of(grant: &Grant, workspace: &str) -> Self {
        Self {
            principal: grant.principal().to_owned(),
            profile: grant.profile().map(str::to_owned),
            workspace: workspace.to_owned(),
            classic: grant.workspace_version() == WorkspaceVersion::Classic,
        }
    }

    fn place(&self) -> String {
        format!("{}, {}", self.workspace, self.seen_by())
    }

    /// Who looks.
    pub(super) fn seen_by(&self) -> String {
        match &self.profile {
            None => format!("principal {}", self.principal),
            Some(profile) => format!("principal {} as profile {profile}", self.principal),
        }
    }
}

/// The workspaces that a grant touches.
pub(super) fn touched(grant: &Grant) -> Vec<View> {
    let mut all = vec![grant.workspace()];
    all.extend(grant.dataset_workspace());
    all.extend(
        grant
            .datasets()
            .iter()
            .filter_map(|dataset| dataset.workspace.as_deref()),
    );
    all.extend(grant.save_as_workspace().filter(|_| grant.save_as()));
    if let Content::CreateReport {
        target_workspace, ..
    } = grant.content()
    {
        all.push(target_workspace);
    }
    all.into_iter()
        .map(|workspace| View::of(grant, workspace))
        .collect()
}

/// Looks at every workspace of the survey whose principal works.
pub(super) async fn examine(
    services: &Services,
    survey: &Survey,
    working: &Working,
    report: &mut Report,
) -> Fit {
    let views: BTreeSet<View> = survey
        .items
        .iter()
        .flat_map(|item| &item.places)
        .flat_map(|place| &place.probes)
        .flat_map(|probe| touched(&probe.grant))
        .filter(|view| working.contains_key(&view.principal))
        .collect();
    let mut capacities = BTreeMap::new();
    for principal in working.keys() {
        // A profile has the rights of the principal that made it.
        let listed = services.powerbi.capacities(principal, None).await;
        capacities.insert(principal.as_str(), listed.unwrap_or_default());
    }
    let looks = views.into_iter().filter_map(|view| {
        let standing = Standing {
            kind: &services.minters.get(&view.principal)?.kind,
            capacities: capacities.get(view.principal.as_str())?,
            trial_used: working.get(&view.principal).copied().flatten(),
        };
        Some(look(services, view, standing))
    });
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    let mut fit = Fit::new();
    while let Some((view, finding, usable)) = looks.next().await {
        report.add(&finding);
        if let Some(on_capacity) = usable {
            fit.insert(view, on_capacity);
        }
    }
    fit
}

async fn look(
    services: &Services,
    view: View,
    standing: Standing<'_>,
) -> (View, Finding, Option<Option<bool>>) {
    let profile = view.profile.as_deref();
    let details = services
        .powerbi
        .workspace_details(&view.principal, profile, &view.workspace)
        .await;
    let outcome = match &details {
        Err(error) => Err(causes::of_call(error)),
        Ok(details) => {
            if let Some(unfit) = unfit(&view, details, standing.kind) {
                Err(unfit)
            } else {
                let id = &details.workspace.id;
                let users = services
                    .powerbi
                    .workspace_users(&view.principal, profile, id)
                    .await;
                users
                    .map_err(|error| causes::of_call(&error))
                    .map(|users| (details, users))
            }
        }
    };
    let (details, users) = match outcome {
        Ok(known) => known,
        Err((cause, remedy)) => {
            let finding = Finding::failed(Subject::Workspace, view.place(), cause, remedy);
            return (view, finding, None);
        }
    };
    let finding = judged(&view, details, &users, &standing);
    (view, finding, Some(details.workspace.on_capacity))
}

/// Why nothing of a workspace can be embedded, whoever is member of it.
fn unfit(view: &View, details: &WorkspaceDetails, minter: &MinterKind) -> Option<causes::Told> {
    let told = |cause: &str, remedy: &str| Some((cause.to_owned(), remedy.to_owned()));
    match (details.workspace.kind, minter) {
        (WorkspaceKind::Personal, _) => told(
            "it is a personal workspace (My workspace), which is never embedded",
            "move its content to a shared workspace, and name that in the policy",
        ),
        (WorkspaceKind::Classic, MinterKind::ServicePrincipal { .. }) => told(
            "it is a classic workspace, for which no service principal can mint",
            "upgrade the workspace; or declare `workspace_version: classic` and mint with a master user",
        ),
        (WorkspaceKind::Classic, MinterKind::MasterUser { .. }) if !view.classic => told(
            "it is a classic workspace and policy does not say so",
            "declare `workspace_version: classic` for its items, or upgrade the workspace",
        ),
        (WorkspaceKind::Classic | WorkspaceKind::Shared, _) => None,
    }
}

/// What the principal may do there, and what stands below it.
fn judged(
    view: &View,
    details: &WorkspaceDetails,
    users: &[WorkspaceUser],
    standing: &Standing<'_>,
) -> Finding {
    let place = format!(
        "{} ({}), {}",
        details.workspace.name,
        details.workspace.id,
        view.seen_by()
    );
    let right = match right(view, details, users, standing.kind) {
        Ok(right) => right,
        Err(Doubt { sure, cause, by_id }) => {
            let least = if view.classic {
                "Admin"
            } else {
                "Member or Admin"
            };
            let remedy = if by_id {
                "set `object_id`: the service principal's, from Enterprise applications (not App registrations)".to_owned()
            } else {
                format!(
                    "make it {least} of the workspace; a new right takes some minutes, or a call of RefreshUserPermissions"
                )
            };
            return if sure {
                Finding::failed(Subject::Workspace, place, cause, remedy)
            } else {
                Finding::warning(Subject::Workspace, place, cause, remedy)
            };
        }
    };
    match capacity(details, standing) {
        Ok(capacity) => Finding::ok(Subject::Workspace, place, format!("{right}; {capacity}")),
        Err((true, cause, remedy)) => Finding::failed(Subject::Workspace, place, cause, remedy),
        Err((false, cause, remedy)) => Finding::warning(
            Subject::Workspace,
            place,
            format!("{right}; {cause}"),
            remedy,
        ),
    }
}

/// A right that is missing, or that cannot be seen.
struct Doubt {
    sure: bool,
    cause: String,
    /// Whether it is the configuration that does not say who mints.
    by_id: bool,
}

/// The right of whoever mints, in words.
fn right(
    view: &View,
    details: &WorkspaceDetails,
    users: &[WorkspaceUser],
    minter: &MinterKind,
) -> Result<String, Doubt> {
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let is_own = |user: &&WorkspaceUser| match (details.profile_id.as_deref(), minter) {
        (Some(profile), _) => user
            .profile_id
            .as_deref()
            .is_some_and(|id| same(id, profile)),
        (None, MinterKind::ServicePrincipal { object_id }) => {
            user.profile_id.is_none()
                && object_id
                    .as_deref()
                    .is_some_and(|own| same(&user.identifier, own))
        }
        (None, MinterKind::MasterUser { username }) => same(&user.identifier, username),
    };
    let enough = |user: &WorkspaceUser| match user.access.as_deref() {
        Some("Admin") => true,
        Some("Member") => !view.classic,
        _ => false,
    };
    let group = || {
        let groups = users
            .iter()
            .filter(|user| user.principal_type.as_deref() == Some("Group"));
        groups.filter(|user| enough(user)).count() > 0
    };
    match users.iter().find(is_own) {
        Some(own) if enough(own) => Ok(own.access.clone().unwrap_or_default()),
        Some(own) => Err(Doubt {
            by_id: false,
            sure: !group(),
            cause: format!(
                "{} is too little to mint{}",
                own.access.as_deref().unwrap_or("no right"),
                if group() {
                    ", unless one of its groups holds more"
                } else {
                    ""
                }
            ),
        }),
        None => Err(unlisted(details, users, minter, enough, group())),
    }
}

/// Nobody in the list is known to be the one who mints, who nevertheless sees the workspace.
fn unlisted(
    details: &WorkspaceDetails,
    users: &[WorkspaceUser],
    minter: &MinterKind,
    enough: impl Fn(&WorkspaceUser) -> bool,
    group: bool,
) -> Doubt {
    let doubt = |sure, by_id, cause: &str| Doubt {
        sure,
        by_id,
        cause: cause.to_owned(),
    };
    let app = |user: &&WorkspaceUser| {
        user.principal_type.as_deref() == Some("App") && user.profile_id.is_none()
    };
    match (details.profile_id.is_some(), minter) {
        _ if group => doubt(
            false,
            false,
            "it is no member itself; perhaps one of its groups is, which Power BI does not show",
        ),
        (false, MinterKind::ServicePrincipal { object_id: None }) => {
            if users.iter().filter(app).any(enough) {
                doubt(
                    false,
                    true,
                    "it sees the workspace, but which right it holds cannot be told without the principal's `object_id` in the configuration",
                )
            } else {
                doubt(true, false, "no application is Member or Admin of it")
            }
        }
        (false, MinterKind::ServicePrincipal { object_id: Some(_) }) => doubt(
            false,
            true,
            "it sees the workspace, and nobody with its `object_id` is a member: the id is not the service principal's",
        ),
        (true, _) | (false, MinterKind::MasterUser { .. }) => doubt(true, false, "it is no member"),
    }
}

/// What the workspace stands on; an error says whether it is sure to fail.
fn capacity(
    details: &WorkspaceDetails,
    standing: &Standing<'_>,
) -> Result<String, (bool, String, String)> {
    match details.workspace.on_capacity {
        Some(true) => {}
        None => return Ok("whether it is on a capacity is not told".into()),
        Some(false) => {
            let used = standing.trial_used.unwrap_or_default();
            let cause = if used >= 100.0 {
                "it is on no capacity, and the trial allowance for embed tokens is used up"
                    .to_owned()
            } else {
                format!(
                    "it is on no capacity: trial tokens only, with a banner; {used} % of their allowance is used"
                )
            };
            let remedy = "put the workspace on a capacity (A, EM, P or F)".to_owned();
            return Err((used >= 100.0, cause, remedy));
        }
    }
    let own = standing.capacities.iter().find(|capacity| {
        let id = details.capacity_id.as_deref();
        id.is_some_and(|id| id.eq_ignore_ascii_case(&capacity.id))
    });
    let Some(own) = own else {
        return Ok("on a capacity, whose state this principal may not see".into());
    };
    let name = format!("capacity {} ({})", own.name, own.sku);
    match own.state.as_deref() {
        Some("Active") => Ok(format!("{name} is Active")),
        None => Ok(format!("{name}, whose state is not told")),
        Some(state) => Err((
            true,
            format!("{name} is {state}"),
            "resume the capacity, or move the workspace to another".into(),
        )),
    }
}
