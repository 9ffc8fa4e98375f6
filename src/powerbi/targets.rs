//! Reports that a request chooses: items with `report: "*"`.

use std::time::Duration;

use tokio::time::Instant;

use super::fact_cache::{Lookup, LookupContext};
use super::metadata::{Named, Naming, by_id_or_name};
use super::{Error, Freshness, PowerBi, Target};
use crate::guid::is_guid;
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
        let lookup = Lookup::new(Freshness::Cached, deadline);
        let context = self.context_for(grant, &lookup).await?;
        let workspace = self.facts.workspace(&context, grant.workspace()).await?;
        let reports = self
            .facts
            .names(&context, &workspace.id, Naming::Reports)
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
        context: &LookupContext,
        workspace: &Workspace,
        target: &str,
    ) -> Result<String, Error> {
        // A GUID is an id and never a name: a copy that bears it as its name must not stand in for a report that the list
        // does not have yet.
        let named = !is_guid(target);
        let has_id = |one: &Named| one.id.eq_ignore_ascii_case(target);
        let has_name = |one: &Named| named && one.name == target;
        let what = || format!("report `{target}`");
        let list = |context| self.facts.names(context, &workspace.id, Naming::Reports);
        let mut reports = list(context).await?;
        if !reports.iter().any(|one| has_id(one) || has_name(one)) {
            // It may have been saved after the list was read.
            let mut again = context.clone();
            again.lookup = context.lookup.with_facts_of_the_last(RECENT);
            reports = list(&again).await?;
        }
        Ok(by_id_or_name(&reports, has_id, has_name, what)?.id.clone())
    }
}
