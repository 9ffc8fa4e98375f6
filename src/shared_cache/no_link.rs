//! Stands in for the connection in a build without the feature `redis`: there is none, and the configuration says so.

use super::trouble::{Reply, Trouble};
use crate::config;

/// Never made.
pub(super) enum Link {}

impl Link {
    pub(super) fn new(_: &config::Redis, _: &config::Tls) -> Result<Self, String> {
        Err("is not part of this build (feature `redis`)".into())
    }

    pub(super) fn trouble(&self) -> Option<String> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the real one waits for Redis")]
    pub(super) async fn tend(&self) -> Result<Option<String>, Trouble> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the real one waits for Redis")]
    pub(super) async fn ask(&self, _: &[&[u8]]) -> Result<Reply, Trouble> {
        match *self {}
    }
}
