//! What a client may take of a listener, and all clients together.

use std::time::Duration;

use super::body::WAITING_BODIES;

/// Bytes of headers of one request: a token of 16 KiB, cookies and identity blobs fit.
pub(super) const MAX_HEADERS: usize = 64 * 1024;

/// Requests at once on one HTTP/2 connection; RFC 9113 recommends no fewer.
pub(super) const MAX_STREAMS: u32 = 100;

/// Bytes that a client of HTTP/2 may send of one body, and of all, before they are read: a body of full length fits.
pub(super) const STREAM_WINDOW: u32 = 32 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 64 * 1024;

/// Bytes of one answer that wait for the socket.
pub(super) const SEND_BUFFER: usize = 32 * 1024;

// What follows was measured, and rounded up.

/// What a connection holds after its first request: its task, and the first buffers.
pub(super) const CONNECTION_BYTES: usize = 20 * 1024;

/// Of these, the first buffer to read into.
pub(super) const READ_BUFFER: usize = 8 * 1024;

/// What a connection of HTTP/2 holds beside that: a frame that is arriving, header tables, streams.
pub(super) const HTTP2_BYTES: usize = 16 * 1024;

/// What a head of HTTP/2 may take before it has ended: its headers may be many and small.
pub(super) const HEAD_BYTES: usize = 256 * 1024;

/// What a request holds beside head and body, and an answer beside its body: task, span, stream.
pub(super) const REQUEST_BYTES: usize = 4 * 1024;

/// What a header holds beside its name and value.
pub(super) const HEADER_BYTES: usize = 128;

/// A connection with so many requests under way gets no more of the last quarter of the room for requests: that is
/// for others.
pub(super) const FEW_REQUESTS: usize = 8;

/// Connections at once: three for each request that
/// `server.max_in_flight` allows by default.
const MAX_CONNECTIONS: usize = 3 * 1024;

/// Answers that clients have not taken yet.
const ANSWERS: usize = 32 * 1024 * 1024;

/// What a client may take of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once, when all are idle; at the limit the one that has been idle longest is closed for a new one.
    pub connections: usize,
    /// Bytes that all requests under way may hold, with their heads and bodies.
    pub requests: usize,
    /// Bytes of all answers that clients have not taken yet.
    pub answers: usize,
    /// Time from a request's first byte (or the connection's start) to the end of its headers.
    pub head: Duration,
    /// Time without a request; more than gateways keep idle connections, so that none sends a request into one that
    /// is being closed.
    pub idle: Duration,
    /// Time without progress in taking an answer.
    pub stall: Duration,
}

impl Bounds {
    /// Those of the traffic listener: every request that may be under way, or wait for its body, has room for a head
    /// of full length.
    #[must_use]
    pub fn traffic(max_in_flight: usize) -> Self {
        let requests = max_in_flight.saturating_add(WAITING_BODIES);
        Self {
            connections: MAX_CONNECTIONS.max(requests),
            requests: requests.saturating_mul(MAX_HEADERS),
            answers: ANSWERS,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(15),
        }
    }

    /// Those of the operators' listener.
    #[must_use]
    pub fn ops() -> Self {
        Self {
            connections: 256,
            requests: 4 * 1024 * 1024,
            answers: 8 * 1024 * 1024,
            ..Self::traffic(0)
        }
    }

    /// With no more connections than this process may open: half of its files are for upstream calls, secrets and the
    /// audit trail.
    #[must_use]
    pub fn within_open_files(self) -> Self {
        Self {
            connections: self.connections.min(open_files() / 2).max(1),
            ..self
        }
    }

    /// Bytes of all connections.
    #[must_use]
    pub fn connection_bytes(&self) -> usize {
        self.connections * CONNECTION_BYTES
    }
}

/// Files that this process may open.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    files.unwrap_or(usize::MAX)
}
