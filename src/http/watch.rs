//! What one connection is doing and holding, so that a client cannot keep it for ever.
//!
//! The socket and the service tell [`Watch`] what happens; its [`verdict`](Watch::verdict) comes when the client has
//! had its time: a head that does not arrive (from the connection's first moment on: a client that says nothing is
//! slow as well), an answer that is not taken, or no request for long; or when [`crowd`](super::crowd) gives it up.
//! Bodies have a time of their own where they are read.
//!
//! An answer that is not taken shows in two places: on a socket that takes no more bytes, and, with HTTP/2, whose
//! client opens no window for a stream although the socket is free, in an answer that is still there. It counts as
//! taken when its last byte is out of the process: until then hyper and h2 may keep it in their buffers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::Request;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::MAX_BODY;
use super::bounds::{Bounds, CONNECTION_BYTES, HEAD_BYTES, HEADER_BYTES, HTTP2_BYTES, READ_BUFFER};
use super::room::{Room, Share};
use super::wire::Wire;

/// How often a connection is judged, at most.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// Where there is no room for connections, and none is idle, one may go whose client has not taken its answers for so
/// long.
const UNREAD: Duration = Duration::from_secs(1);

/// The state of one connection.
pub(super) struct Watch {
    room: Arc<Room>,
    state: Mutex<State>,
    given_up: CancellationToken,
}

/// What the client of a connection has sent and taken.
pub(super) struct State {
    wire: Wire,
    /// Since when a head has been arriving.
    head: Option<Instant>,
    /// Since when there has been nothing under way.
    idle: Option<Instant>,
    /// Since when the socket has taken nothing.
    blocked: Option<Instant>,
    /// Requests that are being answered.
    under_way: usize,
    /// Answers that are not taken yet, oldest first.
    answers: Vec<Unread>,
    next: u64,
    /// Bytes of a head of HTTP/1.1 that have arrived.
    heard: usize,
    /// Most bytes that the buffer to read into has held.
    buffer: usize,
    /// What the connection holds; none when it is at its end.
    held: Option<Share>,
}

struct Unread {
    number: u64,
    since: Instant,
    /// Its last byte is on its way to the socket.
    ended: bool,
    _held: Share,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was asked for a long time.
    Idle,
    /// The client is too slow; the word is for metrics.
    Slow(&'static str),
}

/// The order in which connections are given up: the least first.
pub(super) type Rank = (bool, Instant);

/// A request that is being answered, until it is dropped.
pub(super) struct Exchange {
    watch: Arc<Watch>,
    /// What the request holds, until there is an answer.
    held: Option<Share>,
    answer: Option<u64>,
}

impl Watch {
    /// A connection that has just begun, and holds `held`: its first head is awaited.
    pub(super) fn new(room: Arc<Room>, held: Share) -> Self {
        let now = Instant::now();
        Self {
            room,
            state: Mutex::new(State {
                wire: Wire::Unknown(0),
                head: Some(now),
                idle: Some(now),
                blocked: None,
                under_way: 0,
                answers: Vec::new(),
                next: 0,
                heard: 0,
                buffer: 0,
                held: Some(held),
            }),
            given_up: CancellationToken::new(),
        }
    }

    /// A head has arrived; none when there is no room for the request.
    pub(super) fn request(self: &Arc<Self>, request: &Request<Body>) -> Option<Exchange> {
        let weight = weight(request);
        let mut state = self.state();
        let held = self.room.request(weight, state.under_way)?;
        state.under_way += 1;
        (state.idle, state.heard) = (None, 0);
        if !state.wire.is_in_head() {
            state.head = None;
        }
        Some(Exchange {
            watch: Arc::clone(self),
            held: Some(held),
            answer: None,
        })
    }

    /// Comes when the connection is to end.
    pub(super) async fn verdict(&self, bounds: &Bounds) -> Verdict {
        let tick = bounds.head.min(bounds.stall).min(bounds.idle) / 4;
        loop {
            tokio::select! {
                () = self.given_up.cancelled() => return Verdict::Slow("crowded_out"),
                () = tokio::time::sleep(tick.min(LONGEST_TICK)) => {}
            }
            if let Some(verdict) = self.state().verdict(bounds, Instant::now()) {
                return verdict;
            }
        }
    }

    /// The client has sent `bytes`.
    pub(super) fn read(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.read(bytes);
        let weight = state.weight();
        if let Some(held) = &mut state.held {
            self.room.resize(held, weight);
        }
    }

    /// The socket begins or ceases to take nothing.
    pub(super) fn blocked(&self, blocked: bool) {
        self.state().blocked = blocked.then(Instant::now);
    }

    /// The socket has taken everything.
    pub(super) fn flushed(&self) {
        self.state().answers.retain(|answer| !answer.ended);
    }

    /// Asks the connection to end, if it still waits for its client, and counts what it holds as given back.
    pub(super) fn give_up(&self, waits: impl Fn(&State) -> bool) {
        let mut state = self.state();
        if waits(&state) {
            state.let_go();
            self.given_up.cancel();
        }
    }

    /// The connection has ended.
    pub(super) fn leave(&self) {
        self.state().let_go();
        self.room.change();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How the connection ranks among those that wait for their clients, none if it does not: first those in the
    /// midst of a head that takes much memory, then those that have waited longest.
    pub(super) fn waits(&self, now: Instant) -> Option<Rank> {
        self.held.as_ref()?;
        if self.under_way == 0 {
            let in_long_head = self.heard > READ_BUFFER || self.wire.is_in_head();
            return Some((!in_long_head, self.idle?));
        }
        let unread = self.answers.iter().filter(|answer| !answer.ended);
        let oldest = self.answers.first()?.since;
        (unread.count() == self.under_way && now - oldest >= UNREAD).then_some((true, oldest))
    }

    /// How it ranks among those whose clients have not taken an answer.
    pub(super) fn is_unread(&self, _: Instant) -> Option<Rank> {
        Some((true, self.answers.first()?.since))
    }

    fn verdict(&self, bounds: &Bounds, now: Instant) -> Option<Verdict> {
        let over = |since: Option<Instant>, bound| since.is_some_and(|since| now - since >= bound);
        // Over HTTP/1.1 an answer may take its time while the socket takes it.
        let mut unread = self.answers.iter().filter(|answer| !answer.ended);
        let oldest = unread.next().filter(|_| self.wire.is_http2());
        if over(self.head, bounds.head) {
            Some(Verdict::Slow("slow_request"))
        } else if over(self.blocked, bounds.stall)
            || over(oldest.map(|answer| answer.since), bounds.stall)
        {
            Some(Verdict::Slow("slow_reader"))
        } else if self.head.is_none() && over(self.idle, bounds.idle) {
            Some(Verdict::Idle)
        } else {
            None
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let was_in_head = self.wire.is_in_head();
        self.wire.read(bytes);
        self.buffer = self.buffer.max(self.heard + bytes.len());
        if !self.wire.is_http2() {
            // Bytes that come while a request is answered are its body.
            if self.under_way == 0 {
                self.heard += bytes.len();
                self.head.get_or_insert_with(Instant::now);
            }
        } else if self.wire.is_in_head() {
            self.head.get_or_insert_with(Instant::now);
        } else if was_in_head {
            self.head = None;
        }
    }

    fn weight(&self) -> usize {
        let buffer = self.buffer.saturating_sub(READ_BUFFER);
        let version = if self.wire.is_http2() { HTTP2_BYTES } else { 0 };
        let head = if self.wire.is_in_head() {
            HEAD_BYTES
        } else {
            0
        };
        CONNECTION_BYTES + buffer + version + head
    }

    fn let_go(&mut self) {
        self.held = None;
        self.answers.clear();
    }
}

/// What the head and the body of a request may hold.
fn weight(request: &Request<Body>) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| HEADER_BYTES + name.as_str().len() + value.len());
    let uri = request.uri();
    let query = uri.query().map_or(0, str::len);
    let body = request.body().size_hint().upper();
    let body = body.map_or(MAX_BODY, |length| {
        usize::try_from(length).map_or(MAX_BODY, |length| length.min(MAX_BODY))
    });
    headers.sum::<usize>() + uri.path().len() + query + body
}

impl Exchange {
    /// An answer of so many bytes is to be taken now.
    pub(super) fn answer(&mut self, bytes: usize) {
        self.held = None;
        let held = self.watch.room.answer(bytes);
        let mut state = self.watch.state();
        // One that was given up is at its end, and so is this answer.
        if state.held.is_some() {
            let number = state.next;
            state.next += 1;
            state.answers.push(Unread {
                number,
                since: Instant::now(),
                ended: false,
                _held: held,
            });
            self.answer = Some(number);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        let own = |answer: &&mut Unread| Some(answer.number) == self.answer;
        if let Some(answer) = state.answers.iter_mut().find(own) {
            answer.ended = true;
        }
        state.under_way = state.under_way.saturating_sub(1);
        if state.under_way == 0 {
            state.idle = Some(Instant::now());
            drop(state);
            self.watch.room.change();
        }
    }
}
