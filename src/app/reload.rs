//! Reloads: policy, tables and secrets when they change, everything but `server` on SIGHUP.
//!
//! Files are loaded once they are [settled](Watch::are_settled). After reading, all of them must still be what they were
//! before; else nothing of the load is used, and it starts over when they are settled again. What is loaded takes effect
//! as one [`Generation`], in one step.
//!
//! What is faulty is not taken: the former state goes on, and log, metric and ops `/readyz` say so. A faulty file is read
//! again only when it changes. A full reload that was refused is tried again when any of its files changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::generation::{Changes, Files, Generation, Reading, Reread};
use super::parts::refuse_loss_of_cases;
use super::state::{ProcessState, Reloads};
use super::watch::{CHECK_EVERY, Watch};
use crate::config::{Mistakes, Rotations};
use crate::telemetry;

/// Keeps the process at what its files say.
pub(super) struct Reloader {
    process: Arc<ProcessState>,
    /// The configuration.
    file: PathBuf,
    watch: Watch,
    /// The files that are loaded when they change.
    files: Files,
    full_reload: Option<FullReload>,
}

/// A SIGHUP asked for it, and it has not been taken yet.
#[derive(Default)]
struct FullReload {
    /// What it reads, as far as that is known.
    files: Files,
    /// It was refused: it is tried again when one of its files has changed.
    refused: bool,
}

impl Reloader {
    pub(super) fn new(process: Arc<ProcessState>, file: PathBuf, watch: Watch) -> Self {
        let files = process.current().files(&file);
        Self {
            process,
            file,
            watch,
            files,
            full_reload: None,
        }
    }

    /// Looks for changes every [`CHECK_EVERY`], and reads everything when asked.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<()>) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        // Checks that follow each other at once would take a file for settled that nobody has looked at.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(()) => {
                        self.process.current().broker().audit.reopen().await;
                        self.full_reload = Some(FullReload::default());
                        self.load_what_is_due(true).await;
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    self.watch.check();
                    self.load_what_is_due(false).await;
                    self.report_file_that_keeps_changing();
                }
            }
        }
    }

    /// Loads what has changed and is settled; everything, when a SIGHUP asks for it at this moment.
    async fn load_what_is_due(&mut self, sighup: bool) {
        let settled = |files: &Files| self.watch.are_settled(files.all());
        let due =
            |files: &[PathBuf]| self.watch.has_changed(files) && self.watch.are_settled(files);
        let what = Reread {
            policy: due(&self.files.policy),
            secrets: due(&self.files.secrets),
        };
        let everything = self.full_reload.as_ref().is_some_and(|full| {
            settled(&full.files) && (!full.refused || self.watch.has_changed(full.files.all()))
        });
        if (sighup || everything) && self.load_everything().await {
            return;
        }
        // A faulty configuration does not keep out a change of the policy, which may withdraw a right.
        if what.policy || what.secrets {
            self.load_changes(what).await;
        }
    }

    /// Reads everything; true when it was taken.
    async fn load_everything(&mut self) -> bool {
        let current = self.process.current();
        let reading = Generation::read(&self.file, Some(&current), &self.files).await;
        self.take_everything(reading).await
    }

    async fn take_everything(&mut self, reading: Reading) -> bool {
        let current = self.process.current();
        let FullReload { refused, .. } = self.full_reload.take().unwrap_or_default();
        let Reading {
            files,
            server_has_changed,
            built,
        } = reading;
        if !self.confirm(&files) {
            self.full_reload = Some(FullReload { files, refused });
            return false;
        }
        if server_has_changed {
            tracing::warn!(
                "the section server has changed: it is read at start only, so restart to apply it"
            );
        }
        let lost_cases = |generation: &Generation| {
            let (read, former) = (&generation.broker().policy, &current.broker().policy);
            // Only a SIGHUP allows it, not a change after a SIGHUP that was refused.
            refuse_loss_of_cases(read, former).filter(|_| refused)
        };
        let built = built.and_then(|built| match lost_cases(&built.0) {
            Some(mistake) => Err(Mistakes(vec![mistake])),
            None => Ok(built),
        });
        match built {
            Ok((generation, rotations)) => {
                self.files = files;
                self.put_in_force(Some(generation), rotations).await;
                let mut reloads = self.process.reloads();
                reloads.refused = None;
                reloads.refused_policy = None;
                reloads.faulty_secrets.clear();
                reloads.note(true);
                reloads.policies += 1;
                true
            }
            Err(mistakes) => {
                self.full_reload = Some(FullReload {
                    files,
                    refused: true,
                });
                let mut reloads = self.process.reloads();
                reloads.refused = Some(refuse(&mut reloads, &mistakes));
                reloads.policies += 1;
                false
            }
        }
    }

    /// Reads changed files again, under the configuration in force.
    async fn load_changes(&mut self, what: Reread) {
        let changes = self.process.current().reread(what).await;
        self.take_changes(what, changes).await;
    }

    async fn take_changes(&mut self, what: Reread, changes: Changes) {
        if what.policy {
            // Also those that it names since its change: they must be settled as well.
            self.files.policy.clone_from(&changes.files.policy);
        }
        if !self.confirm(&changes.files) {
            return;
        }
        let taken = changes.generation.is_some();
        self.put_in_force(changes.generation, changes.rotations)
            .await;
        let mut reloads = self.process.reloads();
        if taken {
            reloads.note(true);
        }
        if what.policy {
            reloads.refused_policy = changes
                .refusal
                .map(|mistakes| refuse(&mut reloads, &mistakes));
            reloads.policies += 1;
        }
        if what.secrets {
            for (key, error) in &changes.faulty_secrets {
                if !reloads.faulty_secrets.contains_key(key) {
                    tracing::error!(%key, %error, "secret cannot be re-read; the former one goes on");
                }
            }
            reloads.faulty_secrets = changes.faulty_secrets;
        }
    }

    /// After `files` were read: whether nobody was writing them. Then they count as loaded, whatever comes of it.
    fn confirm(&mut self, files: &Files) -> bool {
        match self.watch.confirm(files.all()) {
            Ok(()) => {
                self.watch.mark_loaded(files.all());
                let full = self.full_reload.as_ref().map(|full| &full.files);
                let known = [Some(&self.files), full, Some(files)];
                self.watch
                    .keep_only(known.into_iter().flatten().flat_map(Files::all));
                true
            }
            Err(file) => {
                let file = file.display();
                tracing::info!(%file, "reload put off: the file has changed a moment ago and may not be complete");
                false
            }
        }
    }

    /// The one place where a generation takes effect.
    async fn put_in_force(&self, generation: Option<Generation>, rotations: Rotations) {
        for key in rotations.changed() {
            tracing::info!(%key, "secret re-read");
        }
        let Some(generation) = generation else {
            return rotations.apply();
        };
        let former = self.process.current();
        if !Arc::ptr_eq(&generation.broker().verifier, &former.broker().verifier) {
            generation.broker().verifier.warm_up();
        }
        telemetry::export(&generation.config.telemetry, &generation.outbound);
        let (number, audit) = (generation.number, Arc::clone(&generation.broker().audit));
        rotations.apply();
        self.process.replace(generation);
        tracing::info!(generation = number, "reloaded");
        let former = &former.broker().audit;
        if !Arc::ptr_eq(&audit, former) {
            former.write_counts(true).await;
            former.flush().await;
        }
    }

    fn report_file_that_keeps_changing(&self) {
        let file = self.watch.keeps_changing();
        let mut reloads = self.process.reloads();
        if reloads.keeps_changing.as_deref() != file {
            if let Some(file) = file.map(Path::display) {
                tracing::warn!(%file, "a file keeps changing, so it is not loaded: write changes to another file and rename it to this name");
            }
            reloads.keeps_changing = file.map(Path::to_owned);
        }
    }
}

/// Counts a refused reload; gives its mistakes as text.
fn refuse(reloads: &mut Reloads, mistakes: &Mistakes) -> String {
    reloads.note(false);
    let text = mistakes.to_string();
    tracing::error!(mistakes = %text, "reload refused; the former configuration and policy go on");
    text
}

#[cfg(test)]
mod tests;
