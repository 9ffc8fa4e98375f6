//! A listener: its accept loop, and the life of each connection.
//!
//! Why not `axum::serve`: it waits for slow clients for ever, and takes whatever they bring. Here a watchdog ends
//! connections whose client is too slow (see [`watch`](super::watch)), what all of them hold together is bounded (see
//! [`crowd`](super::crowd)), and a stop lets answers under way finish.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use h2::Reason;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Peer;
use super::bounds::{
    Bounds, CONNECTION_WINDOW, MAX_HEADERS, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW,
};
use super::crowd::{Crowd, Member};
use super::watch::Verdict;
use super::watched::{WatchedAnswer, WatchedSocket};
use crate::metrics;

/// Time that connections get to send their last answer once the stop is given.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that the system keeps until they are accepted; beyond it, clients try again after a second.
const BACKLOG: u32 = 1024;

/// A listener by its name in metrics; clones share the count of connections.
#[derive(Clone)]
pub struct Listener {
    name: &'static str,
    bounds: Bounds,
    crowd: Arc<Crowd>,
    connections: TaskTracker,
}

/// Listens on `address`.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // So that a restart need not wait for the last connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listener {
    /// A listener that is not served yet.
    #[must_use]
    pub fn new(name: &'static str, bounds: Bounds) -> Self {
        Self {
            name,
            bounds,
            crowd: Arc::new(Crowd::new(&bounds)),
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
        let accept = async {
            loop {
                let Some((stream, peer, member)) = self.accept(&socket).await else {
                    continue;
                };
                let connection = Connection {
                    listener: self.name,
                    bounds: self.bounds,
                    peer,
                    member,
                    router: router.clone(),
                    stop: stop.clone(),
                    end: end.clone(),
                };
                let builder = Arc::clone(&builder);
                self.connections
                    .spawn(async move { connection.run(&builder, stream).await });
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept => {}
            () = self.crowd.keep() => {}
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

    async fn accept(&self, socket: &TcpListener) -> Option<(TcpStream, SocketAddr, Member)> {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                Some((stream, peer, self.crowd.enter().await))
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
    member: Member,
    router: Router,
    stop: CancellationToken,
    /// Nobody waits any longer.
    end: CancellationToken,
}

impl Connection {
    async fn run(self, builder: &auto::Builder<TokioExecutor>, stream: TcpStream) {
        let watch = self.member.watch();
        let io = TokioIo::new(WatchedSocket::new(stream, Arc::clone(watch)));
        let service = service_fn(|request: Request<Incoming>| self.answer(request));
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

    /// Refuses what there is no room for before anything is done: clients of HTTP/2 may send such a request again.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<WatchedAnswer>, h2::Error>> + use<> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        let begun = self.member.watch().request(&request);
        let begun = begun.map(|exchange| (exchange, self.router.clone().oneshot(request)));
        let listener = self.listener;
        async move {
            let Some((exchange, response)) = begun else {
                metrics::request_turned_away(listener);
                return Err(Reason::REFUSED_STREAM.into());
            };
            let Ok(response) = response.await;
            Ok(response.map(|body| WatchedAnswer::new(body, exchange)))
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
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
