//! `probe`: asks the running broker whether it is well; for container health checks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use url::Url;

use super::{Failure, block_on};
use crate::config::{Config, Tls};
use crate::outbound::Outbound;

/// Time that the broker gets to answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to ask; default: `/livez` of the configured operators' listener, which answers whatever clients do.
    #[arg(long)]
    url: Option<Url>,
}

pub(super) fn run(file: &Path, args: &Args) -> Result<(), Failure> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => configured(file)?,
    };
    block_on(async {
        let outbound = Outbound::new(&Tls::default())?;
        let response = outbound
            .client(&url)
            .get(url.clone())
            .timeout(PATIENCE)
            .send()
            .await;
        let status = response
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("{url}"))?
            .status();
        if status.is_success() {
            Ok(())
        } else {
            Err(anyhow!("{url} answered {status}").into())
        }
    })
}

fn configured(file: &Path) -> anyhow::Result<Url> {
    let (config, _) = Config::read(file, None);
    let mut address = config.unwrap_or_default().server.ops_listen;
    if address.ip().is_unspecified() {
        address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    }
    Ok(Url::parse(&format!("http://{address}/livez"))?)
}
