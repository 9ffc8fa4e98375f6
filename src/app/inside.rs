//! What the sandbox's demo page may see and do inside a running broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::App;
use super::reload::Shared;
use crate::policy::Policy;

/// A look inside a running broker; clones look into the same.
#[derive(Clone)]
pub struct Inside(Arc<Shared>);

impl Inside {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.parts.load().policy)
    }

    /// How many times changed files were judged, and why those of the last time were refused, if they were.
    #[must_use]
    pub fn judged(&self) -> (u64, Option<String>) {
        // The count first, so that the verdict is at least as new.
        let count = self.0.judged.load(Ordering::Acquire);
        (count, Option::clone(&self.0.refusal.load()))
    }

    /// Forgets every remembered embed token, as if their time had passed.
    pub fn forget_tokens(&self) {
        self.0.parts.load().powerbi.forget_tokens();
    }
}

impl App {
    /// A look inside.
    #[must_use]
    pub fn inside(&self) -> Inside {
        Inside(Arc::clone(&self.reloads))
    }
}
