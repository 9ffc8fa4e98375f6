//! What only `doctor` asks: the trial allowance, and who may do what in a workspace.
//!
//! Nothing here is remembered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::facts::{Asker, Occasion, Reader};
use super::observer::CallKind;
use super::reads::{self, Collection};
use super::{Error, Freshness, PowerBi, client::Request, wire};

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
        let deadline = Instant::now() + TIME;
        let mut asker = Asker {
            client: Arc::clone(self.client(principal)?),
            profile: None,
            ages: self.facts.ages,
            occasion: Occasion::new(Freshness::Reread, deadline),
        };
        if let Some(profile) = profile {
            asker.profile = Some(self.facts.profile(&asker, profile).await?);
        }
        let workspace = self.facts.workspace(&asker, workspace).await?;
        let reader = Reader {
            client: asker.client,
            profile: asker.profile,
            deadline,
        };
        let path = ["groups", &workspace.id, "users"];
        let (users, _) = reader
            .all(
                CallKind::Diagnosis,
                &path,
                Collection::Paged,
                |user: &wire::User| &user.identifier,
            )
            .await?;
        Ok(users.into_iter().map(WorkspaceUser::from).collect())
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
