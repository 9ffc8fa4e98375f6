//! The first load. Nothing is known yet of which files are settled: they must be the same before and after they are
//! read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::generation::{Files, Generation, Reading};
use super::watch::{Stamp, Watch};
use crate::config::{Config, Mistake, Mistakes};

/// How often the files are read before a start is given up.
const TRIES: u32 = 5;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads and builds everything from the configuration `file` on; `config` is what an earlier reading of it gave.
///
/// # Errors
/// Every mistake; or that a file did not stay the same while it was read.
pub(super) async fn load(config: &Config, file: &Path) -> Result<(Generation, Watch), Mistakes> {
    let mut files = Files::named_by(config, file);
    let mut tries = 0;
    loop {
        let before = stamps(&files);
        let reading = Generation::read(file, None, &files).await;
        tries += 1;
        let Some(changed) = first_changed(&before, &reading) else {
            let (generation, _) = reading.built?;
            return Ok((generation, Watch::new(before)));
        };
        if tries == TRIES {
            return Err(Mistakes(vec![Mistake::new(
                changed.display().to_string(),
                "is being written: it changed while it was read",
                "start when it is complete; write changes to another file beside it and rename that",
            )]));
        }
        files = reading.files;
        tokio::time::sleep(PAUSE).await;
    }
}

fn stamps(files: &Files) -> BTreeMap<PathBuf, Stamp> {
    files
        .all()
        .map(|file| (file.clone(), Stamp::of(file)))
        .collect()
}

/// A file that was read and is not, or may not be, what it was before.
fn first_changed(before: &BTreeMap<PathBuf, Stamp>, reading: &Reading) -> Option<PathBuf> {
    let mut files = reading.files.all();
    let same = |file: &&PathBuf| before.get(*file) == Some(&Stamp::of(file));
    files.find(|file| !same(file)).cloned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::tests::Folder;

    /// Appends to the policy without a pause until it is told to stop; reading takes far longer than one append.
    fn write_on(folder: &Arc<Folder>) -> (Arc<AtomicBool>, std::thread::JoinHandle<()>) {
        let rows: Vec<String> = (0..10_000)
            .map(|n| format!("row-{n}: {{ role: AMER }}\n"))
            .collect();
        folder.write("rows.yaml", &rows.concat());
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, stopped) = (Arc::clone(folder), Arc::clone(&stop));
        folder.append("policy.yaml", "# first\n");
        let writer = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                folder.append("policy.yaml", "# more\n");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        (stop, writer)
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_ends_the_start_with_its_name() {
        let folder = Arc::new(Folder::new());
        let (stop, writer) = write_on(&folder);
        let mistakes = folder.load().await.err().expect("it is never complete").0;
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let [mistake] = &mistakes[..] else {
            panic!("{mistakes:?}")
        };
        assert!(mistake.place.ends_with("policy.yaml"), "{mistake}");
        assert!(mistake.problem.contains("is being written"), "{mistake}");
        folder.load().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_completed_meanwhile_is_read_again() {
        let folder = Arc::new(Folder::new());
        let (stop, writer) = write_on(&folder);
        let end = tokio::spawn(async move {
            tokio::time::sleep(super::PAUSE).await;
            stop.store(true, Ordering::Relaxed);
        });
        let (generation, _) = folder.load().await.unwrap();
        end.await.unwrap();
        writer.join().unwrap();
        assert_eq!(generation.number, 1);
    }
}
