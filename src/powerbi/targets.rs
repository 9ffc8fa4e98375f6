//! Reports that a request chooses: items with `report: "*"`.

use std::time::Duration;

use tokio::time::Instant;

use super::facts::{Asker, Occasion};
use super::metadata::{Named, Naming, exactly_one};
use super::{Error, Freshness, PowerBi, Target};
use crate::plan::Workspace;
use crate::policy::Grant;

/// A list of reports that lacks the one asked for is read again, unless it is as young as this: so a report can be opened
/// as soon as it is saved, and whoever asks for reports that do not exist costs a workspace one call a second.
const RECENT: Duration = Duration::from_secs(1);

impl PowerBi {
    /// The reports of the granted item's workspace, for an item with `report: "*"`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn targets(&self, grant: &Grant, deadline: Instant) -> Result<Vec<Target>, Error> {
        let occasion = Occasion::new(Freshness::Cached, deadline);
        let asker = self.asker(grant, &occasion).await?;
        let workspace = self.facts.workspace(&asker, grant.workspace()).await?;
        let reports = self
            .facts
            .names(&asker, &workspace.id, Naming::Reports)
            .await?;
        let target = |report: &Named| Target {
            id: report.id.clone(),
            name: report.name.clone(),
            paginated: report.paginated,
        };
        Ok(reports.iter().map(target).collect())
    }

    /// Id of the report that the request chose. Always by way of the workspace's list, so that nobody can make the
    /// broker ask for ids at will.
    pub(super) async fn target(
        &self,
        asker: &Asker,
        workspace: &Workspace,
        target: &str,
    ) -> Result<String, Error> {
        let fits = |one: &Named| one.name == target || one.id.eq_ignore_ascii_case(target);
        let what = || format!("report `{target}`");
        let list = |asker| self.facts.names(asker, &workspace.id, Naming::Reports);
        let mut reports = list(asker).await?;
        if !reports.iter().any(fits) {
            // It may have been saved after the list was read.
            let mut again = asker.clone();
            again.occasion = asker.occasion.with_facts_of_the_last(RECENT);
            reports = list(&again).await?;
        }
        Ok(exactly_one(&reports, fits, what)?.id.clone())
    }
}
