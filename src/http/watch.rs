//! What one connection is doing, so that a client cannot hold it for ever.
//!
//! The socket and the service tell [`Watch`] what happens; its [`verdict`](Watch::verdict) comes when the client has
//! had its time: a head that does not arrive (from the connection's first moment on: a client that says nothing is
//! slow as well), an answer that is not taken, or no request for long. Bodies have a time of their own where they are
//! read.
//!
//! An answer that is not taken shows in two places: on a socket that takes no more bytes, and, with HTTP/2, whose
//! client opens no window for a stream although the socket is free, in an answer that is still there.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::serve::Bounds;

/// How often a connection is judged, at most.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// The state of one connection.
pub(super) struct Watch(Mutex<State>);

#[derive(Default)]
struct State {
    /// Since when a head has been arriving.
    head: Option<Instant>,
    /// Since when there has been nothing to do.
    idle: Option<Instant>,
    /// Since when the socket has taken nothing.
    blocked: Option<Instant>,
    /// Requests that are being answered.
    under_way: usize,
    http2: bool,
    /// Answers of HTTP/2 that are not taken yet, by number.
    answers: BTreeMap<u64, Instant>,
    next: u64,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was asked for a long time.
    Idle,
    /// The client is too slow; the word is for metrics.
    Slow(&'static str),
}

/// A request that is being answered, until it is dropped.
pub(super) struct Exchange {
    watch: Arc<Watch>,
    answer: Option<u64>,
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    _exchange: Exchange,
}

/// A socket that tells its watch.
pub(super) struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
    blocked: bool,
}

impl Watch {
    /// A connection that has just begun: its first head is awaited.
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            head: Some(Instant::now()),
            ..State::default()
        }))
    }

    /// A head has arrived.
    pub(super) fn request(self: &Arc<Self>, version: Version) -> Exchange {
        let mut state = self.state();
        state.http2 = version == Version::HTTP_2;
        state.under_way += 1;
        (state.head, state.idle) = (None, None);
        Exchange {
            watch: Arc::clone(self),
            answer: None,
        }
    }

    /// Comes when the connection is to end.
    pub(super) async fn verdict(&self, bounds: &Bounds) -> Verdict {
        let tick = bounds.head.min(bounds.stall).min(bounds.idle) / 4;
        loop {
            tokio::time::sleep(tick.min(LONGEST_TICK)).await;
            if let Some(verdict) = self.state().verdict(bounds, Instant::now()) {
                return verdict;
            }
        }
    }

    fn read(&self) {
        let mut state = self.state();
        // Frames of HTTP/2 come at any time; and bytes that come while a request is answered are its body.
        if state.under_way == 0 && !state.http2 && state.head.is_none() {
            (state.head, state.idle) = (Some(Instant::now()), None);
        }
    }

    fn blocked(&self, blocked: bool) {
        self.state().blocked = blocked.then(Instant::now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn verdict(&self, bounds: &Bounds, now: Instant) -> Option<Verdict> {
        let over = |since: Option<Instant>, bound| since.is_some_and(|since| now - since >= bound);
        let oldest = self.answers.values().next().copied();
        if over(self.head, bounds.head) {
            Some(Verdict::Slow("slow_request"))
        } else if over(self.blocked, bounds.stall) || over(oldest, bounds.stall) {
            Some(Verdict::Slow("slow_reader"))
        } else if over(self.idle, bounds.idle) {
            Some(Verdict::Idle)
        } else {
            None
        }
    }
}

impl Exchange {
    /// The answer that is to be taken now.
    pub(super) fn answer(mut self, body: Body) -> Answer {
        let mut state = self.watch.state();
        if state.http2 {
            let number = state.next;
            state.next += 1;
            state.answers.insert(number, Instant::now());
            drop(state);
            self.answer = Some(number);
        } else {
            drop(state);
        }
        Answer {
            body,
            _exchange: self,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        if let Some(number) = self.answer {
            state.answers.remove(&number);
        }
        state.under_way = state.under_way.saturating_sub(1);
        if state.under_way == 0 {
            state.idle = Some(Instant::now());
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Watched {
    pub(super) fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self {
            stream,
            watch,
            blocked: false,
        }
    }

    /// Tells when the socket begins or ceases to take nothing.
    fn told<T>(&mut self, poll: Poll<T>) -> Poll<T> {
        if self.blocked != poll.is_pending() {
            self.blocked = poll.is_pending();
            self.watch.blocked(self.blocked);
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.watch.read();
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.told(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.told(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
