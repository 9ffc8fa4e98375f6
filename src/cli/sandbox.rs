//! `sandbox`: the broker against simulated services, in one process, without an Azure account.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::serve::Signals;
use super::{Failure, block_on, print};
use crate::app::App;
use crate::sandbox::{Addresses, Options, Upstream, unpack};
use crate::telemetry;

/// Where operators look by habit; taken when it is free.
const OPS_PORT: u16 = 9090;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Port of the broker; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the simulated services and of the demo page; 0 takes a free one.
    #[arg(long, default_value_t = 8090)]
    upstream_port: u16,
    /// Port on which the simulated services speak TLS under Microsoft's names; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    upstream_tls_port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
}

/// The line that tells scripts where everything is.
#[derive(Serialize)]
struct Announcement<'a> {
    ready: bool,
    broker: &'a str,
    ops: &'a str,
    upstream: &'a str,
    upstream_tls: &'a str,
    folder: &'a Path,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        let signals = Signals::new()?;
        let folder = folder()?;
        let listen = free(args.bind, args.port)?;
        let broker = url(listen);
        let upstream = Upstream::start(Options {
            http: SocketAddr::new(args.bind, args.upstream_port),
            tls: SocketAddr::new(args.bind, args.upstream_tls_port),
            broker_url: Some(broker.clone()),
            policy_file: Some(folder.join("policy.yaml")),
            ca_file: Some(folder.join("ca.pem")),
            ..Options::default()
        })
        .await?;
        let ops_listen = free(args.bind, OPS_PORT).or_else(|_| free(args.bind, 0))?;
        let addresses = Addresses {
            listen,
            ops_listen,
            upstream: upstream.url().to_owned(),
        };
        let files =
            unpack(&folder, &addresses).context("cannot write the sandbox's configuration")?;
        let config = super::check::load(&files.config)?;
        telemetry::start(&config.telemetry);
        let app = App::start(config, &files.config).await?;
        app.ready().await;
        let ops = url(app.ops());
        welcome(&broker, upstream.url(), &folder);
        let announcement = Announcement {
            ready: true,
            broker: &broker,
            ops: &ops,
            upstream: upstream.url(),
            upstream_tls: upstream.tls_url(),
            folder: &folder,
        };
        print(&serde_json::to_string(&announcement).context("the ready line")?);
        signals.serve(app).await;
        upstream.stop().await;
        Ok(())
    })
}

fn welcome(broker: &str, upstream: &str, folder: &Path) {
    let token = format!(
        "curl -s {broker}/embed-token -H \"Authorization: Bearer $(curl -s '{upstream}/idp/token?persona=ana')\" \
         -H 'Content-Type: application/json' -d '{{\"item\":\"sales\"}}'"
    );
    print(&format!(
        "
embed-broker runs against simulated Entra, Power BI and sign-in services. Nothing here is real.

  See it      {upstream}/
  Edit        {policy}   (read again within seconds)

An embed token for ana, as her front end would ask for it:

  {token}

And the rows that this token lets through, as the report would show them:

  {token} | curl -s {upstream}/sandbox/rows -H 'Content-Type: application/json' -d @-

Below: one audit record a request. Stop with Ctrl-C.
",
        policy = folder.join("policy.yaml").display(),
    ));
}

/// A folder of our own for files that people may edit; it stays, so that edits are not lost.
fn folder() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = std::env::temp_dir().join(format!(
        "embed-broker-sandbox-{}",
        uuid::Uuid::new_v4().simple()
    ));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// An address that is free at this moment.
fn free(bind: IpAddr, port: u16) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((bind, port)).with_context(|| {
        format!("port {port} is taken: choose others with --port and --upstream-port")
    })?;
    Ok(listener.local_addr()?)
}

/// How a browser on this machine reaches `address`.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    }
}
