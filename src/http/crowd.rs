//! The connections of one listener, and who has to go when they hold all that they may.
//!
//! | over its bound | what happens |
//! |---|---|
//! | connections: buffers, and heads that are arriving | one with a long head that is arriving is closed, else the one that has been idle longest |
//! | answers that sockets have not taken | the connection whose answer has waited longest is closed |
//!
//! Who has kept us waiting longest goes first, so a client that asks and reads is not harmed by those that do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::bounds::Bounds;
use super::room::Room;
use super::watch::{Rank, State, Watch};

/// One of so many candidates goes whenever room is made, however little is missing: to look through all of them for
/// each one would cost more than the attack.
const BATCH: usize = 64;

/// The connections of one listener.
pub(super) struct Crowd {
    room: Arc<Room>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    next: u64,
    watches: BTreeMap<u64, Arc<Watch>>,
}

/// A connection that belongs to a crowd until it is dropped.
pub(super) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    watch: Arc<Watch>,
}

impl Crowd {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            room: Arc::new(Room::new(bounds)),
            members: Mutex::default(),
        }
    }

    /// Comes when there is room for one more connection, which may cost another one its own.
    pub(super) async fn enter(self: &Arc<Self>) -> Member {
        let held = loop {
            if let Some(held) = self.room.connection() {
                break held;
            }
            // Where nobody is idle, the next one who is makes room.
            if !self.give_up(State::waits) {
                self.room.changed().await;
            }
        };
        let watch = Arc::new(Watch::new(Arc::clone(&self.room), held));
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        members.watches.insert(number, Arc::clone(&watch));
        drop(members);
        Member {
            crowd: Arc::clone(self),
            number,
            watch,
        }
    }

    /// Makes room whenever the connections that are there hold too much; never ends.
    pub(super) async fn keep(&self) {
        loop {
            self.room.full().await;
            while self.room.has_too_large_connections() && self.give_up(State::waits) {}
            while self.room.has_too_many_answers() && self.give_up(State::is_unread) {}
        }
    }

    /// Gives up the connections that rank first; false when there are none.
    fn give_up(&self, rank: fn(&State, Instant) -> Option<Rank>) -> bool {
        let now = Instant::now();
        let members = self.members();
        let mut ranked: Vec<_> = members
            .watches
            .values()
            .filter_map(|watch| Some((rank(&watch.state(), now)?, watch)))
            .collect();
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        let batch = ranked.len().div_ceil(BATCH);
        for (_, watch) in &ranked[..batch] {
            // One that has been asked something meanwhile stays.
            watch.give_up(|state| rank(state, now).is_some());
        }
        batch > 0
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing under this lock can panic half-way through a change.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.members().watches.remove(&self.number);
        self.watch.leave();
    }
}
