//! What replicas share through Redis or Valkey: embed tokens, the right to mint one, rate limits.
//!
//! Redis is a convenience that is not trusted. Values are encrypted, names are keyed hashes, and whatever comes back is
//! doubted: a value that does not open under its own plan, its own name and a known key is a miss. No operation fails
//! its caller: trouble is counted (`embed_broker_shared_cache_operations_total`) and answered by "nothing there", "mint
//! yourself", "your own limit decides".
//!
//! Nor does Redis cost time that it is not worth: one answer is waited for up to `cache.redis.timeout`; the first that
//! does not come takes the connection out of use, and requests go on at once without it until
//! [`maintain`](SharedCache::maintain), in the background, has found a connection that answers.
//!
//! What this cannot prevent: whoever may write to Redis can delete what is shared (replicas mint more) and fake counters
//! (a caller is told 429 as at the limit itself). Nobody gets a token that way.

mod keys;
mod link;
mod rate;
mod trouble;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::Rng as _;

use self::keys::{Key, Keys, Kind};
use self::link::Link;
pub use self::rate::Quota;
use self::trouble::{Reply, Trouble};
use crate::config::{self, Mistake};
use crate::metrics;

/// Longest value: several times the largest embed token. What is planted in Redis costs no more than that to look at.
const MAX_VALUE: usize = 64 * 1024;

/// How long it stands in Redis which key is in use; renewed at every [`maintain`](SharedCache::maintain).
const KEY_CHECK_MILLISECONDS: &str = "60000";

/// Deletes a lock that is still its owner's.
const UNLOCK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The cache of all replicas, as one of them sees it.
pub struct SharedCache {
    link: Link,
    config: config::Redis,
    keys: ArcSwap<Keys>,
    /// What [`maintain`](Self::maintain) last found wanting; empty: nothing.
    complaint: Mutex<String>,
    /// Held while tending.
    turn: tokio::sync::Mutex<()>,
}

/// How the shared cache stands, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it does what it is for.
    pub ok: bool,
    /// How it stands, and what to do about it.
    pub reason: String,
}

/// Why a value that opened is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It has had its time.
    Stale,
    /// It is not what a replica would have stored.
    Wrong(&'static str),
}

/// The answer to who mints.
pub enum Locked {
    /// We do.
    Taken(Lock),
    /// Another replica does.
    Busy,
    /// Nobody can tell.
    Unavailable,
}

/// The right to mint for a plan; ends by itself after `cache.redis.lock_ttl`.
pub struct Lock {
    name: String,
    owner: String,
}

impl SharedCache {
    /// Prepares it; no network until the first [`maintain`](Self::maintain).
    ///
    /// # Errors
    /// What cannot work at all.
    pub fn new(config: &config::Redis, tls: &config::Tls) -> Result<Self, Vec<Mistake>> {
        let remedy = "see docs/redis.md";
        let link = Link::new(config, tls)
            .map_err(|problem| vec![Mistake::new("cache.redis", problem, remedy)])?;
        let keys = Keys::of(&config.keys)
            .map_err(|problem| vec![Mistake::new("cache.redis.key", problem, remedy)])?;
        metrics::shared_cache_in_use();
        Ok(Self {
            link,
            config: config.clone(),
            keys: ArcSwap::from_pointee(keys),
            complaint: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Longest time to wait for the replica that mints.
    #[must_use]
    pub fn lock_ttl(&self) -> Duration {
        self.config.lock_ttl
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let complaint = self.complaint().clone();
        let reasons: Vec<String> = self
            .link
            .trouble()
            .into_iter()
            .chain((!complaint.is_empty()).then_some(complaint))
            .collect();
        Status {
            ok: reasons.is_empty(),
            reason: if reasons.is_empty() {
                "shared with the other replicas".into()
            } else {
                let without = "; meanwhile this replica goes by its own memory";
                reasons.join("; ") + without
            },
        }
    }

    /// Keeps the connection and the keys at what configuration and Redis say. To be called every few seconds.
    pub async fn maintain(&self) {
        let _turn = self.turn.lock().await;
        let mut complaints: Vec<String> = self.reread_keys().err().into_iter().collect();
        let probed = match self.link.connect_if_needed().await {
            Ok(complaint) => {
                complaints.extend(complaint);
                self.compare_keys().await
            }
            Err(trouble) => Err(trouble),
        };
        match probed {
            Ok(true) => metrics::shared_cache("probe", "ok"),
            Ok(false) => {
                metrics::shared_cache("probe", "foreign_key");
                complaints.push(format!(
                    "a broker with another key uses the prefix `{}`: give all replicas the same key",
                    self.config.prefix
                ));
            }
            Err(trouble) => {
                metrics::shared_cache("probe", trouble.label());
                if !trouble.ends_connection() {
                    complaints.push(trouble.to_string());
                }
            }
        }
        let complaint = complaints.join("; ");
        let mut before = self.complaint();
        if *before != complaint && !complaint.is_empty() {
            tracing::warn!(%complaint, "shared cache: another key is in use, or a key cannot be read");
        }
        *before = complaint;
    }

    /// What was stored for `plan`, as `accept` reads it.
    pub async fn get<T>(
        &self,
        plan: &[u8; 32],
        accept: impl Fn(&[u8]) -> Result<T, Unfit>,
    ) -> Option<T> {
        let keys = self.keys.load_full();
        for key in keys.all() {
            let (value, outcome) = self.get_under(key, plan, &accept).await;
            metrics::shared_cache("get", outcome);
            if value.is_some() {
                return value;
            }
        }
        None
    }

    async fn get_under<T>(
        &self,
        key: &Key,
        plan: &[u8; 32],
        accept: &impl Fn(&[u8]) -> Result<T, Unfit>,
    ) -> (Option<T>, &'static str) {
        let name = key.name(&self.config.prefix, Kind::Token, &[plan]);
        let limit = MAX_VALUE.to_string();
        let command = [
            b"GETRANGE",
            name.as_bytes(),
            b"0".as_slice(),
            limit.as_bytes(),
        ];
        let sealed = match self.link.ask(&command).await {
            Ok(Reply::Bytes(sealed)) if sealed.is_empty() => return (None, "miss"),
            Ok(Reply::Bytes(sealed)) => sealed,
            Ok(Reply::Nil | Reply::Done | Reply::Number(_) | Reply::Other) => {
                return (None, rejected("it is no value"));
            }
            Err(trouble) => return (None, trouble.label()),
        };
        let Some(value) = key.open(&name, plan, sealed) else {
            return (
                None,
                rejected("it does not open: tampered with, swapped, or of another key"),
            );
        };
        match accept(&value) {
            Ok(value) => (Some(value), "hit"),
            Err(Unfit::Stale) => (None, "stale"),
            Err(Unfit::Wrong(problem)) => (None, rejected(problem)),
        }
    }

    /// Stores `value` for `plan`.
    pub async fn put(&self, plan: &[u8; 32], value: &[u8], ttl: Duration) {
        let key = &self.keys.load_full().current;
        let name = key.name(&self.config.prefix, Kind::Token, &[plan]);
        let sealed = key.seal(&name, plan, value);
        let sealed = sealed.filter(|sealed| sealed.len() <= MAX_VALUE);
        let outcome = match sealed {
            None => "too_large",
            Some(sealed) => {
                let ttl = milliseconds(ttl);
                let command = [b"SET", name.as_bytes(), &sealed, b"PX", ttl.as_bytes()];
                match self.link.ask(&command).await {
                    Ok(_) => "ok",
                    Err(trouble) => trouble.label(),
                }
            }
        };
        metrics::shared_cache("put", outcome);
    }

    /// Asks for the right to mint for `plan`.
    pub async fn lock(&self, plan: &[u8; 32]) -> Locked {
        let keys = self.keys.load_full();
        let name = keys.current.name(&self.config.prefix, Kind::Lock, &[plan]);
        let owner = format!("{:032x}", rand::rng().random::<u128>());
        let ttl = milliseconds(self.config.lock_ttl);
        let command = [
            b"SET",
            name.as_bytes(),
            owner.as_bytes(),
            b"NX",
            b"PX",
            ttl.as_bytes(),
        ];
        let (locked, outcome) = match self.link.ask(&command).await {
            Ok(Reply::Done) => (Locked::Taken(Lock { name, owner }), "taken"),
            Ok(Reply::Nil) => (Locked::Busy, "busy"),
            Ok(Reply::Bytes(_) | Reply::Number(_) | Reply::Other) => {
                (Locked::Unavailable, rejected("it is no answer to SET NX"))
            }
            Err(trouble) => (Locked::Unavailable, trouble.label()),
        };
        metrics::shared_cache("lock", outcome);
        locked
    }

    /// Gives the right back; one that has passed to another replica meanwhile stays there.
    pub async fn unlock(&self, lock: Lock) {
        let (name, owner) = (lock.name.as_bytes(), lock.owner.as_bytes());
        let command = [b"EVAL", UNLOCK.as_bytes(), b"1", name, owner];
        let outcome = match self.link.ask(&command).await {
            Ok(_) => "ok",
            Err(trouble) => trouble.label(),
        };
        metrics::shared_cache("unlock", outcome);
    }

    /// Takes over keys that were re-read; the former ones go on while the new ones are none.
    fn reread_keys(&self) -> Result<(), String> {
        if self.keys.load().are_current(&self.config.keys) {
            return Ok(());
        }
        let keys = Keys::of(&self.config.keys)
            .map_err(|problem| format!("cache.redis.key {problem}; the former key goes on"))?;
        self.keys.store(Arc::new(keys));
        tracing::info!("shared cache: keys re-read");
        Ok(())
    }

    /// Whether the key that stands in Redis as in use is one of ours; ours is noted there when it may.
    async fn compare_keys(&self) -> Result<bool, Trouble> {
        let keys = self.keys.load_full();
        let name = format!("{}key", self.config.prefix);
        let limit = (Key::FINGERPRINT_LENGTH).to_string();
        let command = [
            b"GETRANGE",
            name.as_bytes(),
            b"0".as_slice(),
            limit.as_bytes(),
        ];
        if let Reply::Bytes(noted) = self.link.ask(&command).await?
            && !noted.is_empty()
            && !keys.all().any(|key| key.fingerprint().as_bytes() == noted)
        {
            return Ok(false);
        }
        let fingerprint = keys.current.fingerprint().as_bytes();
        let command = [
            b"SET",
            name.as_bytes(),
            fingerprint,
            b"PX",
            KEY_CHECK_MILLISECONDS.as_bytes(),
        ];
        self.link.ask(&command).await.map(|_| true)
    }

    fn complaint(&self) -> std::sync::MutexGuard<'_, String> {
        // Nothing under this lock can panic half-way through a change.
        self.complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody should look at what is in Redis.
fn rejected(problem: &'static str) -> &'static str {
    tracing::warn!(
        problem,
        "shared cache: an answer is not used, as if there were none"
    );
    "rejected"
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}
