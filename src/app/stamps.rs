//! What tells one content of a file from another without reading it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file as it was at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    /// Device, inode, length, times of change of content and of state, of the file behind all links.
    state: Option<(u64, u64, u64, SystemTime, i64, i64)>,
}

impl Stamp {
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

/// The stamps of what was just loaded: files known before keep the stamp taken before they were read.
pub(super) fn merge(before: &[Stamp], after: Vec<Stamp>) -> Vec<Stamp> {
    let known = |stamp: Stamp| {
        before
            .iter()
            .find(|b| b.path == stamp.path)
            .cloned()
            .unwrap_or(stamp)
    };
    after.into_iter().map(known).collect()
}

pub(super) fn stamps(files: impl IntoIterator<Item = PathBuf>) -> Vec<Stamp> {
    let stamp = |path: PathBuf| Stamp {
        state: state(&path),
        path,
    };
    files.into_iter().map(stamp).collect()
}

fn state(path: &Path) -> Option<(u64, u64, u64, SystemTime, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let data = std::fs::metadata(path).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.len(),
        data.modified().ok()?,
        data.ctime(),
        data.ctime_nsec(),
    ))
}
