//! The audit trail: one JSON line for each request to `/embed-token`, `/items` and `/items/{item}/targets`.
//!
//! A record ties together who asked, which rule decided, which identity was minted and which token came of it
//! (`tokenId` and SHA-256, never the token). With `audit.required` no token leaves without its record; [`sink`] says
//! when a record counts as written. [`refusals`] keeps refusals that cost their sender nothing from filling the disk.
//!
//! Why a thread of its own: a sink can block (a pipe nobody reads, a slow disk), and that must cost a request its
//! answer, not the runtime its workers. The thread takes what has queued up and writes it at once, so that under load
//! one system call serves many requests.

mod record;
mod refusals;
mod sink;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

pub use record::{AuditRecord, Event};
pub(crate) use refusals::MOST_BYTES as MOST_BYTES_OF_REFUSALS;
pub(crate) use sink::MOST_BYTES as MOST_BYTES_OF_RECORDS;

use crate::config;
use refusals::RefusalCounter;
use sink::{Order, QUEUE, Status};

/// Time the sink gets to take a record.
const PATIENCE: Duration = Duration::from_secs(2);

/// The sink did not take the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit record could not be written")]
pub struct Unavailable;

/// The audit trail of the process.
#[derive(Debug)]
pub struct Audit {
    required: bool,
    lines: mpsc::Sender<Order>,
    /// Leave to wait for a sink that hangs.
    probe: Semaphore,
    status: Arc<Status>,
    refusals: Mutex<RefusalCounter>,
}

/// How the trail is doing, for operators; counts are since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditStatus {
    /// The sink refuses records, or does not answer, or does not reach its disk.
    pub failing: bool,
    /// Records written.
    pub written: u64,
    /// Records that the sink did not take.
    pub lost: u64,
    /// Times that the file was brought to the disk.
    pub syncs: u64,
    /// Records that wait for the sink.
    pub waiting: usize,
}

impl Audit {
    /// Opens the sink; counts go on from those of `previous`. To be called within a runtime.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(config: &config::Audit, previous: Option<&Self>) -> io::Result<Arc<Self>> {
        let status = Arc::new(Status {
            counts: previous
                .map(|audit| Arc::clone(&audit.status.counts))
                .unwrap_or_default(),
            ..Status::default()
        });
        Ok(Arc::new(Self {
            required: config.required,
            lines: sink::start(config, &status)?,
            probe: Semaphore::new(1),
            status,
            refusals: Mutex::default(),
        }))
    }

    /// Writes `record`, or counts it.
    ///
    /// # Errors
    /// When records are required and the sink did not take this one in time.
    pub async fn write(&self, record: AuditRecord) -> Result<(), Unavailable> {
        let record = self.refusals().admit(record, Instant::now());
        match record {
            Some(record) => self.put(&record).await,
            None => Ok(()),
        }
    }

    /// Writes `record` without waiting for the sink: for requests whose caller has hung up.
    pub fn write_detached(self: &Arc<Self>, record: AuditRecord) {
        let audit = Arc::clone(self);
        tokio::spawn(async move { audit.write(record).await });
    }

    /// Writes the counts of windows that are over; with `all`, of every window.
    pub async fn write_counts(&self, all: bool) {
        let counts = self.refusals().take(Instant::now(), all);
        for record in counts {
            let _ = self.put(&record).await;
        }
    }

    /// Opens the file anew, after log rotation has moved it; what was handed over before goes to the former file.
    pub async fn reopen(&self) {
        self.order(Order::Reopen).await;
    }

    /// Waits until everything handed over so far is written.
    pub async fn flush(&self) {
        self.order(Order::Flush).await;
    }

    /// How the trail is doing.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        let counts = &self.status.counts;
        AuditStatus {
            failing: self.is_failing(),
            written: counts.written.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed),
            syncs: counts.syncs.load(Ordering::Relaxed),
            waiting: self.waiting(),
        }
    }

    fn is_failing(&self) -> bool {
        let status = &self.status;
        [&status.refusing, &status.stalled, &status.unsynced]
            .into_iter()
            .any(|flag| flag.load(Ordering::Relaxed))
    }

    async fn put(&self, record: &AuditRecord) -> Result<(), Unavailable> {
        let text = record.to_line().map_err(|_| Unavailable)?;
        if !self.required {
            // A trail that nobody requires must not cost a caller time.
            if self
                .lines
                .try_send(Order::Line { text, taken: None })
                .is_err()
            {
                self.lose();
            }
            return Ok(());
        }
        // Behind a sink that hangs one record waits, to learn when it is well again; others would wait in vain.
        let _probe = if self.status.stalled.load(Ordering::Relaxed) {
            match self.probe.try_acquire() {
                Ok(probe) if self.waiting() == 0 => Some(probe),
                Ok(_) | Err(_) => {
                    self.status.counts.lost.fetch_add(1, Ordering::Relaxed);
                    return Err(Unavailable);
                }
            }
        } else {
            None
        };
        let (taken, wait) = oneshot::channel();
        let order = Order::Line {
            text,
            taken: Some(taken),
        };
        let written = async {
            self.lines.send(order).await.ok()?;
            wait.await.ok()
        };
        match tokio::time::timeout(PATIENCE, written).await {
            // A disk that takes writes and cannot keep them is no trail.
            Ok(Some(true)) if !self.status.unsynced.load(Ordering::Relaxed) => Ok(()),
            Ok(_) => Err(Unavailable),
            Err(_) => {
                self.lose();
                Err(Unavailable)
            }
        }
    }

    fn lose(&self) {
        self.status.counts.lost.fetch_add(1, Ordering::Relaxed);
        if !self.status.stalled.swap(true, Ordering::Relaxed) {
            tracing::error!("the audit sink takes no records: it hangs, or is far too slow");
        }
    }

    fn waiting(&self) -> usize {
        QUEUE - self.lines.capacity()
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, wait) = oneshot::channel();
        let carried_out = async {
            self.lines.send(order(done)).await.ok()?;
            wait.await.ok()
        };
        let _ = tokio::time::timeout(PATIENCE, carried_out).await;
    }

    fn refusals(&self) -> MutexGuard<'_, RefusalCounter> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_keeps_nothing_is_no_trail() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = config::Audit {
            sink: config::AuditSink::File,
            file: Some(file.path().to_owned()),
            ..config::Audit::default()
        };
        let audit = Audit::open(&config, None).unwrap();
        let record = || {
            let record = AuditRecord::new(
                Event::EmbedToken,
                "id".into(),
                None,
                OffsetDateTime::UNIX_EPOCH,
            );
            AuditRecord {
                admitted: true,
                ..record
            }
        };
        audit.write(record()).await.unwrap();
        // As after a sync that failed; on a busy machine the next one may be done before the record is.
        let mut refused = Ok(());
        for _ in 0..100 {
            audit.status.unsynced.store(true, Ordering::Relaxed);
            refused = audit.write(record()).await;
            if refused.is_err() {
                break;
            }
        }
        assert_eq!(refused, Err(Unavailable));
        assert!(audit.status().failing);
        // The next sync, within a second, brings the content to the disk after all.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        audit.write(record()).await.unwrap();
        assert!(!audit.status().failing);
    }
}
