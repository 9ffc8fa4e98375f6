//! Reloads: policy, tables and secrets when their content changes, everything but `server` on SIGHUP.
//!
//! What is faulty is not taken: the old state goes on, and log, metric and ops `/readyz` say so. A change is noticed by
//! what the file system tells of the file behind the name (links followed, so that a swapped ConfigMap counts), and
//! judged once: a faulty file is read again only when it changes again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::UPKEEP;
use super::parts::Parts;
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
}

/// Keeps the process at what its files say.
pub(super) struct Reloader {
    shared: Arc<Shared>,
    file: PathBuf,
    app: AppState,
    stamps: Vec<Stamp>,
    generation: u64,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    state: Option<(u64, u64, u64, SystemTime, i64, i64)>,
}

impl Reloader {
    pub(super) fn new(parts: Parts, file: PathBuf, app: AppState) -> Self {
        let stamps = stamps(parts.policy.files().iter().cloned());
        let shared = Shared {
            parts: ArcSwap::from_pointee(parts),
            refusal: ArcSwap::default(),
            judged: AtomicU64::new(0),
            faulty_secrets: ArcSwap::default(),
        };
        metrics::reload(true, 1, OffsetDateTime::now_utc());
        Self {
            shared: Arc::new(shared),
            file,
            app,
            stamps,
            generation: 1,
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
                    Some(()) => self.reload_everything().await,
                    None => return,
                },
                _ = ticks.tick() => {
                    self.refresh_secrets();
                    self.reload_policy_if_changed().await;
                }
            }
        }
    }

    async fn reload_everything(&mut self) {
        let current = self.shared.parts.load_full();
        current.audit.reopen();
        self.refresh_secrets();
        self.stamps = stamps(current.policy.files().iter().cloned());
        match Config::load(&self.file) {
            Ok(config) => {
                if config.server != current.config.server {
                    tracing::warn!(
                        "`server` has changed: it is read at start only, so restart to apply it"
                    );
                }
                telemetry::reload(&config.telemetry);
                let config = Config {
                    server: current.config.server.clone(),
                    ..config
                };
                let built = Parts::build(config, Some(&current)).await;
                self.take(built);
            }
            Err(mistakes) => self.take(Err(mistakes)),
        }
    }

    async fn reload_policy_if_changed(&mut self) {
        let current = self.shared.parts.load_full();
        // Taken before reading, so that a change under way is seen at the next tick.
        let stamps = stamps(self.stamps.iter().map(|stamp| stamp.path.clone()));
        if stamps == self.stamps {
            return;
        }
        self.stamps = stamps;
        let built = Parts::build(current.config.clone(), Some(&current)).await;
        self.take(built);
    }

    fn take(&mut self, built: Result<Parts, Mistakes>) {
        let refusal = match built {
            Ok(parts) => {
                self.generation += 1;
                self.stamps = merge(&self.stamps, stamps(parts.policy.files().iter().cloned()));
                if !Arc::ptr_eq(&parts.verifier, &self.shared.parts.load().verifier) {
                    parts.verifier.warm_up();
                }
                self.app.broker().replace(parts.stages());
                self.app.replace_edge(parts.edge());
                self.shared.parts.store(Arc::new(parts));
                tracing::info!(generation = self.generation, "reloaded");
                None
            }
            Err(mistakes) => {
                let text = mistakes.to_string();
                // The mistake may be in a file that only the refused policy names.
                let named = Policy::files_of(&self.shared.parts.load().config.policy_file);
                self.stamps = merge(&self.stamps, stamps(named));
                tracing::error!(mistakes = %text, "reload refused; the former configuration and policy go on");
                Some(text)
            }
        };
        metrics::reload(
            refusal.is_none(),
            self.generation,
            OffsetDateTime::now_utc(),
        );
        self.shared.refusal.store(Arc::new(refusal));
        self.shared.judged.fetch_add(1, Ordering::Release);
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

/// The stamps of what was just loaded: files known before keep the stamp taken before they were read.
fn merge(before: &[Stamp], after: Vec<Stamp>) -> Vec<Stamp> {
    let known = |stamp: Stamp| {
        before
            .iter()
            .find(|b| b.path == stamp.path)
            .cloned()
            .unwrap_or(stamp)
    };
    after.into_iter().map(known).collect()
}

fn stamps(files: impl IntoIterator<Item = PathBuf>) -> Vec<Stamp> {
    let stamp = |path: PathBuf| Stamp {
        state: state(&path),
        path,
    };
    files.into_iter().map(stamp).collect()
}

fn state(path: &Path) -> Option<(u64, u64, u64, SystemTime, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let data = std::fs::metadata(path).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.len(),
        data.modified().ok()?,
        data.ctime(),
        data.ctime_nsec(),
    ))
}
