//! Reloads: policy, tables and secrets when their content changes, everything but `server` on SIGHUP.
//!
//! What is faulty is not taken: the old state goes on, and log, metric and ops `/readyz` say so. A change is noticed by
//! what the file system tells of the file behind the name (links followed, so that a swapped `ConfigMap` counts), and
//! judged once: a faulty file is read again only when it changes again. A SIGHUP whose configuration was refused stays
//! owed: the next change of any file reads everything again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::UPKEEP;
use super::parts::Parts;
use super::stamps::{Stamp, merge, stamps};
use super::status::Trial;
use crate::config::{Config, Mistakes};
use crate::http::AppState;
use crate::policy::Policy;
use crate::{metrics, telemetry};

/// What other tasks may know of the reloader.
pub(super) struct Shared {
    /// The parts in force.
    pub(super) parts: ArcSwap<Parts>,
    /// Why the last reload was refused; empty after one that was taken.
    pub(super) refusal: ArcSwap<Option<String>>,
    /// How many times files were judged since the start.
    pub(super) judged: AtomicU64,
    /// Secrets that cannot be re-read, and why.
    pub(super) faulty_secrets: ArcSwap<HashMap<String, String>>,
    /// Counts the policies taken.
    pub(super) generation: AtomicU64,
    /// When a reload was last taken, and last refused.
    last: Mutex<[Option<OffsetDateTime>; 2]>,
    /// The trial allowances, as they were last asked for.
    pub(super) trial: Trial,
}

/// Keeps the process at what its files say.
pub(super) struct Reloader {
    shared: Arc<Shared>,
    file: PathBuf,
    app: AppState,
    stamps: Vec<Stamp>,
    /// A SIGHUP was refused: its configuration is still to be taken.
    owed: bool,
}

impl Shared {
    /// When a reload was last taken, and last refused.
    pub(super) fn last(&self) -> [Option<OffsetDateTime>; 2] {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, taken: bool) {
        metrics::reload(taken);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last[usize::from(!taken)] = Some(OffsetDateTime::now_utc());
    }
}

impl Reloader {
    pub(super) fn new(parts: Parts, file: PathBuf, app: AppState) -> Self {
        let stamps = stamps(parts.policy.files().iter().cloned());
        let shared = Shared {
            parts: ArcSwap::from_pointee(parts),
            refusal: ArcSwap::default(),
            judged: AtomicU64::new(0),
            faulty_secrets: ArcSwap::default(),
            generation: AtomicU64::new(1),
            last: Mutex::default(),
            trial: Trial::default(),
        };
        shared.note(true);
        Self {
            shared: Arc::new(shared),
            file,
            app,
            stamps,
            owed: false,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Looks for changes every [`UPKEEP`], and at everything when asked.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<()>) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(()) => {
                        self.shared.parts.load_full().audit.reopen().await;
                        self.reload_everything().await;
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    self.refresh_secrets();
                    self.reload_if_changed().await;
                }
            }
        }
    }

    async fn reload_everything(&mut self) {
        let current = self.shared.parts.load_full();
        self.refresh_secrets();
        let files = current.policy.files().iter().cloned();
        self.stamps = stamps(files.chain([self.file.clone()]));
        match Config::load(&self.file) {
            Ok(config) => {
                if config.server != current.config.server {
                    tracing::warn!(
                        "the section server has changed: it is read at start only, so restart to apply it"
                    );
                }
                let config = Config {
                    server: current.config.server.clone(),
                    ..config
                };
                let policy = config.policy_file.clone();
                let built = Parts::build(config, Some(&current)).await;
                self.owed = built.is_err();
                self.take(built, &policy).await;
            }
            Err(mistakes) => {
                self.owed = true;
                self.take(Err(mistakes), &current.config.policy_file).await;
            }
        }
    }

    async fn reload_if_changed(&mut self) {
        // Taken before reading, so that a change under way is seen at the next tick.
        let stamps = stamps(self.stamps.iter().map(Stamp::path));
        if stamps == self.stamps {
            return;
        }
        if self.owed {
            return self.reload_everything().await;
        }
        self.stamps = stamps;
        let current = self.shared.parts.load_full();
        let built = Parts::build(current.config.clone(), Some(&current)).await;
        self.take(built, &current.config.policy_file).await;
    }

    async fn take(&mut self, built: Result<Parts, Mistakes>, policy: &Path) {
        self.shared.note(built.is_ok());
        let refusal = match built {
            Ok(parts) => {
                self.put_in_force(parts).await;
                None
            }
            Err(mistakes) => {
                let text = mistakes.to_string();
                // The mistake may be in a file that only the refused policy names.
                self.watch(Policy::files_of(policy));
                tracing::error!(mistakes = %text, "reload refused; the former configuration and policy go on");
                Some(text)
            }
        };
        self.shared.refusal.store(Arc::new(refusal));
        self.shared.judged.fetch_add(1, Ordering::Release);
    }

    async fn put_in_force(&mut self, parts: Parts) {
        let former = self.shared.parts.load_full();
        self.watch(parts.policy.files().iter().cloned());
        if !Arc::ptr_eq(&parts.verifier, &former.verifier) {
            parts.verifier.warm_up();
        }
        telemetry::export(&parts.config.telemetry, &parts.outbound);
        let audit = Arc::clone(&parts.audit);
        self.app.broker().replace(parts.stages());
        self.app.replace_edge(parts.edge());
        self.shared.parts.store(Arc::new(parts));
        let generation = self.shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(generation, "reloaded");
        if !Arc::ptr_eq(&audit, &former.audit) {
            former.audit.write_counts(true).await;
            former.audit.flush().await;
        }
    }

    /// Watches these files, and the configuration while a SIGHUP is owed. Files known before keep their stamps.
    fn watch(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let configuration = self.owed.then(|| self.file.clone());
        self.stamps = merge(&self.stamps, stamps(files.into_iter().chain(configuration)));
    }

    fn refresh_secrets(&self) {
        let parts = self.shared.parts.load_full();
        let before = self.shared.faulty_secrets.load_full();
        let mut faulty = HashMap::new();
        for (key, secret) in parts.config.secrets() {
            match secret.refresh() {
                Ok(true) => tracing::info!(%key, "secret re-read"),
                Ok(false) => {}
                Err(error) => {
                    if !before.contains_key(&key) {
                        tracing::error!(%key, %error, "secret cannot be re-read; the former one goes on");
                    }
                    faulty.insert(key, error.to_string());
                }
            }
        }
        if faulty != *before {
            self.shared.faulty_secrets.store(Arc::new(faulty));
        }
    }
}
