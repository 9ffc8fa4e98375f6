//! Which files have changed since they were loaded, and whether somebody is still writing them.
//!
//! A change is noticed by what the file system tells of the file behind the name: links are followed, so that a swapped
//! `ConfigMap` counts. What is still being written is not loaded: half of a policy may be a policy that gives more than
//! the whole of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Time between two checks. Five seconds after a change it must be in force: half a second until it is noticed, three
/// while the file must stay unchanged, and the rest to read it.
pub(super) const CHECK_EVERY: Duration = Duration::from_millis(500);

/// So many checks in a row must have seen a file unchanged before it is loaded.
pub(super) const UNCHANGED_CHECKS: u32 = 6;

/// After so many checks (a minute) without rest operators are told that a file keeps changing.
const REPORTED_CHECKS: u32 = 120;

/// What tells one content of a file from another without reading it; none: it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<State>);

/// Device, inode, length, times of change of content and of state.
type State = (u64, u64, u64, SystemTime, i64, i64);

/// The watched files.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<PathBuf, Watched>);

#[derive(Debug, Default)]
struct Watched {
    /// As the last check saw it; none when it has changed since, or has not been checked yet.
    stamp: Option<Stamp>,
    /// How many checks in a row saw it so, after the first one that did.
    unchanged: u32,
    /// How many checks in a row found it unsettled.
    unsettled: u32,
    /// As it was when it was last loaded, whatever came of that.
    loaded: Option<Stamp>,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let state = || {
            let data = std::fs::metadata(path).ok()?;
            Some((
                data.dev(),
                data.ino(),
                data.len(),
                data.modified().ok()?,
                data.ctime(),
                data.ctime_nsec(),
            ))
        };
        Self(state())
    }
}

impl Watch {
    /// Watches files that were loaded as `stamps` tell.
    pub(super) fn new(stamps: BTreeMap<PathBuf, Stamp>) -> Self {
        let watched = |(path, stamp): (PathBuf, Stamp)| {
            let loaded = Watched {
                stamp: Some(stamp.clone()),
                loaded: Some(stamp),
                ..Watched::default()
            };
            (path, loaded)
        };
        Self(stamps.into_iter().map(watched).collect())
    }

    /// Looks at every file once; to be called every [`CHECK_EVERY`].
    pub(super) fn check(&mut self) {
        for (path, watched) in &mut self.0 {
            watched.see(Stamp::of(path));
            if watched.is_settled() {
                watched.unsettled = 0;
            } else {
                watched.unsettled += 1;
            }
        }
    }

    /// Whether all of `files` have been unchanged for [long enough](UNCHANGED_CHECKS).
    pub(super) fn are_settled<'a>(&self, files: impl IntoIterator<Item = &'a PathBuf>) -> bool {
        files
            .into_iter()
            .all(|file| self.0.get(file).is_some_and(Watched::is_settled))
    }

    /// Whether one of `files` is no longer as it was loaded.
    pub(super) fn has_changed<'a>(&self, files: impl IntoIterator<Item = &'a PathBuf>) -> bool {
        let changed = |file: &Watched| file.loaded != file.stamp;
        files
            .into_iter()
            .any(|file| self.0.get(file).is_none_or(changed))
    }

    /// After `files` were read: whether they were settled before, and are still as the last check saw them. Those that
    /// were not are watched from now on, until they are settled.
    ///
    /// # Errors
    /// One that may have been read while somebody was writing it.
    pub(super) fn confirm<'a>(
        &mut self,
        files: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<(), PathBuf> {
        let mut unsettled = None;
        for file in files {
            let watched = self.0.entry(file.clone()).or_default();
            if watched.stamp != Some(Stamp::of(file)) {
                (watched.stamp, watched.unchanged) = (None, 0);
            }
            if !watched.is_settled() {
                unsettled.get_or_insert_with(|| file.clone());
            }
        }
        unsettled.map_or(Ok(()), Err)
    }

    /// Takes `files` as loaded.
    pub(super) fn mark_loaded<'a>(&mut self, files: impl IntoIterator<Item = &'a PathBuf>) {
        for file in files {
            if let Some(watched) = self.0.get_mut(file) {
                watched.loaded.clone_from(&watched.stamp);
            }
        }
    }

    /// Watches no other files any more.
    pub(super) fn keep_only<'a>(&mut self, files: impl IntoIterator<Item = &'a PathBuf>) {
        let files: BTreeSet<&PathBuf> = files.into_iter().collect();
        self.0.retain(|file, _| files.contains(file));
    }

    /// A file that has been changing for so long that it should be reported.
    pub(super) fn keeps_changing(&self) -> Option<&Path> {
        let mut files = self.0.iter();
        files
            .find(|(_, watched)| watched.unsettled >= REPORTED_CHECKS)
            .map(|(file, _)| file.as_path())
    }
}

impl Watched {
    fn see(&mut self, stamp: Stamp) {
        if self.stamp.as_ref() == Some(&stamp) {
            self.unchanged = self.unchanged.saturating_add(1);
        } else {
            (self.stamp, self.unchanged) = (Some(stamp), 0);
        }
    }

    fn is_settled(&self) -> bool {
        self.unchanged >= UNCHANGED_CHECKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file, watched for long enough.
    fn watched(path: &Path) -> Watch {
        let mut watch = Watch::new([(path.to_owned(), Stamp::of(path))].into());
        checks(&mut watch, UNCHANGED_CHECKS);
        watch
    }

    fn checks(watch: &mut Watch, number: u32) {
        for _ in 0..number {
            watch.check();
        }
    }

    #[test]
    fn a_changed_file_is_settled_after_so_many_unchanged_checks() {
        let folder = tempfile::tempdir().unwrap();
        let file = [folder.path().join("file")];
        std::fs::write(&file[0], "one").unwrap();
        let mut watch = watched(&file[0]);
        assert!(watch.are_settled(&file) && !watch.has_changed(&file));
        for content in [Some("three"), None, Some("four")] {
            match content {
                Some(content) => std::fs::write(&file[0], content).unwrap(),
                None => std::fs::remove_file(&file[0]).unwrap(),
            }
            checks(&mut watch, UNCHANGED_CHECKS);
            assert!(!watch.are_settled(&file) && watch.has_changed(&file));
            assert_eq!(watch.confirm(&file), Err(file[0].clone()));
            checks(&mut watch, 1);
            assert!(watch.are_settled(&file) && watch.has_changed(&file));
            assert_eq!(watch.confirm(&file), Ok(()));
        }
        watch.mark_loaded(&file);
        assert!(!watch.has_changed(&file));
    }

    #[test]
    fn a_change_since_the_last_check_is_found_when_a_load_is_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let file = [folder.path().join("file")];
        std::fs::write(&file[0], "one").unwrap();
        let mut watch = watched(&file[0]);
        std::fs::write(&file[0], "three").unwrap();
        assert_eq!(watch.confirm(&file), Err(file[0].clone()));
        // Confirming is no check: however often it happens, it does not settle the file.
        for _ in 0..=UNCHANGED_CHECKS {
            assert!(watch.confirm(&file).is_err());
        }
        checks(&mut watch, UNCHANGED_CHECKS);
        assert!(watch.confirm(&file).is_err());
        checks(&mut watch, 1);
        assert_eq!(watch.confirm(&file), Ok(()));
    }

    #[test]
    fn a_file_that_was_not_watched_is_from_its_first_load_on() {
        let folder = tempfile::tempdir().unwrap();
        let [known, new] = ["known", "new"].map(|name| folder.path().join(name));
        let mut watch = watched(&known);
        assert!(!watch.are_settled([&new]) && watch.has_changed([&new]));
        assert_eq!(watch.confirm([&known, &new]), Err(new.clone()));
        checks(&mut watch, UNCHANGED_CHECKS);
        assert!(watch.confirm([&known, &new]).is_err());
        checks(&mut watch, 1);
        assert_eq!(watch.confirm([&known, &new]), Ok(()));
        watch.keep_only([&known]);
        assert!(!watch.are_settled([&new]));
    }

    #[test]
    fn links_that_are_swapped_count_as_a_change() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("file"), "same").unwrap();
        }
        symlink("v1", at("data")).unwrap();
        symlink("data/file", at("file")).unwrap();
        let file = [at("file")];
        let mut watch = watched(&file[0]);
        symlink("v2", at("new")).unwrap();
        std::fs::rename(at("new"), at("data")).unwrap();
        watch.check();
        assert!(watch.has_changed(&file) && !watch.are_settled(&file));
        checks(&mut watch, UNCHANGED_CHECKS);
        assert!(watch.are_settled(&file));
    }
}
