//! What the tasks of one process share: the generation in force, and how reloads went.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use super::generation::Generation;
use super::status::Trial;
use crate::http::Serving;
use crate::metrics;

/// State of one process.
pub(super) struct ProcessState {
    /// The one place that a reload changes.
    current: ArcSwap<Generation>,
    reloads: Mutex<Reloads>,
    /// The trial allowances, as they were last asked for.
    pub(super) trial: Trial,
}

/// How reloads went, for operators.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// Why the last SIGHUP was refused; none after one that was taken.
    pub(super) refused: Option<String>,
    /// Why the last change of the policy was refused; none after one that was taken.
    pub(super) refused_policy: Option<String>,
    /// Secrets that cannot be used, by key path, and why.
    pub(super) faulty_secrets: BTreeMap<String, String>,
    /// A file that is not loaded because it keeps changing.
    pub(super) keeps_changing: Option<PathBuf>,
    /// How many reloads of the policy were taken or refused since the start.
    pub(super) policies: u64,
    /// When a reload was last taken.
    pub(super) last_taken: Option<OffsetDateTime>,
    /// When a reload was last refused.
    pub(super) last_refused: Option<OffsetDateTime>,
}

impl ProcessState {
    /// State of a process that begins with `generation`.
    pub(super) fn new(generation: Generation) -> Self {
        let state = Self {
            current: ArcSwap::from_pointee(generation),
            reloads: Mutex::default(),
            trial: Trial::default(),
        };
        state.reloads().note(true);
        state
    }

    /// The generation in force.
    pub(super) fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// What a request that begins now is served with.
    pub(super) fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.current.load().serving)
    }

    /// Lets what begins from now on use `generation`.
    pub(super) fn replace(&self, generation: Generation) {
        self.current.store(Arc::new(generation));
    }

    /// How reloads went.
    pub(super) fn reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reloads {
    /// Counts a reload that was taken or refused just now.
    pub(super) fn note(&mut self, taken: bool) {
        metrics::reload(taken);
        let last = if taken {
            &mut self.last_taken
        } else {
            &mut self.last_refused
        };
        *last = Some(OffsetDateTime::now_utc());
    }
}
