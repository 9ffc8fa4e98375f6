//! Where records go: a thread that writes what has queued up, and brings a file's content to the disk.
//!
//! Between the requests and that thread stands a task: to wake a thread, and to be woken by one, takes longer than to
//! write, so records go over in batches, and one wake each way serves all of them.
//!
//! A line counts as taken when the operating system has it: it survives the end of this process. Whether it survives
//! a power cut is up to `audit.fsync`: with `interval` a second thread syncs once a second, so that no request waits
//! for a disk and at most the last second is lost; with `always` a line counts as taken when it is on the disk, and
//! one sync serves all lines that queued up. What is no regular file (a pipe, a device) cannot be synced and is not.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::record::MAX_LINE;
use crate::config::{self, AuditFsync, AuditSink};

/// Records that may wait for the sink.
pub(super) const QUEUE: usize = 2048;

/// Records that are written at once.
const BATCH: usize = 512;

/// Most that all of them take: those that wait, and a batch with the text that is made of it.
pub(crate) const MOST_BYTES: u64 = ((QUEUE + 2 * BATCH) * MAX_LINE) as u64;

/// How often a file's content is brought to the disk, with `audit.fsync: interval`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often a sink that goes on refusing is told of again.
const REMIND: Duration = Duration::from_secs(30);

/// What the thread is asked to do.
pub(super) enum Order {
    Line {
        text: Vec<u8>,
        taken: Option<oneshot::Sender<bool>>,
    },
    Reopen(oneshot::Sender<()>),
    Flush(oneshot::Sender<()>),
}

/// What goes to the thread at once, and where it says that it is done.
struct Batch {
    orders: Vec<Order>,
    done: oneshot::Sender<Outcome>,
}

/// What became of a batch: whether its lines were written, and who waits to hear it.
struct Outcome {
    written: bool,
    waiting: Vec<oneshot::Sender<bool>>,
}

/// How the sink is doing, for everybody.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// The last write failed.
    pub(super) refusing: AtomicBool,
    /// A record waited in vain; the write may still be under way.
    pub(super) stalled: AtomicBool,
    /// The last sync failed.
    pub(super) unsynced: AtomicBool,
    pub(super) counts: Arc<Counts>,
}

/// What was done since the process started; a trail that a reload opens goes on counting.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) syncs: AtomicU64,
}

/// Opens the sink and starts its task and threads; they end when the sender is gone and everything is written. Needs
/// a runtime around it.
pub(super) fn start(
    config: &config::Audit,
    status: &Arc<Status>,
) -> io::Result<mpsc::Sender<Order>> {
    let sink = match (config.sink, &config.file) {
        (AuditSink::File, Some(path)) => {
            let disk = Arc::new(Disk::open(path.clone(), config.fsync, Arc::clone(status))?);
            if config.fsync == AuditFsync::Interval {
                let disk = Arc::downgrade(&disk);
                std::thread::Builder::new()
                    .name("audit-sync".into())
                    .spawn(move || sync_regularly(&disk))?;
            }
            Sink::File(disk)
        }
        (AuditSink::File | AuditSink::Stdout, _) => Sink::Stdout,
    };
    let (lines, orders) = mpsc::channel(QUEUE);
    let (batches, work) = mpsc::channel(1);
    let writer = Writer {
        sink,
        status: Arc::clone(status),
        broken_line: false,
        told: None,
    };
    std::thread::Builder::new()
        .name("audit".into())
        .spawn(move || writer.run(work))?;
    tokio::spawn(hand_over(orders, batches));
    Ok(lines)
}

async fn hand_over(mut orders: mpsc::Receiver<Order>, batches: mpsc::Sender<Batch>) {
    let mut waiting = Vec::new();
    while orders.recv_many(&mut waiting, BATCH).await > 0 {
        // Requests that are about to put in theirs go first.
        tokio::task::yield_now().await;
        while waiting.len() < BATCH
            && let Ok(order) = orders.try_recv()
        {
            waiting.push(order);
        }
        let (done, outcome) = oneshot::channel();
        let orders = std::mem::take(&mut waiting);
        // Without the thread nobody hears anything, which counts as a failure.
        if batches.send(Batch { orders, done }).await.is_err() {
            return;
        }
        let Ok(outcome) = outcome.await else { return };
        for taken in outcome.waiting {
            let _ = taken.send(outcome.written);
        }
    }
}

enum Sink {
    Stdout,
    File(Arc<Disk>),
}

/// A file, shared by who writes and who syncs.
struct Disk {
    path: PathBuf,
    fsync: AuditFsync,
    file: Mutex<Arc<File>>,
    /// Something was written since the last sync.
    dirty: AtomicBool,
    status: Arc<Status>,
}

impl Disk {
    fn open(path: PathBuf, fsync: AuditFsync, status: Arc<Status>) -> io::Result<Self> {
        let file = Mutex::new(Arc::new(append(&path)?));
        Ok(Self {
            path,
            fsync,
            file,
            dirty: AtomicBool::new(false),
            status,
        })
    }

    fn file(&self) -> Arc<File> {
        Arc::clone(&self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes some of it; how much.
    fn write(&self, text: &[u8]) -> io::Result<usize> {
        let written = self.file().as_ref().write(text);
        // After the write: a sync that runs at the same time must not count for it.
        self.dirty.store(true, Ordering::Release);
        written
    }

    /// Brings to the disk what was written since the last time.
    fn sync(&self) -> io::Result<()> {
        if self.fsync == AuditFsync::Never || !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let file = self.file();
        let synced = match file.metadata() {
            Ok(data) if !data.is_file() => return Ok(()),
            Ok(_) | Err(_) => file.sync_data(),
        };
        self.status.counts.syncs.fetch_add(1, Ordering::Relaxed);
        let failing = synced.is_err();
        if failing {
            self.dirty.store(true, Ordering::Release);
        }
        if let Err(error) = &synced
            && !self.status.unsynced.load(Ordering::Relaxed)
        {
            tracing::error!(%error, path = %self.path.display(), "the audit file cannot be brought to the disk: free space, or repair the disk");
        }
        self.status.unsynced.store(failing, Ordering::Relaxed);
        synced
    }

    /// Whether the name stands for another file now.
    fn reopen(&self) -> bool {
        match append(&self.path) {
            Ok(file) => {
                // What went to the former file is brought to the disk before it is forgotten.
                let _ = self.sync();
                let another = !same(&self.file(), &file);
                *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
                another
            }
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "cannot open the audit file anew");
                false
            }
        }
    }
}

fn same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |file: &File| file.metadata().map(|data| (data.dev(), data.ino())).ok();
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// Ends with the writer.
fn sync_regularly(disk: &Weak<Disk>) {
    while let Some(disk) = disk.upgrade() {
        // A failure is told, and shows in the status.
        let _ = disk.sync();
        drop(disk);
        std::thread::sleep(SYNC_EVERY);
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

struct Writer {
    sink: Sink,
    status: Arc<Status>,
    /// The last write ended within a line: the next one starts a new one.
    broken_line: bool,
    /// When a failure was last told.
    told: Option<Instant>,
}

impl Writer {
    fn run(mut self, mut work: mpsc::Receiver<Batch>) {
        while let Some(batch) = work.blocking_recv() {
            self.carry_out(batch);
        }
        self.sync();
    }

    /// One system call for all lines of a batch: under load that is many.
    fn carry_out(&mut self, Batch { orders, done }: Batch) {
        let (mut text, mut lines, mut waiting, mut flushes, mut reopens) =
            (Vec::new(), 0, Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Line { text: line, taken } => {
                    text.extend_from_slice(&line);
                    lines += 1;
                    waiting.extend(taken);
                }
                Order::Reopen(done) => reopens.push(done),
                Order::Flush(done) => flushes.push(done),
            }
        }
        let written = text.is_empty() || self.write(&text);
        let counter = if written {
            &self.status.counts.written
        } else {
            &self.status.counts.lost
        };
        counter.fetch_add(lines, Ordering::Relaxed);
        // Before anything is brought to the disk: no request waits for that.
        let _ = done.send(Outcome { written, waiting });
        if !flushes.is_empty() {
            self.sync();
        }
        if !reopens.is_empty() {
            self.reopen();
        }
        for done in flushes.into_iter().chain(reopens) {
            let _ = done.send(());
        }
    }

    fn write(&mut self, text: &[u8]) -> bool {
        let line_break: &[u8] = if self.broken_line { b"\n" } else { b"" };
        let result = self.put(line_break).and_then(|()| self.put(text));
        let result = result.and_then(|()| match &self.sink {
            Sink::File(disk) if disk.fsync == AuditFsync::Always => disk.sync(),
            Sink::File(_) | Sink::Stdout => Ok(()),
        });
        let was_refusing = self
            .status
            .refusing
            .swap(result.is_err(), Ordering::Relaxed);
        self.status.stalled.store(false, Ordering::Relaxed);
        let Err(error) = result else {
            if was_refusing {
                self.told = None;
                tracing::info!("the audit sink takes records again");
            }
            return true;
        };
        if self.told.is_none_or(|told| told.elapsed() >= REMIND) {
            self.told = Some(Instant::now());
            tracing::error!(%error, "the audit sink refuses records: free space, or repair the sink");
        }
        // The file may have been replaced, or its disk mounted anew.
        self.reopen();
        false
    }

    fn put(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let written = match &self.sink {
                // Its buffer holds nothing back: what is written is flushed, or has failed.
                Sink::Stdout => {
                    let mut out = io::stdout().lock();
                    out.write_all(text)
                        .and_then(|()| out.flush())
                        .map(|()| text.len())
                }
                Sink::File(disk) => disk.write(text),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.broken_line = text[length - 1] != b'\n';
                    text = &text[length..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) {
        if let Sink::File(disk) = &self.sink {
            // A failure is told, and shows in the status.
            let _ = disk.sync();
        }
    }

    fn reopen(&mut self) {
        if let Sink::File(disk) = &self.sink
            && disk.reopen()
        {
            self.broken_line = false;
        }
    }
}
