//! Decisions and plans that were made before: the same question need not be thought through twice.
//!
//! Why this is safe: a decision is a pure function of the verified token, the request and the policy; a plan one of the
//! decision, the facts and the principals. The key is the SHA-256 of the whole token and of everything that the request
//! says. The memory belongs to one [`Stages`](super::Stages), so a reload begins with an empty one. A plan is used
//! again only while the facts behind it are current: the newest ones, not due for renewal. So a withdrawn rule, or RLS
//! that vanished, ends it at once. The token itself is verified at every request, before anybody looks here.
//!
//! Not remembered: refusals, requests with identity blobs (secrets of the caller's), and plans that depend on the time
//! (`tokens.bind_to_caller_session`).

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::authn::Caller;
use crate::plan::EmbedPlan;
use crate::policy::{Access, Ask, Grant};
use crate::powerbi::UsedFacts;

/// Bound of what is kept, as weighed.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// What an entry weighs: a grant and what its page gets are trees of small texts.
const ENTRY_BYTES: usize = 1024;
const GRANT_BYTES: usize = 6 * 1024;

/// Plans by token and request.
pub struct Remembered(moka::sync::Cache<Key, Arc<Planned>>);

/// SHA-256 over token and request.
type Key = [u8; 32];

/// What was decided and planned, and the facts that the plan rests on.
pub(super) struct Planned {
    pub(super) grants: Arc<[Grant]>,
    pub(super) plan: EmbedPlan,
    pub(super) facts: UsedFacts,
}

impl Default for Remembered {
    fn default() -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(|_, planned: &Arc<Planned>| planned.weight())
                .build(),
        )
    }
}

impl Remembered {
    /// What was planned for this question, when it would be planned so again.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Planned>> {
        let planned = self.0.get(key)?;
        planned.facts.are_current().then_some(planned)
    }

    pub(super) fn insert(&self, key: Key, planned: Arc<Planned>) {
        self.0.insert(key, planned);
    }
}

impl Planned {
    fn weight(&self) -> u32 {
        let bytes = ENTRY_BYTES + GRANT_BYTES * self.grants.len() + 3 * self.plan.body().len();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// The key of a question; none for a caller without a token (who is only assumed).
pub(super) fn key(caller: &Caller, ask: &Ask) -> Option<Key> {
    let Ask {
        items,
        access,
        save_as,
        target,
    } = ask;
    let access = match access {
        None => 0,
        Some(Access::View) => 1,
        Some(Access::Edit) => 2,
        Some(Access::Create) => 3,
    };
    let mut hash = Sha256::new();
    hash.update(caller.token_hash()?);
    hash.update([access, u8::from(*save_as), u8::from(target.is_some())]);
    // Length first, so that no two questions give the same bytes.
    for text in items.iter().chain(target) {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    Some(hash.finalize().into())
}
