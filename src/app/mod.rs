//! Wiring: configuration in, running process out; the same for `serve`, the sandbox and the tests.
//!
//! The life of a process: load and build everything → bind both listeners → serve → (reload …) → drain → flush.
//! This is the only place that knows all stages.

mod demo;
mod generation;
mod memory;
mod parts;
mod reload;
mod start;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod watch;

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
use crate::config::{Config, Mistakes};
use crate::entra::AccessTokens;
use crate::http::serve::{self, Listener};
use crate::http::{self, AppState, Bounds, Limits};
use crate::plan::Minter;
use crate::policy::Policy;
use crate::powerbi::PowerBi;
use crate::{metrics, telemetry};

pub use demo::DemoAccess;
use generation::Generation;
pub use memory::{Allowance, allowances};
pub use parts::surroundings;
use reload::Reloader;
use state::ProcessState;

/// Time that listeners get to close when requests have used up `server.shutdown_grace`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A running broker.
pub struct App {
    state: AppState,
    traffic: SocketAddr,
    ops: SocketAddr,
    shutdown_grace: Duration,
    process: Arc<ProcessState>,
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
    /// Builds everything from the configuration in `file` and begins to serve. `config` is what an earlier reading of the
    /// file gave; it is read again, together with all files that it names, so that none of them is half-written.
    ///
    /// The process listens even when Entra or an issuer cannot be reached; readiness tells.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, file: &Path) -> Result<Self, StartError> {
        // First, so that nothing goes uncounted.
        let recorder = metrics::install();
        let (generation, watch) = start::load(&config, file).await?;
        memory::warn_of_shortage(&generation.config);
        let server = generation.config.server.clone();
        generation.broker().verifier.warm_up();
        telemetry::export(&generation.config.telemetry, &generation.outbound);
        let process = Arc::new(ProcessState::new(generation));
        let current = Arc::clone(&process);
        let state = AppState::new(
            Box::new(move || current.serving()),
            server.trusted_proxies.clone(),
        );
        let traffic = bind(server.listen, "server.listen")?;
        let ops = bind(server.ops_listen, "server.ops_listen")?;
        let (reload, requests) = mpsc::channel(1);
        let reloader = Reloader::new(Arc::clone(&process), file.to_owned(), watch);
        let app = Self {
            state: state.clone(),
            traffic: traffic.local_addr().context("server.listen")?,
            ops: ops.local_addr().context("server.ops_listen")?,
            shutdown_grace: server.shutdown_grace,
            process: Arc::clone(&process),
            reload,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let limits = Limits {
            max_in_flight: server.max_in_flight,
            request_timeout: server.request_timeout,
        };
        app.serve(recorder.clone(), limits, [traffic, ops]);
        app.spawn_until_stop(reloader.run(requests));
        app.spawn_until_stop(status::upkeep(Arc::clone(&process), recorder));
        app.spawn_until_stop(status::poll_trial_usage(Arc::clone(&process)));
        app.spawn_until_stop(status::warm_up(process, state));
        tracing::info!(traffic = %app.traffic, ops = %app.ops, "listening");
        Ok(app)
    }

    /// Begins to serve both listeners.
    fn serve(&self, recorder: PrometheusHandle, limits: Limits, [traffic, ops]: [TcpListener; 2]) {
        let listeners = [
            Listener::new(
                "traffic",
                Bounds::traffic(limits.max_in_flight).within_open_files(),
            ),
            Listener::new("ops", Bounds::ops().within_open_files()),
        ];
        let state = &self.state;
        let checks = status::checks(Arc::clone(&self.process));
        let scrape = status::scrape(
            Arc::clone(&self.process),
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
        let end = end.max(Instant::now() + CLOSE_TIMEOUT);
        let _ = tokio::time::timeout_at(end, self.tasks.wait()).await;
        let audit = Arc::clone(&self.process.current().broker().audit);
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
    Generation::build(config, None).await.map(drop)
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
    let (generation, _) = Generation::build(config, None).await?;
    let broker = generation.broker();
    Ok(Services {
        policy: Arc::clone(&broker.policy),
        minters: broker.minters.clone(),
        verifier: Arc::clone(&broker.verifier),
        powerbi: Arc::clone(&broker.powerbi),
        access_tokens: Arc::clone(&generation.access_tokens),
        config: generation.config,
    })
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    serve::bind(address).with_context(|| {
        format!("{key}: cannot listen on {address}: free the port, or choose another")
    })
}
