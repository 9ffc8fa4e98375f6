//! A permit: an item that the caller may embed, and the questions about it that need no further evaluation.

use std::sync::Arc;

use super::copies::same_as;
use super::model::{Item, Permission, Rule};
use super::{Access, Ask, Content, DatasetSetting, Denied, ItemWorkspace, Kind};
use crate::guid::is_guid;

/// An item that the caller may embed: the rule that says so, and every expression of the item evaluated.
pub(super) struct Permit<'a> {
    pub(super) item: &'a Item,
    pub(super) rule: &'a Rule,
    pub(super) permission: &'a Permission,
    pub(super) place: Whereabouts,
    /// Workspaces that reports are saved into and that may be its own, when its report is found by name.
    pub(super) saved_into: Arc<[ItemWorkspace]>,
    /// Workspaces in which items find reports by name and that may be the one that it saves into, when it does.
    pub(super) found_by_name_in: Arc<[ItemWorkspace]>,
}

/// An item's expressions, evaluated.
#[derive(Clone)]
pub(super) struct Whereabouts {
    /// What the item shows; with `report: "*"` the report is still empty.
    pub(super) content: Content,
    pub(super) workspace: String,
    pub(super) principal: String,
    pub(super) profile: Option<String>,
    pub(super) dataset_workspace: Option<String>,
    pub(super) save_as_workspace: Option<String>,
    pub(super) datasets: Arc<[DatasetSetting]>,
}

impl Whereabouts {
    /// Whether `item`, which lives here, finds its report by name.
    pub(super) fn found_by_name(&self, item: &Item) -> bool {
        let named = match &self.content {
            Content::Report { report }
            | Content::PaginatedReport { report }
            | Content::Visual { report, .. } => !is_guid(report),
            Content::Dashboard { .. }
            | Content::Tile { .. }
            | Content::Qna { .. }
            | Content::CreateReport { .. } => false,
        };
        named && item.named_report().is_some()
    }

    /// Where reports are saved from here; `None`: its kind saves none.
    pub(super) fn destination(&self) -> Option<&str> {
        match &self.content {
            Content::CreateReport {
                target_workspace, ..
            } => Some(target_workspace),
            Content::Report { .. } => {
                let copies = self.save_as_workspace.as_ref();
                Some(copies.unwrap_or(&self.workspace))
            }
            Content::PaginatedReport { .. }
            | Content::Dashboard { .. }
            | Content::Tile { .. }
            | Content::Qna { .. }
            | Content::Visual { .. } => None,
        }
    }
}

impl Permit<'_> {
    /// Whether the rule gives what the request asks for. What the kind cannot have at all is left to
    /// [`fits`](Self::fits): it is the request that is wrong then, whatever the rule gives.
    pub(super) fn covers(&self, ask: &Ask) -> Result<(), Denied> {
        let (item, rule) = (self.item, self.rule);
        let denied = |cause: &str| Err(not_permitted(&item.name, Some(rule), cause.to_owned()));
        let wanted = right(
            item.kind,
            ask.access.filter(|access| can_have(item.kind, *access)),
        );
        if wanted > self.permission.access {
            return denied("the rule does not give the right that was asked for");
        }
        if ask.save_as && item.kind == Kind::Report {
            if !self.permission.save_as {
                return denied("the rule does not give `save_as`");
            }
            self.saves_apart()
                .map_err(|cause| not_permitted(&item.name, Some(rule), cause))?;
        }
        Ok(())
    }

    /// What the load error says, for workspaces that are known only now, and for whatever the request asks for.
    ///
    /// # Errors
    /// Says which item's reports would meet this one's.
    pub(super) fn keeps_apart(&self) -> Result<(), String> {
        if let Some(other) = same_as(&self.place.workspace, &self.saved_into) {
            return Err(format!(
                "its report is found by name in the workspace that reports of item `{}` are saved into, and one could take the name: give it by id",
                other.item
            ));
        }
        match self.item.kind {
            Kind::CreateReport => self.saves_apart(),
            Kind::Report
            | Kind::PaginatedReport
            | Kind::Dashboard
            | Kind::Tile
            | Kind::Qna
            | Kind::Visual => Ok(()),
        }
    }

    /// The same of what callers save.
    fn saves_apart(&self) -> Result<(), String> {
        let into = self.place.destination();
        match into.and_then(|into| same_as(into, &self.found_by_name_in)) {
            Some(other) => Err(format!(
                "reports would be saved into the workspace in which item `{}` finds its report by name, and one could take the name: give that by id",
                other.item
            )),
            None => Ok(()),
        }
    }

    /// Whether the request makes sense for the item.
    pub(super) fn fits(&self, ask: &Ask) -> Result<(), Denied> {
        let item = self.item;
        match (&ask.target, item.needs_target()) {
            (None, true) => return Err(unfit(item, "it needs a `target`")),
            (Some(_), false) => return Err(unfit(item, "it takes no `target`")),
            (Some(target), true) if target.is_empty() => {
                return Err(unfit(item, "the `target` is empty"));
            }
            (Some(_), true) | (None, false) => {}
        }
        if let Some(access) = ask.access
            && !can_have(item.kind, access)
        {
            return Err(unfit(item, "its kind does not have this `access`"));
        }
        if ask.save_as && item.kind != Kind::Report {
            return Err(unfit(item, "only reports can be saved as copies"));
        }
        Ok(())
    }

    /// Whether the caller may ask for "save a copy".
    pub(super) fn offers_copies(&self) -> bool {
        self.item.kind == Kind::Report && self.permission.save_as && self.saves_apart().is_ok()
    }

    /// The rights that the caller may ask for.
    pub(super) fn rights(&self) -> Vec<Access> {
        [Access::View, Access::Edit, Access::Create]
            .into_iter()
            .filter(|access| can_have(self.item.kind, *access) && *access <= self.permission.access)
            .collect()
    }
}

impl Content {
    /// Puts the request's target in the place of the report that the item leaves open.
    pub(super) fn aimed_at(self, target: Option<&str>) -> Self {
        let Some(report) = target.map(str::to_owned) else {
            return self;
        };
        match self {
            Self::Report { .. } => Self::Report { report },
            Self::PaginatedReport { .. } => Self::PaginatedReport { report },
            Self::Dashboard { .. }
            | Self::Tile { .. }
            | Self::Qna { .. }
            | Self::CreateReport { .. }
            | Self::Visual { .. } => self,
        }
    }
}

/// Whether items of a kind can be embedded with a right: reports and visuals can be viewed and edited, new reports are
/// created, everything else is viewed.
fn can_have(kind: Kind, access: Access) -> bool {
    match kind {
        Kind::Report | Kind::Visual => access <= Access::Edit,
        Kind::CreateReport => access == Access::Create,
        Kind::PaginatedReport | Kind::Dashboard | Kind::Tile | Kind::Qna => access == Access::View,
    }
}

/// The right that a request comes to.
pub(super) fn right(kind: Kind, asked: Option<Access>) -> Access {
    match kind {
        Kind::CreateReport => Access::Create,
        Kind::Report
        | Kind::Visual
        | Kind::PaginatedReport
        | Kind::Dashboard
        | Kind::Tile
        | Kind::Qna => asked.unwrap_or_default(),
    }
}

/// One token has one principal and one profile, and the calls for dashboards and tiles mint for one of them (Power BI
/// REST, "Generate Token" for dashboards and tiles).
pub(super) fn combinable(permits: &[Permit<'_>]) -> Result<(), Denied> {
    let [first, others @ ..] = permits else {
        return Ok(());
    };
    for other in others {
        let (a, b) = (&first.item.name, &other.item.name);
        if first.place.principal != other.place.principal
            || first.place.profile != other.place.profile
        {
            let problem = format!("`{a}` and `{b}` belong to different principals or profiles");
            return Err(Denied::NotCombinable { problem });
        }
    }
    let alone = permits
        .iter()
        .find(|permit| matches!(permit.item.kind, Kind::Dashboard | Kind::Tile));
    match alone {
        Some(permit) if !others.is_empty() => Err(Denied::NotCombinable {
            problem: format!(
                "`{}` is a dashboard or tile and needs a token of its own",
                permit.item.name
            ),
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn not_permitted(item: &str, rule: Option<&Rule>, cause: String) -> Denied {
    Denied::NotPermitted {
        item: item.to_owned(),
        rule: rule.map(|rule| Arc::clone(&rule.name)),
        cause,
    }
}

pub(super) fn unfit(item: &Item, problem: &str) -> Denied {
    Denied::Unfit {
        item: item.name.to_string(),
        problem: problem.to_owned(),
    }
}
