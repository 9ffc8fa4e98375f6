//! Bounds what refusals can write: one that costs its sender nothing must not fill the disk of the trail.
//!
//! Refusals of callers who proved no identity have a record each up to [`PER_ADDRESS`] a minute, refusals by the rate
//! limit up to [`PER_CALLER`], and both together up to [`IN_TOTAL`]. What goes beyond is counted and written as one
//! record a minute for each address, caller, or for all others together, so that the sum of all records' counts is
//! still the number of answers. Refusals of admitted callers are not counted here: the rate limit bounds them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

use super::AuditRecord;

/// Refusals of unauthenticated callers recorded one by one, a minute and address (part of the HTTP contract).
const PER_ADDRESS: u32 = 60;

/// Refusals by the rate limit recorded one by one, a minute and caller (part of the HTTP contract).
const PER_CALLER: u32 = 10;

/// Both kinds recorded one by one, a minute, whoever sent them (part of the HTTP contract). It bounds the memory as
/// well: only who had a record of his own is counted apart.
const IN_TOTAL: u32 = 6_000;

/// Most that their records take: of this minute, and of the last one until it is written. One of a caller who was not
/// admitted has no more than 2 KiB.
pub(crate) const MOST_BYTES: u64 = 2 * IN_TOTAL as u64 * 2 * 1024;

/// Length of a counting window.
const MINUTE: Duration = Duration::from_secs(60);

/// Length of the network part of an IPv6 address: one customer of a provider has all addresses below it.
const IPV6_NETWORK_BITS: u32 = 64;

/// What the record says that counts refusals of several senders together.
const IN_TOTAL_REASON: &str =
    "more than 6,000 requests were refused in this minute; the rest of them is counted here";

/// Counts refusals by their source.
#[derive(Debug)]
pub(super) struct RefusalCounter {
    /// Sources are kept by a keyed hash, so that names take no memory and nobody can aim at a collision.
    hash: RandomState,
    sources: HashMap<u64, Window>,
    total: Window,
}

/// What one source sent within a minute.
#[derive(Debug)]
struct Window {
    began: Instant,
    single_records: u32,
    counted: u64,
    last_counted: Option<AuditRecord>,
}

impl Default for RefusalCounter {
    fn default() -> Self {
        Self {
            hash: RandomState::new(),
            sources: HashMap::new(),
            total: Window::new(Instant::now()),
        }
    }
}

impl RefusalCounter {
    /// The record, when it is to be written by itself; else it is counted.
    pub(super) fn admit(&mut self, record: AuditRecord, now: Instant) -> Option<AuditRecord> {
        if record.admitted {
            return Some(record);
        }
        let (source, limit) = if let Some(sub) = &record.sub {
            let caller = (&record.issuer, &record.tid, sub);
            (self.hash.hash_one(caller), PER_CALLER)
        } else {
            let network = record.client.map(network);
            (self.hash.hash_one(network), PER_ADDRESS)
        };
        if let Some(window) = self.sources.get_mut(&source) {
            window.renew(now);
            if window.single_records >= limit {
                window.count(record);
                return None;
            }
        }
        self.total.renew(now);
        if self.total.single_records >= IN_TOTAL {
            self.total.count(record);
            return None;
        }
        self.total.single_records += 1;
        let window = self.sources.entry(source);
        window.or_insert(Window::new(now)).single_records += 1;
        Some(record)
    }

    /// The counts of windows that are over; with `all`, of every window.
    pub(super) fn take(&mut self, now: Instant, all: bool) -> Vec<AuditRecord> {
        let mut counts = Vec::new();
        self.sources.retain(|_, window| {
            let over = all || window.is_over(now);
            if over {
                counts.extend(window.take());
            }
            !over
        });
        if all || self.total.is_over(now) {
            counts.extend(self.total.take().map(anonymous));
        }
        counts
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            single_records: 0,
            counted: 0,
            last_counted: None,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) >= MINUTE
    }

    /// A window that is over but whose count is not written yet goes on counting.
    fn renew(&mut self, now: Instant) {
        if self.is_over(now) && self.counted == 0 {
            *self = Self::new(now);
        }
    }

    fn count(&mut self, record: AuditRecord) {
        self.counted += 1;
        self.last_counted = Some(record);
    }

    /// The last counted record with the count, if anything was counted.
    fn take(&mut self) -> Option<AuditRecord> {
        let count = std::mem::take(&mut self.counted);
        let last = self.last_counted.take()?;
        Some(AuditRecord {
            count: Some(count),
            ..last
        })
    }
}

/// The addresses that one sender has at hand.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host_bits = Ipv6Addr::BITS - IPV6_NETWORK_BITS;
            Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A record that stands for several senders must not name one of them.
fn anonymous(record: AuditRecord) -> AuditRecord {
    AuditRecord {
        code: record.code,
        count: record.count,
        reason: Some(IN_TOTAL_REASON.to_owned()),
        ..AuditRecord::new(record.event, record.request_id, None, record.time)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::audit::Event;

    fn refusal(address: impl Into<IpAddr>) -> AuditRecord {
        AuditRecord::new(
            Event::EmbedToken,
            "id".to_owned(),
            Some(address.into()),
            OffsetDateTime::UNIX_EPOCH,
        )
    }

    fn rate_limited(tid: &str, sub: &str) -> AuditRecord {
        AuditRecord {
            issuer: Some("login".into()),
            tid: Some(tid.into()),
            sub: Some(sub.into()),
            code: "rate_limited",
            ..refusal([203, 0, 113, 9])
        }
    }

    /// How many of these are recorded one by one.
    fn singles(
        counter: &mut RefusalCounter,
        refusals: impl IntoIterator<Item = AuditRecord>,
    ) -> usize {
        let admitted = |record| counter.admit(record, Instant::now());
        refusals.into_iter().filter_map(admitted).count()
    }

    fn counted(counts: &[AuditRecord]) -> u64 {
        counts.iter().filter_map(|record| record.count).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_sixty_a_minute_of_one_address_one_record_counts_the_rest() {
        let mut counter = RefusalCounter::default();
        let flood = || (0..1000).map(|_| refusal([203, 0, 113, 9]));
        assert_eq!(singles(&mut counter, flood()), 60);
        let early = counter.take(Instant::now(), false);
        assert!(early.is_empty(), "the minute is not over");
        tokio::time::advance(MINUTE).await;
        let counts = counter.take(Instant::now(), false);
        assert_eq!(counts.len(), 1);
        assert_eq!(counts[0].count, Some(940));
        assert_eq!(counts[0].client, Some([203, 0, 113, 9].into()));
        assert_eq!(singles(&mut counter, flood()), 60, "a new minute");
    }

    #[tokio::test(start_paused = true)]
    async fn the_addresses_of_one_ipv6_network_count_as_one() {
        let mut counter = RefusalCounter::default();
        let address =
            |network: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
        let rotating = (0..1000).map(|host| refusal(address(1, host)));
        assert_eq!(singles(&mut counter, rotating), 60);
        assert_eq!(singles(&mut counter, [refusal(address(2, 1))]), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv4_address_is_the_same_in_the_notation_of_ipv6() {
        let mut counter = RefusalCounter::default();
        let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xcb00, 0x7109);
        assert_eq!(
            singles(&mut counter, (0..100).map(|_| refusal([203, 0, 113, 9]))),
            60
        );
        assert_eq!(singles(&mut counter, [refusal(mapped)]), 0);
        let other = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xcb00, 0x710a);
        assert_eq!(singles(&mut counter, [refusal(other)]), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_ten_a_minute_of_one_caller_one_record_counts_the_rest() {
        let mut counter = RefusalCounter::default();
        let flood = |tid, sub| (0..1000).map(move |_| rate_limited(tid, sub));
        assert_eq!(singles(&mut counter, flood("t1", "u1")), 10);
        assert_eq!(singles(&mut counter, flood("t1", "u2")), 10);
        assert_eq!(singles(&mut counter, flood("t2", "u1")), 10);
        tokio::time::advance(MINUTE).await;
        let counts = counter.take(Instant::now(), false);
        assert_eq!(counts.len(), 3);
        assert!(counts.iter().all(|record| record.count == Some(990)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_sources_fill_neither_memory_nor_disk() {
        let mut counter = RefusalCounter::default();
        let addresses = (0..500_000u32).map(|number| refusal(number.to_be_bytes()));
        let callers = (0..500_000u32).map(|number| rate_limited("t", &number.to_string()));
        let singles = singles(&mut counter, addresses.chain(callers));
        assert_eq!(singles, 6_000);
        assert_eq!(counter.sources.len(), 6_000);
        tokio::time::advance(MINUTE).await;
        let counts = counter.take(Instant::now(), false);
        assert_eq!(counts.len(), 1, "the rest is one record");
        assert_eq!(singles as u64 + counted(&counts), 1_000_000);
        assert_eq!(counts[0].sub, None, "which names none of its senders");
        assert_eq!(counts[0].client, None);
        assert!(counter.sources.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_admitted_callers_are_recorded_one_by_one() {
        let mut counter = RefusalCounter::default();
        let refused = (0..10_000).map(|_| AuditRecord {
            admitted: true,
            code: "not_permitted",
            ..rate_limited("t", "u")
        });
        assert_eq!(singles(&mut counter, refused), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_forgotten_when_the_process_ends_within_the_minute() {
        let mut counter = RefusalCounter::default();
        let refusals = (0..70).map(|_| refusal([203, 0, 113, 9]));
        assert_eq!(singles(&mut counter, refusals), 60);
        assert_eq!(counted(&counter.take(Instant::now(), true)), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_counted_after_the_minute_is_in_the_record_of_the_minute() {
        let mut counter = RefusalCounter::default();
        let refusals = |times| (0..times).map(|_| refusal([203, 0, 113, 9]));
        assert_eq!(singles(&mut counter, refusals(70)), 60);
        tokio::time::advance(MINUTE).await;
        assert_eq!(singles(&mut counter, refusals(5)), 0, "not written yet");
        assert_eq!(counted(&counter.take(Instant::now(), false)), 15);
    }
}
