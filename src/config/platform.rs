//! What the platform tells a workload by environment variables of its own, not by ours.

use std::path::PathBuf;

/// The file with a Kubernetes workload's projected token, as the workload identity webhook announces it.
#[must_use]
pub fn federated_token_file() -> Option<PathBuf> {
    std::env::var_os("AZURE_FEDERATED_TOKEN_FILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}
