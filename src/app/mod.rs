//! Wiring: configuration in, running process out; the same for `serve`, the sandbox and the tests.
//!
//! The life of a process: load and build everything → bind both listeners → serve → (reload …) → drain → flush.
//! This is the only place that knows all stages.

mod inside;
mod parts;
mod reload;
mod stamps;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authn::Verifier;
use crate::broker::Broker;
use crate::config::{Config, Mistakes};
use crate::entra::AccessTokens;
use crate::http::serve::{Bounds, Listener};
use crate::http::{self, AppState, Limits};
use crate::plan::Minter;
use crate::policy::Policy;
use crate::powerbi::PowerBi;
use crate::{metrics, telemetry};

pub use inside::Inside;
use parts::Parts;
pub use parts::surroundings;
use reload::{Reloader, Shared};

/// How often the process looks after itself: watched files, Entra tokens, counted refusals.
const UPKEEP: Duration = Duration::from_secs(2);

/// Connections of operators and their tools at once.
const OPS_CONNECTIONS: usize = 256;

/// Time that listeners get to end when requests have used up `server.shutdown_grace`.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
        // First, so that nothing goes uncounted.
        let recorder = metrics::install();
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
        telemetry::export(&parts.config.telemetry, &parts.outbound);
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
        app.serve(&shared, recorder.clone(), limits, [traffic, ops]);
        app.spawn_until_stop(reloader.run(orders));
        app.spawn_until_stop(status::upkeep(Arc::clone(&shared), recorder));
        app.spawn_until_stop(status::poll_trial_usage(Arc::clone(&shared)));
        app.spawn_until_stop(status::warm_up(shared, state));
        tracing::info!(traffic = %app.traffic, ops = %app.ops, "listening");
        Ok(app)
    }

    /// Begins to serve both listeners.
    fn serve(
        &self,
        shared: &Arc<Shared>,
        recorder: PrometheusHandle,
        limits: Limits,
        [traffic, ops]: [TcpListener; 2],
    ) {
        let listeners = [
            Listener::new("traffic", Bounds::default()),
            Listener::new(
                "ops",
                Bounds {
                    connections: OPS_CONNECTIONS,
                    ..Bounds::default()
                },
            ),
        ];
        let state = &self.state;
        let checks = status::checks(Arc::clone(shared));
        let scrape = status::scrape(
            Arc::clone(shared),
            state.clone(),
            listeners.clone(),
            recorder,
        );
        let routers = [
            http::router(state.clone(), limits),
            http::ops::router(state.clone(), checks, scrape),
        ];
        for ((listener, socket), router) in listeners.into_iter().zip([traffic, ops]).zip(routers) {
            self.tasks
                .spawn(listener.serve(socket, router, self.stop.clone()));
        }
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

    /// Has everything but `server` read again, as SIGHUP asks. One that is asked for already, and has not begun, will
    /// see what this one would.
    pub fn reload(&self) {
        let _ = self.reload.try_send(());
    }

    /// Drains within `server.shutdown_grace`, flushes the audit trail and ends.
    pub async fn stop(self) {
        tracing::info!("draining");
        let end = Instant::now() + self.shutdown_grace;
        if tokio::time::timeout_at(end, self.state.life().drain())
            .await
            .is_err()
        {
            tracing::warn!("server.shutdown_grace has passed with requests still under way");
        }
        self.stop.cancel();
        self.tasks.close();
        // What is left then is a client that does not take its answer.
        let end = end.max(Instant::now() + LAST_WORDS);
        let _ = tokio::time::timeout_at(end, self.tasks.wait()).await;
        let audit = Arc::clone(&self.state.broker().stages().audit);
        audit.write_counts(true).await;
        audit.flush().await;
        tracing::info!("ended");
        telemetry::flush().await;
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

/// The parts of a broker that ask others, for `doctor`.
pub struct Services {
    /// The configuration that they were built from.
    pub config: Config,
    /// Its policy.
    pub policy: Arc<Policy>,
    /// Its principals, as plans see them.
    pub minters: BTreeMap<String, Minter>,
    /// Asks issuers for keys.
    pub verifier: Arc<Verifier>,
    /// Asks Entra for tokens.
    pub access_tokens: Arc<AccessTokens>,
    /// Asks Power BI.
    pub powerbi: Arc<PowerBi>,
}

/// Builds everything that `config` describes, and begins nothing.
///
/// # Errors
/// Every mistake found.
pub async fn services(config: Config) -> Result<Services, Mistakes> {
    let parts = Parts::build(config, None).await?;
    Ok(Services {
        policy: parts.policy,
        minters: parts::minters(&parts.config.principals),
        config: parts.config,
        verifier: parts.verifier,
        access_tokens: parts.access_tokens,
        powerbi: parts.powerbi,
    })
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{key}: cannot listen on {address}: free the port, or choose another")
    })
}
