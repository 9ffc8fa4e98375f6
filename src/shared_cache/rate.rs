//! How often one caller may ask, counted across replicas.
//!
//! The generic cell rate algorithm, as the broker's own limiter has it, in a script that Redis runs as one step and by
//! its own clock: what is kept for a caller is the moment at which the allowance is full again, and it is gone from
//! Redis at that moment. A replica asks only for requests that its own limit lets pass, so that Redis can make the
//! limit tighter and never looser. A moment further ahead than the allowance reaches is nobody's honest count: it counts
//! as none, and an answer that asks for a longer wait than a count can is not believed.

use std::time::Duration;

use super::keys::Kind;
use super::trouble::Reply;
use super::{SharedCache, rejected};
use crate::metrics;

/// Gives 0 when the request passes, else the microseconds until one does.
const SCRIPT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, room = tonumber(ARGV[1]), tonumber(ARGV[1]) * tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]))
if not full or not (full >= now and full <= now + room) then full = now end
full = full + cost
if full - now > room then return math.ceil(full - now - room) end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return 0
";

/// What one caller may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Time in which the allowance grows by one request.
    pub interval: Duration,
    /// Requests that may come at once.
    pub burst: u32,
}

impl SharedCache {
    /// Counts a request of the caller that `name` identifies, and tells how long it has to wait if it is one too many.
    /// `None`: it passes, or nobody can tell.
    pub async fn over_limit(&self, name: &[&[u8]], quota: Quota) -> Option<Duration> {
        let interval = quota.interval.max(Duration::from_micros(1));
        let keys = self.keys.load_full();
        let name = keys.current.name(&self.config.prefix, Kind::Rate, name);
        let (cost, burst) = (interval.as_micros().to_string(), quota.burst.to_string());
        let command = [
            b"EVAL",
            SCRIPT.as_bytes(),
            b"1",
            name.as_bytes(),
            cost.as_bytes(),
            burst.as_bytes(),
        ];
        let (wait, outcome) = match self.link.ask(&command).await {
            Ok(Reply::Number(0)) => (None, "allowed"),
            Ok(Reply::Number(wait)) => match u64::try_from(wait).map(Duration::from_micros) {
                Ok(wait) if wait <= interval => (Some(wait), "denied"),
                Ok(_) | Err(_) => (None, rejected("it is a wait that no count gives")),
            },
            Ok(Reply::Nil | Reply::Done | Reply::Bytes(_) | Reply::Other) => {
                (None, rejected("it is no wait"))
            }
            Err(trouble) => (None, trouble.label()),
        };
        metrics::shared_cache("rate", outcome);
        wait
    }
}
