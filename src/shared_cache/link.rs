//! The connection to Redis: made in the background only, used by many requests at once, given up at the first answer
//! that does not come.
//!
//! Why not the library's `ConnectionManager`: it connects while a request waits, and it stays on a connection whose
//! answers do not come, since a timeout is not a dropped connection to it. Here "there is a connection" means "it answered
//! lately", which is all the circuit breaker there is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, RedisError, ServerErrorKind,
    TlsCertificates, Value,
};

use super::trouble::{Reply, Trouble};
use crate::config;

/// Time to connect, TLS and sign-in included. Nobody waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Codes of Redis that operators may meet; others are not repeated.
const CODES: [&str; 14] = [
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "ERR",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "READONLY",
    "WRONGTYPE",
];

pub(super) struct Link {
    config: config::Redis,
    /// PEM of all authorities that a certificate may come from.
    authorities: Option<Vec<u8>>,
    target: Mutex<Target>,
    connection: ArcSwapOption<MultiplexedConnection>,
    /// Why there is no connection.
    lost: Mutex<Trouble>,
}

/// Where to connect to.
#[derive(Clone)]
struct Target {
    client: Client,
    /// Of the URL.
    version: u64,
}

impl Link {
    pub(super) fn new(config: &config::Redis, tls: &config::Tls) -> Result<Self, String> {
        let authorities = authorities(tls)?;
        let target = Target::of(config, authorities.as_deref())?;
        Ok(Self {
            config: config.clone(),
            authorities,
            target: Mutex::new(target),
            connection: ArcSwapOption::empty(),
            lost: Mutex::new(Trouble::Skipped),
        })
    }

    /// Why nothing is asked of Redis at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        let up = self.connection.load().is_some();
        (!up).then(|| locked(&self.lost).to_string())
    }

    /// Sees to it that there is a connection if there can be one; gives what is wrong all the same.
    pub(super) async fn connect_if_needed(&self) -> Result<Option<String>, Trouble> {
        let complaint = self.retarget().err();
        if self.connection.load().is_some() {
            self.ask(&[b"PING"]).await?;
            return Ok(complaint);
        }
        match self.connect().await {
            Ok(connection) => {
                self.connection.store(Some(Arc::new(connection)));
                tracing::info!("shared cache: connected");
                Ok(complaint)
            }
            Err(trouble) => {
                let mut before = locked(&self.lost);
                if *before != trouble {
                    tracing::warn!(%trouble, "shared cache: no connection");
                }
                *before = trouble.clone();
                Err(trouble)
            }
        }
    }

    /// Sends a command and waits for its answer as long as a request may.
    pub(super) async fn ask(&self, command: &[&[u8]]) -> Result<Reply, Trouble> {
        let Some(connection) = self.connection.load_full() else {
            return Err(Trouble::Skipped);
        };
        let answer = self.ask_on(&connection, command).await;
        if let Err(trouble) = &answer
            && trouble.ends_connection()
        {
            self.lose(&connection, trouble);
        }
        answer
    }

    async fn ask_on(
        &self,
        connection: &MultiplexedConnection,
        command: &[&[u8]],
    ) -> Result<Reply, Trouble> {
        let mut connection = connection.clone();
        let mut packed = redis::Cmd::new();
        for part in command {
            packed.arg(*part);
        }
        let answer = packed.query_async::<Value>(&mut connection);
        match tokio::time::timeout(self.config.timeout, answer).await {
            Ok(Ok(value)) => Ok(reply(value)),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(Trouble::TimedOut),
        }
    }

    /// A connection that has answered in time.
    async fn connect(&self) -> Result<MultiplexedConnection, Trouble> {
        let client = locked(&self.target).client.clone();
        let timeouts = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let connection = client
            .get_multiplexed_async_connection_with_config(&timeouts)
            .await
            .map_err(|error| match trouble(&error) {
                Trouble::TimedOut => Trouble::Unreachable("no connection in time".into()),
                trouble => trouble,
            })?;
        self.ask_on(&connection, &[b"PING"]).await?;
        Ok(connection)
    }

    /// Takes `connection` out of use, unless another has taken its place already.
    fn lose(&self, connection: &Arc<MultiplexedConnection>, trouble: &Trouble) {
        let known = Some(Arc::clone(connection));
        let before = self.connection.compare_and_swap(&known, None);
        if before.as_ref().is_some_and(|b| Arc::ptr_eq(b, connection)) {
            *locked(&self.lost) = trouble.clone();
            tracing::warn!(%trouble, "shared cache: connection given up; requests go on without");
        }
    }

    /// Follows the URL when it was re-read; the former one goes on while the new one is none.
    fn retarget(&self) -> Result<(), String> {
        if locked(&self.target).version == self.config.resolved_url.version() {
            return Ok(());
        }
        let target = Target::of(&self.config, self.authorities.as_deref())
            .map_err(|problem| format!("{problem}; the former URL goes on"))?;
        *locked(&self.target) = target;
        self.connection.store(None);
        tracing::info!("shared cache: URL re-read");
        Ok(())
    }
}

impl Target {
    fn of(config: &config::Redis, authorities: Option<&[u8]>) -> Result<Self, String> {
        let version = config.resolved_url.version();
        let url = config
            .url()
            .map_err(|problem| format!("cache.redis.url {problem}"))?;
        let encrypted = matches!(url.scheme(), "rediss" | "valkeys");
        // The library's own texts may repeat the URL.
        let unusable = |_: RedisError| "cache.redis.url cannot be used".to_owned();
        let info = url.into_connection_info().map_err(unusable)?;
        // The library's name is nobody's business, and telling it takes a right more.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        // Without it small commands wait for the acknowledgement of earlier ones.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = if encrypted {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: authorities.map(<[u8]>::to_vec),
            };
            Client::build_with_tls(info, certificates)
        } else {
            Client::open(info)
        };
        Ok(Self {
            client: client.map_err(unusable)?,
            version,
        })
    }
}

/// The system's authorities and `tls.extra_ca_file`. The library takes the system's by itself only when it is given no
/// others.
fn authorities(tls: &config::Tls) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = &tls.extra_ca_file else {
        return Ok(None);
    };
    let mut pem = std::fs::read(path)
        .map_err(|error| format!("tls.extra_ca_file cannot be read: {error}"))?;
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The library gives up at the first one that it cannot read, and systems carry such.
        if rustls::RootCertStore::empty()
            .add(certificate.clone())
            .is_ok()
        {
            let block = pem::Pem::new("CERTIFICATE", certificate.to_vec());
            pem.push(b'\n');
            pem.extend_from_slice(pem::encode(&block).as_bytes());
        }
    }
    Ok(Some(pem))
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Okay => Reply::Done,
        Value::Int(number) => Reply::Number(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        _ => Reply::Other,
    }
}

fn trouble(error: &RedisError) -> Trouble {
    // Inside a script the code may stand in the text.
    let says = |word: &str| {
        error.code() == Some(word) || error.detail().is_some_and(|text| text.contains(word))
    };
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => Trouble::TimedOut,
        ErrorKind::Io => Trouble::Unreachable(error.to_string()),
        ErrorKind::AuthenticationFailed => Trouble::Unauthorized,
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Trouble::Refused("READONLY"),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            if says("OOM") {
                return Trouble::Full;
            }
            if says("NOAUTH") || says("WRONGPASS") {
                return Trouble::Unauthorized;
            }
            let code = CODES.into_iter().find(|code| error.code() == Some(code));
            Trouble::Refused(code.unwrap_or("another code"))
        }
        // It does not speak as Redis does.
        _ => Trouble::Unreachable(error.category().to_owned()),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
