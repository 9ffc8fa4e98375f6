//! What makes two plans the same: every byte that shapes the request, and nothing about who asked.
//!
//! Replicas compare their keys, so a key is made of bytes alone, without anything of the process. A principal is who it
//! is to Entra and Power BI, not only what one replica's configuration calls it.

use sha2::{Digest as _, Sha256};

use super::{Minter, MinterKind};

/// Identifies a plan: SHA-256 over principal (name, tenant, application, API and kind), profile, path and body (blobs
/// included).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanKey(pub [u8; 32]);

impl PlanKey {
    pub(super) fn of(minter: &Minter, profile_id: Option<&str>, path: &str, body: &[u8]) -> Self {
        let (kind, account) = match &minter.kind {
            MinterKind::ServicePrincipal { object_id } => {
                ("service_principal", object_id.as_deref())
            }
            MinterKind::MasterUser { username } => ("master_user", Some(username.as_str())),
        };
        let parts = [
            Some(minter.name.as_bytes()),
            Some(minter.tenant_id.as_bytes()),
            Some(minter.client_id.as_bytes()),
            Some(minter.api_root.as_bytes()),
            Some(kind.as_bytes()),
            account.map(str::as_bytes),
            profile_id.map(str::as_bytes),
            Some(path.as_bytes()),
            Some(body),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            // Length first, so that no two plans give the same bytes; absent is not empty.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        Self(hash.finalize().into())
    }
}
