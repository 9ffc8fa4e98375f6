//! What all clients of one listener may hold in memory together.
//!
//! Whoever connects has proved nothing yet, so nothing that grows with connections or requests is bounded for each of
//! them alone. Three amounts of bytes are counted over all connections, and given back when whoever holds them is
//! dropped. What happens beyond a bound is decided by [`crowd`](super::crowd), and for requests by
//! [`serve`](super::serve).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::bounds::{Bounds, CONNECTION_BYTES, FEW_REQUESTS, REQUEST_BYTES};

/// The room of one listener.
pub(super) struct Room {
    connections: Arc<Meter>,
    requests: Arc<Meter>,
    answers: Arc<Meter>,
    /// Connections or answers are over their bounds.
    full: Notify,
    /// A connection has ended, or has nothing under way any more.
    changed: Notify,
}

struct Meter {
    held: AtomicUsize,
    bound: usize,
}

/// Bytes that are held.
pub(super) struct Share {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            connections: Meter::new(bounds.connection_bytes()),
            requests: Meter::new(bounds.requests),
            answers: Meter::new(bounds.answers),
            full: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Room for one more connection.
    pub(super) fn connection(&self) -> Option<Share> {
        self.connections
            .try_hold(CONNECTION_BYTES, self.connections.bound)
    }

    /// Counts that the buffers of a connection have become larger or smaller.
    pub(super) fn resize(&self, connection: &mut Share, bytes: usize) {
        let grown = connection.bytes < bytes;
        connection.set(bytes);
        if grown && self.connections.is_over() {
            self.full.notify_one();
        }
    }

    /// Room for a request whose head and body have so many bytes, on a connection with so many `others` under way.
    pub(super) fn request(&self, bytes: usize, others: usize) -> Option<Share> {
        let bound = self.requests.bound;
        let bound = if others < FEW_REQUESTS {
            bound
        } else {
            bound / 4 * 3
        };
        self.requests.try_hold(REQUEST_BYTES + bytes, bound)
    }

    /// Counts an answer of so many bytes.
    pub(super) fn answer(&self, bytes: usize) -> Share {
        let share = self.answers.hold(REQUEST_BYTES + bytes);
        if self.answers.is_over() {
            self.full.notify_one();
        }
        share
    }

    /// Whether connections hold more than they may.
    pub(super) fn has_too_large_connections(&self) -> bool {
        self.connections.is_over()
    }

    /// Whether answers hold more than they may.
    pub(super) fn has_too_many_answers(&self) -> bool {
        self.answers.is_over()
    }

    /// Comes when connections or answers may be over their bounds.
    pub(super) async fn full(&self) {
        self.full.notified().await;
    }

    /// Tells that a connection has ended, or has nothing under way any more.
    pub(super) fn change(&self) {
        self.changed.notify_one();
    }

    /// Comes after a [`change`](Self::change).
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Meter {
    fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            bound,
        })
    }

    /// Counts so many bytes, beyond the bound as well.
    fn hold(self: &Arc<Self>, bytes: usize) -> Share {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Share {
            meter: Arc::clone(self),
            bytes,
        }
    }

    /// Counts so many bytes, if they fit below `bound`.
    fn try_hold(self: &Arc<Self>, bytes: usize, bound: usize) -> Option<Share> {
        let fits = |held| Some(held + bytes).filter(|held| *held <= bound);
        let held = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        held.is_ok().then(|| Share {
            meter: Arc::clone(self),
            bytes,
        })
    }

    fn is_over(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.bound
    }
}

impl Share {
    fn set(&mut self, bytes: usize) {
        self.meter.held.fetch_add(bytes, Ordering::Relaxed);
        self.meter.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.meter.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn room(bytes: usize) -> Room {
        Room::new(&Bounds {
            connections: 2,
            requests: bytes,
            answers: bytes,
            ..Bounds::traffic(1)
        })
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let room = room(10 * REQUEST_BYTES);
        let first = room.request(5 * REQUEST_BYTES, 0).unwrap();
        let second = room.request(3 * REQUEST_BYTES, 0).unwrap();
        assert!(room.request(1, 0).is_none(), "the bound");
        drop(first);
        assert!(room.request(5 * REQUEST_BYTES + 1, 0).is_none());
        let third = room.request(5 * REQUEST_BYTES, 0).unwrap();
        drop((second, third));
        assert!(room.request(9 * REQUEST_BYTES, 0).is_some());
    }

    #[test]
    fn a_connection_with_many_requests_leaves_room_for_others() {
        let room = room(16 * REQUEST_BYTES);
        let held: Vec<_> = std::iter::from_fn(|| room.request(0, FEW_REQUESTS)).collect();
        assert_eq!(held.len(), 12);
        let others: Vec<_> = std::iter::from_fn(|| room.request(0, FEW_REQUESTS - 1)).collect();
        assert_eq!(others.len(), 4);
    }

    #[test]
    fn what_grows_beyond_its_bound_is_told() {
        let room = room(2 * REQUEST_BYTES);
        let mut connection = room.connection().unwrap();
        let other = room.connection().unwrap();
        assert!(room.connection().is_none() && !room.has_too_large_connections());
        room.resize(&mut connection, CONNECTION_BYTES + 1);
        assert!(room.has_too_large_connections());
        assert!(room.full().now_or_never().is_some());
        room.resize(&mut connection, CONNECTION_BYTES);
        assert!(!room.has_too_large_connections());
        assert!(room.full().now_or_never().is_none());
        drop(other);
        assert!(room.connection().is_some());

        let answer = room.answer(REQUEST_BYTES);
        assert!(!room.has_too_many_answers() && room.full().now_or_never().is_none());
        let one_more = room.answer(0);
        assert!(room.has_too_many_answers() && room.full().now_or_never().is_some());
        drop((answer, one_more));
        assert!(!room.has_too_many_answers());
    }
}
