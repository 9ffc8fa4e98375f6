//! The broker's configuration for the sandbox, built in, and how it is written where people can edit it.
//!
//! The files in `config/sandbox/` are valid as they stand, for the default ports; unpacking puts the real addresses in.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const BROKER: &str = include_str!("../../../config/sandbox/broker.yaml");
const POLICY: &str = include_str!("../../../config/sandbox/policy.yaml");

/// The addresses that stand in the built-in files.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_OPS_LISTEN: &str = "127.0.0.1:9090";
const DEFAULT_UPSTREAM: &str = "http://127.0.0.1:8090";

/// Where the parts of a sandbox are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The broker's traffic listener.
    pub listen: SocketAddr,
    /// The broker's ops listener.
    pub ops_listen: SocketAddr,
    /// The simulated services, as [`Upstream::url`](super::Upstream::url) gives them.
    pub upstream: String,
}

/// The files that were written.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The broker's configuration.
    pub config: PathBuf,
    /// The policy that it names.
    pub policy: PathBuf,
}

/// Writes `broker.yaml` and `policy.yaml` into `folder`, which exists.
///
/// # Errors
/// When a file cannot be written.
pub fn unpack(folder: &Path, addresses: &Addresses) -> io::Result<Unpacked> {
    let unpacked = Unpacked {
        config: folder.join("broker.yaml"),
        policy: folder.join("policy.yaml"),
    };
    let broker = BROKER
        .replace(DEFAULT_LISTEN, &addresses.listen.to_string())
        .replace(DEFAULT_OPS_LISTEN, &addresses.ops_listen.to_string())
        .replace(DEFAULT_UPSTREAM, &addresses.upstream);
    std::fs::write(&unpacked.config, broker)?;
    std::fs::write(&unpacked.policy, POLICY)?;
    Ok(unpacked)
}
