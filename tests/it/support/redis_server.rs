//! Debian's `redis-server`, for one test: on loopback, with a folder of its own, gone with the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{ConnectionInfo, FromRedisValue, IntoConnectionInfo as _};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A running server.
pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Child,
    admin: ConnectionInfo,
}

impl RedisServer {
    /// A server without password or TLS.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with further arguments; `PORT` in them becomes a second free port.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let (port, second) = (free_port(), free_port().to_string());
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("PORT", &second))
            .collect();
        let folder = TempDir::new().unwrap();
        let password = arguments
            .windows(2)
            .find(|pair| pair[0] == "--requirepass")
            .map(|pair| format!(":{}@", pair[1]));
        let url = format!("redis://{}127.0.0.1:{port}", password.unwrap_or_default());
        let server = Self {
            process: spawn(folder.path(), port, &arguments),
            folder,
            port,
            arguments,
            admin: url.into_connection_info().unwrap(),
        };
        server.answers().await;
        server
    }

    /// Its plain port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The argument after `name`.
    pub(crate) fn argument(&self, name: &str) -> &str {
        let at = self.arguments.iter().position(|a| a == name).unwrap();
        &self.arguments[at + 1]
    }

    /// URL without a password.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.folder.path(), self.port, &self.arguments);
        self.answers().await;
    }

    /// Connections are taken, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a [`pause`](Self::pause).
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Sends a command, as an operator or an attacker may.
    #[track_caller]
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &[&[u8]]) -> T {
        let mut connection = self.connection().unwrap();
        let mut packed = redis::Cmd::new();
        for part in command {
            packed.arg(*part);
        }
        packed.query(&mut connection).unwrap()
    }

    /// The names that begin so, sorted.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self.ask(&[b"KEYS", format!("{prefix}*").as_bytes()]);
        names.sort();
        names
    }

    fn connection(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.admin.clone())?.get_connection_with_timeout(Duration::from_secs(5))
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    async fn answers(&self) {
        for _ in 0..500 {
            if self.connection().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Ends a paused one as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Looks like Redis, and answers everything but `PING` as it was told.
pub(crate) struct Liar {
    port: u16,
    lie: Arc<Mutex<&'static [u8]>>,
    told: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Liar {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (lie, told) = (Arc::default(), Arc::default());
        let (says, count) = (Arc::clone(&lie), Arc::clone(&told));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&says), Arc::clone(&count)));
            }
        });
        Self {
            port,
            lie,
            told,
            serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Answers so from now on.
    pub(crate) fn tell(&self, lie: &'static [u8]) {
        *self.lie.lock().unwrap() = lie;
    }

    /// How often it has lied.
    pub(crate) fn told(&self) -> usize {
        self.told.load(SeqCst)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    stream: TcpStream,
    lie: Arc<Mutex<&'static [u8]>>,
    told: Arc<AtomicUsize>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut words = Vec::new();
        for _ in 0..number(&mut stream).await? {
            let mut word = vec![0; number(&mut stream).await? + 2];
            stream.read_exact(&mut word).await.ok()?;
            words.push(word);
        }
        let answer = if words[0] == b"PING\r\n" {
            b"+PONG\r\n"
        } else {
            told.fetch_add(1, SeqCst);
            *lie.lock().unwrap()
        };
        stream.write_all(answer).await.ok()?;
    }
}

/// The number in a line such as `*3` or `$5`.
async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}

fn spawn(folder: &Path, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests run Debian's redis-server: apt-get install redis-server")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
