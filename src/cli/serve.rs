//! `serve`: start, wait for a signal, drain.

use std::path::Path;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, block_on};
use crate::app::App;
use crate::telemetry;

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    // Config and policy mistakes are reported together.
    let config = super::check::load(file)?;
    telemetry::start(&config.telemetry);
    block_on(async {
        let signals = Signals::new()?;
        let app = App::start(config, file).await?;
        signals.until_end(|| app.reload()).await;
        app.stop().await;
        Ok(())
    })
}

/// The signals that a running broker obeys.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Resolves at SIGTERM or SIGINT; until then `hung_up` runs at each SIGHUP.
    pub(super) async fn until_end(mut self, hung_up: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => hung_up(),
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
            }
        }
    }
}
