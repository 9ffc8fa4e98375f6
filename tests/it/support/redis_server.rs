//! Debian's `redis-server`, for one test: on loopback, with a folder of its own, gone with the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{ConnectionInfo, FromRedisValue, IntoConnectionInfo as _};
use tempfile::TempDir;

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
