//! Plans for the tests of the next stage, which cannot be made any other way than from grants and facts.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{CacheUntil, EmbedPlan, Minter, PlanKey};

/// Everything of a plan that a mint looks at, open to change.
#[derive(Clone, Debug)]
pub(crate) struct PlanParts {
    pub(crate) minter: Minter,
    pub(crate) profile_id: Option<String>,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) lifetime: Duration,
    pub(crate) cache_until: CacheUntil,
}

impl EmbedPlan {
    pub(crate) fn of_parts(parts: PlanParts) -> Self {
        let shape = format!(
            "{:?} {:?} {} {}",
            parts.minter, parts.profile_id, parts.path, parts.body
        );
        Self {
            minter: parts.minter,
            profile_id: parts.profile_id,
            path: parts.path,
            body: Bytes::from(parts.body),
            key: PlanKey(Sha256::digest(shape).into()),
            lifetime: parts.lifetime,
            cache_until: parts.cache_until,
            items: Vec::new(),
            identities: [].into(),
            unfiltered_by_master_user: false,
        }
    }
}
