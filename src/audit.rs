//! The audit trail: one JSON line for each request to `/embed-token`, `/items` and `/items/{item}/targets`.
//!
//! A record ties together who asked, which rule decided, which identity was minted and which token came of it
//! (`tokenId` and SHA-256, never the token). With `audit.required` no token leaves without its record: a record
//! counts as written when the operating system has taken the whole line.
//!
//! Why a thread of its own: a sink can block (a pipe nobody reads, a slow disk), and that must cost a request its
//! answer, not the runtime its workers. The thread takes what has queued up and writes it at once, so that under load
//! one system call serves many requests.
//!
//! Refusals of callers who proved no identity are cheap to provoke: beyond [`SINGLE_RECORDS`] a minute from one
//! address they are counted in one record a minute instead of one each.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config;

/// Refusals of unauthenticated callers recorded one by one, a minute and address.
const SINGLE_RECORDS: u32 = 60;

/// Addresses counted apart; the rest share one count, so that a flood from many addresses fills no memory.
const MAX_ADDRESSES: usize = 10_000;

/// Length of a counting window.
const WINDOW: Duration = Duration::from_secs(60);

/// Records that may wait for the sink.
const QUEUE: usize = 8192;

/// Time the sink gets to take a record.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `POST /embed-token`.
    EmbedToken,
    /// `GET /items`.
    Items,
    /// `GET /items/{item}/targets`.
    Targets,
}

/// One record. Members that are not known for a request are left out.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRecord {
    /// When the request came in.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// What was asked for.
    pub event: Event,
    /// `ok`, or the problem's code.
    pub code: &'static str,
    /// Our request id.
    pub request_id: String,
    /// Address of the caller, seen through trusted proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Configured name of the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The caller's `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Items asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// The `target` asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The rules that decided, without repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The right granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<&'static str>,
    /// The effective identities in the token; blobs as their SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Vec<Value>>,
    /// Configured name of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Id of the service principal profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Id of the token in Power BI's activity log.
    #[serde(rename = "tokenId", skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// SHA-256 of the token, lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// When the token expires.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub expiration: Option<OffsetDateTime>,
    /// `cached` or `minted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// Power BI's request id of the mint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// Why it was refused, for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many requests this record stands for, when more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// The sink did not take the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit record could not be written")]
pub struct Unavailable;

/// The audit trail of the process.
#[derive(Debug)]
pub struct Audit {
    required: bool,
    lines: mpsc::Sender<Order>,
    failing: Arc<AtomicBool>,
    floods: Mutex<Floods>,
}

enum Order {
    Line {
        text: Vec<u8>,
        taken: Option<oneshot::Sender<bool>>,
    },
    Reopen,
    Flush(oneshot::Sender<()>),
}

/// Counts refusals of unauthenticated callers by address.
#[derive(Debug, Default)]
struct Floods {
    windows: HashMap<Option<IpAddr>, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    seen: u32,
    held_back: u64,
    last: Option<AuditRecord>,
}

impl AuditRecord {
    /// A record of which nothing but the request is known yet.
    #[must_use]
    pub fn new(
        event: Event,
        request_id: String,
        client: Option<IpAddr>,
        time: OffsetDateTime,
    ) -> Self {
        Self {
            time,
            event,
            code: "internal",
            request_id,
            client,
            issuer: None,
            sub: None,
            items: Vec::new(),
            target: None,
            rule: None,
            access: None,
            identity: None,
            principal: None,
            profile: None,
            token_id: None,
            token_sha256: None,
            expiration: None,
            source: None,
            upstream_request_id: None,
            reason: None,
            count: None,
        }
    }
}

impl Audit {
    /// Opens the sink.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(config: &config::Audit) -> io::Result<Arc<Self>> {
        let sink = match (config.sink, &config.file) {
            (config::AuditSink::File, Some(path)) => Sink::file(path.clone())?,
            (config::AuditSink::File | config::AuditSink::Stdout, _) => Sink::Stdout,
        };
        let (lines, orders) = mpsc::channel(QUEUE);
        let failing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            sink,
            failing: Arc::clone(&failing),
            broken_line: false,
        };
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(orders))?;
        Ok(Arc::new(Self {
            required: config.required,
            lines,
            failing,
            floods: Mutex::default(),
        }))
    }

    /// Writes `record`, or counts it.
    ///
    /// # Errors
    /// When records are required and the sink did not take this one in time.
    pub async fn write(&self, record: AuditRecord) -> Result<(), Unavailable> {
        match self.admit(record) {
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
        let counts = self.floods().take(Instant::now(), all);
        for record in counts {
            let _ = self.put(&record).await;
        }
    }

    /// Opens the file anew, after log rotation has moved it.
    pub fn reopen(&self) {
        let _ = self.lines.try_send(Order::Reopen);
    }

    /// Waits until everything handed over so far is written.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.lines.send(Order::Flush(done)).await.is_ok() {
            let _ = tokio::time::timeout(PATIENCE, wait).await;
        }
    }

    /// Whether the sink refused the last records.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn admit(&self, record: AuditRecord) -> Option<AuditRecord> {
        if record.sub.is_some() {
            Some(record)
        } else {
            self.floods().admit(record, Instant::now())
        }
    }

    async fn put(&self, record: &AuditRecord) -> Result<(), Unavailable> {
        let mut text = serde_json::to_vec(record).map_err(|_| Unavailable)?;
        text.push(b'\n');
        if !self.required {
            // A trail that nobody requires must not cost a caller time; what did not fit is counted as failing.
            if self
                .lines
                .try_send(Order::Line { text, taken: None })
                .is_err()
            {
                self.failing.store(true, Ordering::Relaxed);
            }
            return Ok(());
        }
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
            Ok(Some(true)) => Ok(()),
            Ok(Some(false) | None) => Err(Unavailable),
            Err(_) => {
                self.failing.store(true, Ordering::Relaxed);
                Err(Unavailable)
            }
        }
    }

    fn floods(&self) -> MutexGuard<'_, Floods> {
        self.floods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Floods {
    /// The record, when it is to be written by itself.
    fn admit(&mut self, record: AuditRecord, now: Instant) -> Option<AuditRecord> {
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

    /// The counts of windows that are over.
    fn take(&mut self, now: Instant, all: bool) -> Vec<AuditRecord> {
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
}

enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

struct Writer {
    sink: Sink,
    failing: Arc<AtomicBool>,
    /// The last write failed half-way: the next one starts a new line.
    broken_line: bool,
}

impl Sink {
    fn file(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(Self::File { path, file })
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text)?;
                out.flush()
            }
            Self::File { file, .. } => file.write_all(text),
        }
    }
}

impl Writer {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        while orders.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let (mut text, mut waiting, mut flushes, mut reopen) =
                (Vec::new(), Vec::new(), Vec::new(), false);
            for order in batch.drain(..) {
                match order {
                    Order::Line { text: line, taken } => {
                        text.extend_from_slice(&line);
                        waiting.extend(taken);
                    }
                    Order::Reopen => reopen = true,
                    Order::Flush(done) => flushes.push(done),
                }
            }
            let written = text.is_empty() || self.write(&text);
            for taken in waiting {
                let _ = taken.send(written);
            }
            for done in flushes {
                let _ = done.send(());
            }
            if reopen {
                self.reopen();
            }
        }
    }

    fn write(&mut self, text: &[u8]) -> bool {
        let line_break: &[u8] = if self.broken_line { b"\n" } else { b"" };
        let result = self
            .sink
            .write(line_break)
            .and_then(|()| self.sink.write(text));
        self.broken_line = result.is_err();
        self.failing.store(result.is_err(), Ordering::Relaxed);
        if let Err(error) = result {
            tracing::error!(%error, "the audit sink refuses records: free space, or repair the sink");
            // The file may have been replaced, or its disk mounted anew.
            self.reopen();
            return false;
        }
        true
    }

    fn reopen(&mut self) {
        if let Sink::File { path, .. } = &self.sink {
            match Sink::file(path.clone()) {
                Ok(sink) => self.sink = sink,
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "cannot open the audit file anew")
                }
            }
        }
    }
}
