//! Wiring: configuration in, running process out; the same for `serve`, the sandbox and the tests.
//!
//! The life of a process: load and build everything → bind both listeners → serve → (reload …) → drain → flush.
//! This is the only place that knows all stages.

mod inside;
mod parts;
mod reload;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::config::{Config, Mistakes};
use crate::http::{self, AppState, Limits, serve::serve};
use crate::metrics;
use crate::plan::Minter;
use crate::policy::Policy;

pub use inside::Inside;
use parts::Parts;
pub use parts::surroundings;
use reload::Reloader;

/// How often the process looks after itself: watched files, metrics, idle rate-limit keys, Entra tokens.
const UPKEEP: Duration = Duration::from_secs(2);

/// A running broker.
pub struct App {
    state: AppState,
    traffic: SocketAddr,
    ops: SocketAddr,
    shutdown_grace: Duration,
    reloads: Arc<reload::Shared>,
    reload: mpsc::Sender<()>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Configuration or policy are faulty.
    #[error("{0}")]
    Faulty(#[from] Mistakes),
    /// Something of the machine's: a port that is taken, no trust store …
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl App {
    /// Builds everything from `config` (read from `file`, which a reload reads again) and begins to serve.
    ///
    /// The process listens even when Entra or an issuer cannot be reached; readiness tells.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, file: &Path) -> Result<Self, StartError> {
        let server = config.server.clone();
        let parts = Parts::build(config, None).await?;
        parts.verifier.warm_up();
        let state = AppState::new(
            Broker::new(parts.stages(), server.request_timeout),
            parts.edge(),
            server.trusted_proxies.clone(),
        );
        let traffic = bind(server.listen, "server.listen").await?;
        let ops = bind(server.ops_listen, "server.ops_listen").await?;
        let (reload, orders) = mpsc::channel(1);
        let reloader = Reloader::new(parts, file.to_owned(), state.clone());
        let shared = reloader.shared();
        let app = Self {
            state: state.clone(),
            traffic: traffic.local_addr().context("server.listen")?,
            ops: ops.local_addr().context("server.ops_listen")?,
            shutdown_grace: server.shutdown_grace,
            reloads: Arc::clone(&shared),
            reload,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let limits = Limits {
            max_in_flight: server.max_in_flight,
            request_timeout: server.request_timeout,
        };
        app.tasks.spawn(serve(
            traffic,
            http::router(state.clone(), limits),
            app.stop.clone(),
        ));
        let checks = status::checks(Arc::clone(&shared));
        let recorder = metrics::install();
        app.tasks.spawn(serve(
            ops,
            http::ops::router(state.clone(), checks, recorder.clone()),
            app.stop.clone(),
        ));
        app.spawn_until_stop(reloader.run(orders));
        app.spawn_until_stop(status::upkeep(Arc::clone(&shared), recorder));
        app.spawn_until_stop(status::warm_up(shared, state));
        tracing::info!(traffic = %app.traffic, ops = %app.ops, "listening");
        Ok(app)
    }

    /// Address of the traffic listener.
    #[must_use]
    pub fn traffic(&self) -> SocketAddr {
        self.traffic
    }

    /// Address of the operators' listener.
    #[must_use]
    pub fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// Resolves once requests may be sent here.
    pub async fn ready(&self) {
        while !self.state.life().is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads everything but `server` again, as SIGHUP asks.
    pub async fn reload(&self) {
        let _ = self.reload.send(()).await;
    }

    /// Drains within `server.shutdown_grace`, flushes the audit trail and ends.
    pub async fn stop(self) {
        tracing::info!("draining");
        if tokio::time::timeout(self.shutdown_grace, self.state.life().drain())
            .await
            .is_err()
        {
            tracing::warn!("server.shutdown_grace has passed with requests still under way");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let audit = Arc::clone(&self.state.broker().stages().audit);
        audit.write_counts(true).await;
        audit.flush().await;
        tracing::info!("ended");
    }

    fn spawn_until_stop(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// Builds everything that `config` describes, and drops it: no network, no listener.
///
/// # Errors
/// Every mistake found.
pub async fn check(config: Config) -> Result<(), Mistakes> {
    Parts::build(config, None).await.map(drop)
}

/// The policy of `config` and its principals, for `explain`.
///
/// # Errors
/// Every mistake of the policy.
pub async fn policy(config: &Config) -> Result<(Arc<Policy>, BTreeMap<String, Minter>), Mistakes> {
    let policy = parts::load_policy(config).await.map_err(Mistakes)?;
    Ok((policy, parts::minters(&config.principals)))
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{key}: cannot listen on {address}: free the port, or choose another")
    })
}
