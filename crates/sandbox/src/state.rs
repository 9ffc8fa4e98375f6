//! What the simulated services of one [`Upstream`](super::Upstream) share. Everything in it is bounded.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use time::OffsetDateTime;

use super::embed::EmbedToken;
use super::entra::Settings;
use super::faults::{Calls, Fault};
use super::idp::Keys;
use super::insight::Insight;
use super::seed::Seed;
use super::world::{Caller, World};

/// Tokens of each kind that are remembered; the oldest are forgotten first.
const TOKENS: usize = 20_000;

/// The state of one simulated upstream.
pub(super) struct Shared {
    /// Where this upstream is reached, without a slash at the end.
    pub(super) url: String,
    pub(super) tls_url: String,
    /// Where the broker is reached, for the demo page.
    pub(super) broker_url: Option<String>,
    pub(super) policy_file: Option<PathBuf>,
    pub(super) page_size: usize,
    pub(super) seed: Seed,
    pub(super) world: Mutex<World>,
    pub(super) entra: Mutex<Settings>,
    pub(super) keys: Mutex<Keys>,
    pub(super) access_tokens: Mutex<Bounded<AccessToken>>,
    pub(super) embed_tokens: Mutex<Bounded<EmbedToken>>,
    pub(super) calls: Mutex<Calls>,
    pub(super) faults: Mutex<Vec<Fault>>,
    /// The broker of this process, once it runs.
    pub(super) insight: Arc<OnceLock<Insight>>,
}

/// An Entra token that was given out.
#[derive(Clone)]
pub(super) struct AccessToken {
    pub(super) caller: Caller,
    /// Client id of the app, or name of the user.
    pub(super) principal: String,
    pub(super) expires: OffsetDateTime,
}

/// A map that forgets its oldest entry when it is full.
pub(super) struct Bounded<T> {
    entries: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Bounded<T> {
    pub(super) fn insert(&mut self, key: String, value: T) {
        if self.order.len() >= TOKENS
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        self.entries.get_mut(key)
    }
}

impl Shared {
    /// Everything as it was at the start, but for keys and tokens that are out.
    pub(super) fn reset(&self) {
        *locked(&self.world) = World::new(&self.seed, self.page_size);
        *locked(&self.entra) = Settings::new(&self.seed);
        locked(&self.faults).clear();
        locked(&self.calls).clear();
    }
}

/// The guard of a mutex; a panic elsewhere does not make the sandbox useless.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
