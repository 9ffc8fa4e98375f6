//! Decisions and plans that were made before: the same question need not be thought through twice.
//!
//! Why this is safe: a decision is a pure function of the verified token, the request and the policy; a plan one of the
//! decision, the facts and the principals. The key is the SHA-256 of the whole token and of everything that the request
//! says. The memory belongs to one [`Broker`](super::Broker), so a reload begins with an empty one. A plan is used
//! again only while the facts behind it are current: the newest ones, not due for renewal. So a withdrawn rule, or RLS
//! that vanished, ends it at once. The token itself is verified at every request, before anybody looks here.
//!
//! Not remembered: refusals, requests with identity blobs (secrets of the caller's), and plans that depend on the time
//! (`tokens.bind_to_caller_session`).

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::authn::Caller;
use crate::plan::{EmbedPlan, PlannedItem};
use crate::policy::{Access, Ask, Grant};
use crate::powerbi::UsedFacts;
use crate::weight;

/// Bound of what is kept, as weighed.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// What takes more is planned anew each time: the cache counts new entries in groups of 64. Fifty items fit.
const MAX_ENTRY_BYTES: usize = 512 * 1024;

/// Most that is kept, with what the cache has not counted yet.
pub(crate) const MOST_BYTES: u64 = MAX_BYTES + 64 * MAX_ENTRY_BYTES as u64;

/// What an entry takes beside the settings for the page, which may hold claims of any size: a grant is a tree of small texts,
/// all of them bounded.
const ENTRY_BYTES: usize = 1024;
const GRANT_BYTES: usize = 6 * 1024;
/// And each workspace of another item that stands in a grant.
const WORKSPACE_BYTES: usize = 256;

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
                .weigher(|_, planned: &Arc<Planned>| {
                    u32::try_from(planned.weight()).unwrap_or(u32::MAX)
                })
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
        if planned.weight() <= MAX_ENTRY_BYTES {
            self.0.insert(key, planned);
        }
    }
}

impl Planned {
    fn weight(&self) -> usize {
        weigh(&self.grants, self.plan.items(), self.plan.body().len())
    }
}

fn weigh(grants: &[Grant], items: &[PlannedItem], body: usize) -> usize {
    let granted = grants.iter().map(Grant::embed);
    let planned = items.iter().map(|item| &item.embed_config);
    let settings: usize = granted.chain(planned).map(weight::of_map).sum();
    let workspaces = |grant: &Grant| grant.saved_into().len() + grant.found_by_name_in().len();
    let workspaces: usize = grants.iter().map(workspaces).sum();
    ENTRY_BYTES + GRANT_BYTES * grants.len() + WORKSPACE_BYTES * workspaces + 3 * body + settings
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

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::policy::test_grant::GrantParts;
    use crate::policy::{Content, Grant};

    #[test]
    fn settings_that_hold_claims_weigh_what_they_take() {
        let content = Content::Report { report: "r".into() };
        let grant = |embed| {
            let parts = GrantParts::of(content.clone());
            Grant::for_test(GrantParts { embed, ..parts })
        };
        let item = |embed_config| PlannedItem {
            item: "sales".into(),
            re_embed: false,
            embed_config,
        };
        let plain = weigh(&[grant(Map::new())], &[item(Map::new())], 100);
        let objects = vec![json!({"": 0}); 1_000];
        let settings = Map::from_iter([("settings".to_owned(), json!(objects))]);
        for (grants, items) in [
            ([grant(settings.clone())], [item(Map::new())]),
            ([grant(Map::new())], [item(settings.clone())]),
        ] {
            let weight = weigh(&grants, &items, 100);
            assert!(weight > plain + 640 * 1_000, "{weight} {plain}");
        }
    }
}
