//! A listener: its accept loop, and the life of each connection.
//!
//! Why not `axum::serve`: it waits for slow clients for ever. Here connections are counted, a watchdog ends those whose
//! client is too slow (see [`watch`](super::watch)), and a stop lets answers under way finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Peer;
use super::watch::{Answer, Verdict, Watch, Watched};
use crate::metrics;

/// Bytes of headers that a connection may buffer: a token of 16 KiB, cookies and identity blobs fit.
const MAX_HEADERS: usize = 64 * 1024;

/// Connections at once, where the process may open enough files.
const MAX_CONNECTIONS: usize = 8 * 1024;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Time that connections get to send their last answer once the stop is given.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client may take of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; further ones wait in the system's backlog.
    pub connections: usize,
    /// Time from a request's first byte (or the connection's start) to the end of its headers.
    pub head: Duration,
    /// Time without a request; more than gateways keep idle connections, so that none sends a request into one that
    /// is being closed.
    pub idle: Duration,
    /// Time without progress in taking an answer.
    pub stall: Duration,
}

/// A listener by its name in metrics; clones share the count of connections.
#[derive(Clone, Debug)]
pub struct Listener {
    name: &'static str,
    bounds: Bounds,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: most_connections(),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(15),
        }
    }
}

/// Half of the files that this process may open: the rest is for upstream calls, secrets and the audit trail.
fn most_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    files.map_or(MAX_CONNECTIONS, |files| {
        (files / 2).clamp(1, MAX_CONNECTIONS)
    })
}

impl Listener {
    /// A listener that is not served yet.
    #[must_use]
    pub fn new(name: &'static str, bounds: Bounds) -> Self {
        Self {
            name,
            bounds,
            permits: Arc::new(Semaphore::new(bounds.connections)),
            connections: TaskTracker::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Open connections.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Serves `router` on `socket` until `stop`, then lets open connections finish what they are sending.
    pub async fn serve(self, socket: TcpListener, router: Router, stop: CancellationToken) {
        let builder = Arc::new(builder());
        let end = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&socket) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                continue;
            };
            let connection = Connection {
                listener: self.name,
                bounds: self.bounds,
                peer,
                router: router.clone(),
                stop: stop.clone(),
                end: end.clone(),
            };
            let builder = Arc::clone(&builder);
            self.connections.spawn(async move {
                connection.run(&builder, stream).await;
                drop(permit);
            });
        }
        drop(socket);
        self.connections.close();
        if tokio::time::timeout(FLUSH_TIMEOUT, self.connections.wait())
            .await
            .is_err()
        {
            end.cancel();
            self.connections.wait().await;
        }
    }

    async fn accept(
        &self,
        socket: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        match socket.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                Some((stream, peer, permit))
            }
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to close instead of spinning.
                tracing::warn!(%error, listener = self.name, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(500)).await;
                None
            }
        }
    }
}

/// One connection with all that it needs.
struct Connection {
    listener: &'static str,
    bounds: Bounds,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
    /// Nobody waits any longer.
    end: CancellationToken,
}

impl Connection {
    async fn run(self, builder: &auto::Builder<TokioExecutor>, stream: TcpStream) {
        let watch = Arc::new(Watch::new());
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch)));
        let service = service_fn(|request: Request<Incoming>| self.answer(&watch, request));
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut stopping = false;
        loop {
            tokio::select! {
                // A connection that breaks is the client's affair.
                _ = connection.as_mut() => return,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.end.cancelled() => return,
                verdict = watch.verdict(&self.bounds) => match verdict {
                    Verdict::Idle if !stopping => {
                        stopping = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    Verdict::Idle => return,
                    Verdict::Slow(reason) => {
                        metrics::connection_cut(self.listener, reason);
                        return;
                    }
                },
            }
        }
    }

    fn answer(
        &self,
        watch: &Arc<Watch>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
        let exchange = watch.request(request.version());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        let response = self.router.clone().oneshot(request);
        async move {
            let response = response.await?;
            Ok(response.map(|body| exchange.answer(body)))
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // It would count idle time as well; the watchdog tells the two apart.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
