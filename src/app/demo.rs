//! What the sandbox's demo page may see and do in a running broker.

use std::sync::Arc;

use super::App;
use super::state::ProcessState;
use crate::policy::Policy;

/// The demo page's access to a running broker.
#[derive(Clone)]
pub struct DemoAccess(Arc<ProcessState>);

impl DemoAccess {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.current().broker().policy)
    }

    /// How many reloads of the policy were taken or refused, and why the last one was refused, if it was.
    #[must_use]
    pub fn policy_reloads(&self) -> (u64, Option<String>) {
        let reloads = self.0.reloads();
        let refused = reloads.refused.as_ref().or(reloads.refused_policy.as_ref());
        (reloads.policies, refused.cloned())
    }

    /// Forgets every remembered embed token, as if their time had passed.
    pub fn forget_tokens(&self) {
        self.0.current().broker().powerbi.forget_tokens();
    }
}

impl App {
    /// Access for the demo page.
    #[must_use]
    pub fn demo_access(&self) -> DemoAccess {
        DemoAccess(Arc::clone(&self.process))
    }
}
