//! `sandbox`: the broker against simulated services, in one process, without an Azure account.

mod why;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use embed_broker_sandbox::{
    Addresses, Insight, Options, Upstream, self_signed_certificate, unpack,
};
use serde::Serialize;
use url::Url;

use super::serve::Signals;
use super::{Failure, block_on, print};
use crate::app::App;
use crate::config::Telemetry;
use crate::telemetry;

/// Where operators look by habit; taken when it is free, unless free ports are asked for: of many sandboxes that start
/// in the same moment each would find it free.
const OPS_PORT: u16 = 9090;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Port of the broker; 0 takes a free one, and one for its operators.
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
    /// Folder for configuration, policy and the certificate authority, all written anew; default: a new folder.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Run the simulated services alone, for brokers that run elsewhere.
    #[arg(long)]
    upstream_only: bool,
    /// Where those brokers reach the simulated services, such as `https://sandbox:8443`: the issuer of the tokens and a
    /// name in the certificate.
    #[arg(long, value_name = "URL", requires = "upstream_only")]
    public_url: Option<Url>,
    /// Where the demo page reaches those brokers.
    #[arg(long, value_name = "URL", requires = "upstream_only")]
    broker_url: Option<Url>,
    /// Also write gateway.pem and gateway-key.pem into the folder: a certificate of this name, for a gateway in front
    /// of those brokers.
    #[arg(long, value_name = "NAME", requires = "upstream_only")]
    gateway_name: Option<String>,
}

/// The line that tells scripts where everything is.
#[derive(Serialize)]
struct Announcement<'a> {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<&'a str>,
    upstream: &'a str,
    upstream_tls: &'a str,
    folder: &'a Path,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        let signals = Signals::new()?;
        let folder = folder(args.folder.as_deref())?;
        if args.upstream_only {
            upstream_only(args, signals, &folder).await
        } else {
            everything(args, signals, &folder).await
        }
    })
}

/// The broker and the services that it talks to.
async fn everything(args: &Args, signals: Signals, folder: &Path) -> Result<(), Failure> {
    let listen = free(args.bind, args.port)?;
    let broker = url(listen);
    let upstream = Upstream::start(Options {
        broker_url: Some(broker.clone()),
        policy_file: Some(folder.join("policy.yaml")),
        ..options(args, folder)
    })
    .await?;
    let habit = if args.port == 0 { 0 } else { OPS_PORT };
    let ops_listen = free(args.bind, habit).or_else(|_| free(args.bind, 0))?;
    let addresses = Addresses {
        listen,
        ops_listen,
        upstream: upstream.url().to_owned(),
    };
    let files = unpack(folder, &addresses).context("cannot write the sandbox's configuration")?;
    let config = super::check::load(&files.config)?;
    telemetry::start(&config.telemetry);
    let app = App::start(config, &files.config).await?;
    app.ready().await;
    upstream.ask(insight(&app));
    let ops = url(app.ops());
    welcome(&broker, upstream.url(), folder);
    print_ready(&upstream, Some((&broker, &ops)), folder)?;
    signals.until_end(|| app.reload()).await;
    app.stop().await;
    upstream.stop().await;
    Ok(())
}

/// What the demo page may ask the broker beside it.
fn insight(app: &App) -> Insight {
    let broker = app.demo_access();
    let (policy, reloads, tokens) = (broker.clone(), broker.clone(), broker);
    Insight {
        explain: Box::new(move |question| why::why(&policy.policy(), question)),
        judged: Box::new(move || reloads.policy_reloads()),
        forget_tokens: Box::new(move || tokens.forget_tokens()),
    }
}

/// The services alone.
async fn upstream_only(args: &Args, signals: Signals, folder: &Path) -> Result<(), Failure> {
    telemetry::start(&Telemetry::default());
    if let Some(name) = &args.gateway_name {
        certify_gateway(name, folder)?;
    }
    let upstream = Upstream::start(Options {
        broker_url: args.broker_url.as_ref().map(without_slash),
        public_url: args.public_url.as_ref().map(without_slash),
        ..options(args, folder)
    })
    .await?;
    print_ready(&upstream, None, folder)?;
    signals.until_end(|| ()).await;
    upstream.stop().await;
    Ok(())
}

/// Writes a certificate that vouches for itself, before anybody is told that the services are up.
fn certify_gateway(name: &str, folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let [certificate, key] = self_signed_certificate(name)?;
    let write = |file: &str, mode: u32, text: String| {
        let path = folder.join(file);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))
    };
    write("gateway.pem", 0o644, certificate)?;
    write("gateway-key.pem", 0o600, key)
}

fn options(args: &Args, folder: &Path) -> Options {
    Options {
        http: SocketAddr::new(args.bind, args.upstream_port),
        tls: SocketAddr::new(args.bind, args.upstream_tls_port),
        ca_file: Some(folder.join("ca.pem")),
        ..Options::default()
    }
}

fn print_ready(
    upstream: &Upstream,
    broker: Option<(&str, &str)>,
    folder: &Path,
) -> anyhow::Result<()> {
    let ready = Announcement {
        ready: true,
        broker: broker.map(|(broker, _)| broker),
        ops: broker.map(|(_, ops)| ops),
        upstream: upstream.url(),
        upstream_tls: upstream.tls_url(),
        folder,
    };
    print(&serde_json::to_string(&ready).context("the ready line")?);
    Ok(())
}

fn welcome(broker: &str, upstream: &str, folder: &Path) {
    let token = format!(
        "curl -s {broker}/embed-token -H \"Authorization: Bearer $(curl -s '{upstream}/idp/token?persona=ana')\" \
         -H 'Content-Type: application/json' -d '{{\"item\":\"sales\"}}'"
    );
    print(&format!(
        r#"
embed-broker runs against simulated Entra, Power BI and sign-in services. Nothing here is real.

  See it      {upstream}/
  Edit        {policy}   (read again within seconds)

An embed token for ana, as her front end would ask for it:

  {token}

And the rows that this token lets through, as the report would show them:

  curl -s {upstream}/sandbox/rows -H "Authorization: EmbedToken $({token} | sed 's/.*"token":"\([^"]*\)".*/\1/')"

Below: one audit record a request. Stop with Ctrl-C.
"#,
        policy = folder.join("policy.yaml").display(),
    ));
}

/// The folder asked for, or one of our own; it stays, so that edits are not lost.
fn folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = match asked {
        Some(folder) => folder.to_owned(),
        None => std::env::temp_dir().join(format!(
            "embed-broker-sandbox-{}",
            uuid::Uuid::new_v4().simple()
        )),
    };
    std::fs::DirBuilder::new()
        .mode(0o700)
        // What is there is taken as it is, but only when somebody named it.
        .recursive(asked.is_some())
        .create(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
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
