//! Refusals of callers who proved no identity are cheap to provoke, so they must fill neither disk nor memory: beyond
//! [`SINGLE_RECORDS`] a minute from one address they are counted in one record a minute instead of one each, and the
//! addresses counted apart are bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::AuditRecord;

/// Refusals of unauthenticated callers recorded one by one, a minute and address (part of the HTTP contract).
pub(super) const SINGLE_RECORDS: u32 = 60;

/// Addresses counted apart; the rest share one count, so that a flood from many addresses fills no memory.
const MAX_ADDRESSES: usize = 10_000;

/// Length of a counting window.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts refusals by address.
#[derive(Debug, Default)]
pub(super) struct Floods {
    windows: HashMap<Option<IpAddr>, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    seen: u32,
    held_back: u64,
    last: Option<AuditRecord>,
}

impl Floods {
    /// The record, when it is to be written by itself.
    pub(super) fn admit(&mut self, record: AuditRecord, now: Instant) -> Option<AuditRecord> {
        let full = self.windows.len() >= MAX_ADDRESSES;
        let key = record
            .client
            .filter(|_| !full || self.windows.contains_key(&record.client));
        let window = self.windows.entry(key).or_insert(Window {
            began: now,
            seen: 0,
            held_back: 0,
            last: None,
        });
        // A window that is over but not written yet goes on counting: its count is written with the next round.
        if now.duration_since(window.began) >= WINDOW && window.held_back == 0 {
            (window.began, window.seen) = (now, 0);
        }
        window.seen = window.seen.saturating_add(1);
        if window.seen <= SINGLE_RECORDS {
            return Some(record);
        }
        window.held_back += 1;
        window.last = Some(record);
        None
    }

    /// The counts of windows that are over; with `all`, of every window.
    pub(super) fn take(&mut self, now: Instant, all: bool) -> Vec<AuditRecord> {
        let mut counts = Vec::new();
        self.windows.retain(|_, window| {
            let over = all || now.duration_since(window.began) >= WINDOW;
            if over && let Some(last) = window.last.take() {
                counts.push(AuditRecord {
                    count: Some(window.held_back),
                    ..last
                });
            }
            !over
        });
        counts
    }

    /// Addresses that are being counted.
    pub(super) fn addresses(&self) -> usize {
        self.windows.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use time::OffsetDateTime;

    use super::*;
    use crate::audit::Event;

    fn refusal(number: u128) -> AuditRecord {
        let client = IpAddr::V6(Ipv6Addr::from(number));
        let id = number.to_string();
        AuditRecord::new(
            Event::EmbedToken,
            id,
            Some(client),
            OffsetDateTime::UNIX_EPOCH,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_sixty_a_minute_one_record_counts_the_rest() {
        let mut floods = Floods::default();
        let singles = (0..1000).filter(|_| floods.admit(refusal(1), Instant::now()).is_some());
        assert_eq!(singles.count(), 60);
        assert!(
            floods.take(Instant::now(), false).is_empty(),
            "the minute is not over"
        );
        tokio::time::advance(WINDOW).await;
        let counts = floods.take(Instant::now(), false);
        assert_eq!(counts.len(), 1);
        assert_eq!(counts[0].count, Some(940));
        assert!(
            floods.admit(refusal(1), Instant::now()).is_some(),
            "a new minute"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_says_nothing_about_another() {
        let mut floods = Floods::default();
        for _ in 0..100 {
            floods.admit(refusal(1), Instant::now());
        }
        assert!(floods.admit(refusal(2), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_addresses_fill_neither_memory_nor_disk() {
        let mut floods = Floods::default();
        let singles = (0..1_000_000)
            .filter(|&number| floods.admit(refusal(number), Instant::now()).is_some())
            .count();
        assert_eq!(floods.addresses(), MAX_ADDRESSES + 1);
        assert_eq!(singles, MAX_ADDRESSES + 60);
        tokio::time::advance(WINDOW).await;
        let counts = floods.take(Instant::now(), false);
        assert_eq!(counts.len(), 1, "the rest is one record");
        let counted = counts[0].count.unwrap();
        assert_eq!(singles as u64 + counted, 1_000_000, "and none is forgotten");
        assert_eq!(floods.addresses(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_forgotten_when_the_process_ends_within_the_minute() {
        let mut floods = Floods::default();
        for _ in 0..70 {
            floods.admit(refusal(1), Instant::now());
        }
        let counts = floods.take(Instant::now(), true);
        assert_eq!(counts[0].count, Some(10));
    }
}
