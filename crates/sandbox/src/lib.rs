//! The sandbox: everything that the broker talks to, simulated in this process, so that it can be tried and tested
//! without an Azure subscription.
//!
//! One port serves an OIDC issuer with personas, Entra's token endpoint, the Power BI REST API, the page that the
//! iframe shows, the demo front end and a control path for tests; a second port serves the same over TLS under
//! Microsoft's names. The simulated Power BI is as strict as the real one, and its models hold rows, so that
//! row-level security is seen, not believed.
//!
//! Never imports a stage of the broker: if client and fake shared wire types, a misspelt field would pass every test.

mod control;
mod embed;
mod entra;
mod faults;
mod guard;
mod idp;
mod insight;
mod pages;
mod powerbi;
mod rls;
mod seed;
mod state;
#[cfg(test)]
mod tests;
mod tls;
mod unpack;
mod wire;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::cors::CorsLayer;

pub use self::insight::{Insight, Question};
use self::state::Shared;
pub use self::tls::self_signed_certificate;
pub use self::unpack::{Addresses, Unpacked, unpack};

/// Longest body of a request, the policy of the demo page included.
const MAX_BODY: usize = 1024 * 1024;

/// How the simulated services are started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the plain listener; port 0 takes a free one.
    pub http: SocketAddr,
    /// Address of the TLS listener; port 0 takes a free one.
    pub tls: SocketAddr,
    /// Where others reach the services, when not at the plain listener: the issuer of the tokens is below it, and the
    /// certificate holds its host. Without a slash at the end.
    pub public_url: Option<String>,
    /// Where the broker is reached, for the demo page.
    pub broker_url: Option<String>,
    /// The policy that the demo page shows and edits.
    pub policy_file: Option<PathBuf>,
    /// Where to write the certificate authority, for clients of the TLS port.
    pub ca_file: Option<PathBuf>,
    /// Longest page of a collection of the REST API; the seed has more workspaces than the default.
    pub page_size: usize,
}

/// Running simulated services; they end when it is dropped.
#[derive(Debug)]
pub struct Upstream {
    url: String,
    tls_url: String,
    ca_pem: String,
    insight: Arc<OnceLock<Insight>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            http: loopback,
            tls: loopback,
            public_url: None,
            broker_url: None,
            policy_file: None,
            ca_file: None,
            page_size: 100,
        }
    }
}

impl Upstream {
    /// Starts the services; both listeners are bound when it returns.
    ///
    /// # Errors
    /// When an address is taken or the CA file cannot be written.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let http = bind(options.http).await?;
        let tls = bind(options.tls).await?;
        let url = format!("http://{}", reachable(http.local_addr()?));
        let tls_url = format!("https://{}", reachable(tls.local_addr()?));
        let server = tls::Server::new(options.public_url.as_deref())?;
        if let Some(path) = &options.ca_file {
            std::fs::write(path, &server.ca_pem)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let seed = seed::Seed::load()?;
        let insight = Arc::default();
        let router = router(Arc::new(Shared {
            url: options.public_url.unwrap_or_else(|| url.clone()),
            tls_url: tls_url.clone(),
            broker_url: options.broker_url,
            policy_file: options.policy_file,
            page_size: options.page_size,
            world: Mutex::new(world::World::new(&seed, options.page_size)),
            entra: Mutex::new(entra::Settings::new(&seed)),
            keys: Mutex::new(idp::Keys::new()?),
            seed,
            access_tokens: Mutex::default(),
            embed_tokens: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            insight: Arc::clone(&insight),
        }));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let acceptor = TlsAcceptor::from(server.config);
        tasks.spawn(accept(
            http,
            router.clone(),
            None,
            stop.clone(),
            tasks.clone(),
        ));
        tasks.spawn(accept(
            tls,
            router,
            Some(acceptor),
            stop.clone(),
            tasks.clone(),
        ));
        Ok(Self {
            url,
            tls_url,
            ca_pem: server.ca_pem,
            insight,
            stop,
            tasks,
        })
    }

    /// Root of the plain listener, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Root of the TLS listener, without a slash at the end.
    #[must_use]
    pub fn tls_url(&self) -> &str {
        &self.tls_url
    }

    /// The certificate authority of the TLS listener.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Key and certificate that Entra accepts from the first app, as a `client_certificate` credential wants them.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn client_certificate_pem(&self) -> anyhow::Result<String> {
        Ok(tls::ClientCertificate::get()?.pem.clone())
    }

    /// Lets the demo page ask the broker that this process runs as well.
    pub fn ask(&self, insight: Insight) {
        // Only the first one counts.
        let _ = self.insight.set(insight);
    }

    /// Closes listeners and connections.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Everything that either port serves.
fn router(shared: Arc<Shared>) -> Router {
    let idp = Router::new()
        .route("/idp/.well-known/openid-configuration", get(idp::discovery))
        .route("/idp/jwks", get(idp::jwks))
        .route("/idp/token", get(idp::token))
        .layer(CorsLayer::new().allow_origin(tower_http::cors::Any));
    let control = control::routes()
        .merge(insight::routes())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            guard::own_clients,
        ));
    Router::new()
        .merge(idp)
        .merge(control)
        .merge(pages::routes())
        .route("/entra/{tenant}/oauth2/v2.0/token", post(entra::token))
        // As login.microsoftonline.com, over TLS.
        .route("/{tenant}/oauth2/v2.0/token", post(entra::token))
        .route("/v1.0/myorg/{*call}", any(powerbi::serve))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            faults::observe,
        ))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

async fn nothing_here(uri: Uri) -> Response {
    let message = format!("the sandbox serves nothing at {}", uri.path());
    let mut response = (StatusCode::NOT_FOUND, Json(json!({ "error": message }))).into_response();
    response
        .extensions_mut()
        .insert(powerbi::Complaint(message));
    response
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// The address by which a listener is reached from this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// Accepts connections until stopped.
async fn accept(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // Errors of accept pass, such as too many open files.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(stream, router, tls) => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, router: Router, tls: Option<TlsAcceptor>) {
    let served = match tls {
        None => serve(stream, router).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, router).await,
            Err(error) => Err(error.into()),
        },
    };
    if let Err(error) = served {
        tracing::debug!(error, "a connection to the sandbox ended early");
    }
}

/// Serves one connection; an answer marked [`faults::Dropped`] ends it instead.
async fn serve<S>(stream: S, router: Router) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let router = router.clone();
            async move {
                let response: Response =
                    match router.oneshot(Request::from(request.map(Body::new))).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    };
                match response.extensions().get::<faults::Dropped>() {
                    None => Ok(response),
                    Some(_) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)),
                }
            }
        });
    auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// A time as the services write it: whole seconds, UTC.
fn rfc3339(time: OffsetDateTime) -> String {
    time.truncate_to_second()
        .format(&Rfc3339)
        .unwrap_or_default()
}
