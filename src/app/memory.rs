//! What the process may keep in memory: every limit there is, as `docs/deploy.md` has it (a test holds the two equal).
//!
//! Whoever adds something that grows with callers, items or clients bounds it, and adds it here.

use crate::config::Config;
use crate::http::Bounds;
use crate::{audit, authn, broker, powerbi};

const MIB: u64 = 1024 * 1024;

/// What the program takes beside everything that is counted: code, threads, connections to others. Measured: 20 MiB
/// when idle, and what the allocator keeps for itself.
const PROGRAM_BYTES: u64 = 48 * MIB;

/// What the work on one request takes beside head and body: claims, grant, plan, the call to Power BI, its answer.
const WORK_BYTES: u64 = 64 * 1024;

/// One limit.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Of what.
    pub what: &'static str,
    /// Most bytes that it takes.
    pub bytes: u64,
}

/// Every limit of a process with this configuration.
#[must_use]
pub fn allowances(config: &Config) -> Vec<Allowance> {
    let (traffic, ops) = (Bounds::traffic(config.server.max_in_flight), Bounds::ops());
    let of_both = |bytes: fn(&Bounds) -> usize| (bytes(&traffic) + bytes(&ops)) as u64;
    [
        ("the program", PROGRAM_BYTES),
        ("verified callers", authn::MOST_BYTES_OF_CALLERS),
        ("plans", broker::MOST_BYTES_OF_PLANS),
        ("facts about items", powerbi::MOST_BYTES_OF_FACTS),
        ("embed tokens", config.cache.embed_tokens_max_bytes),
        ("callers counted", broker::MOST_BYTES_OF_RATES),
        ("refusals counted", audit::MOST_BYTES_OF_REFUSALS),
        ("audit records", audit::MOST_BYTES_OF_RECORDS),
        ("connections", of_both(Bounds::connection_bytes)),
        ("requests", of_both(|bounds| bounds.requests)),
        (
            "work on requests",
            config.server.max_in_flight as u64 * WORK_BYTES,
        ),
        ("answers", of_both(|bounds| bounds.answers)),
    ]
    .map(|(what, bytes)| Allowance { what, bytes })
    .into()
}

/// Warns when the container allows less memory than this configuration may take.
pub(super) fn warn_of_shortage(config: &Config) {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    if let Some((allowed, needed)) = shortage(&limit, &allowances(config)) {
        tracing::warn!(
            allowed_mib = allowed / MIB,
            needed_mib = needed / MIB,
            "the container's memory limit is below what caches and requests may take together: raise it, or lower cache.embed_tokens_max_bytes or server.max_in_flight"
        );
    }
}

/// What is allowed and what is needed, when it is more.
fn shortage(limit: &str, allowances: &[Allowance]) -> Option<(u64, u64)> {
    // Without a limit it says `max`.
    let allowed = limit.trim().parse().ok()?;
    let needed = allowances.iter().map(|allowance| allowance.bytes).sum();
    (allowed < needed).then_some((allowed, needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_allows_too_little_is_told_of() {
        let allowances = allowances(&Config::default());
        let needed: u64 = allowances.iter().map(|allowance| allowance.bytes).sum();
        assert!(needed > 500 * MIB);
        for enough in ["max\n", "", &format!("{needed}\n")] {
            assert_eq!(shortage(enough, &allowances), None);
        }
        let told = shortage("268435456\n", &allowances);
        assert_eq!(told, Some((256 * MIB, needed)));
    }
}
