//! An HTTP server of a hundred lines: one request a connection, every byte of it kept, any kind of answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Clone)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Hang up without an answer.
    Drop,
    /// Never answer.
    Hang,
    /// Answer late.
    After(Duration, Box<Reply>),
}

pub(crate) struct Fake {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: tokio::task::JoinHandle<()>,
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: vec![("RequestId", "11111111-aaaa".into())],
            body: body.into(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    pub(crate) fn change(&mut self, change: impl Fn(&mut Value)) {
        if let Self::Answer { body, .. } = self {
            let mut value = serde_json::from_str(body).unwrap();
            change(&mut value);
            *body = value.to_string();
        }
    }
}

impl Fake {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Script, _) = (Arc::new(script), Arc::clone(&seen));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self {
            port,
            seen,
            serving,
        }
    }

    /// Answers in turn; the last one for ever.
    pub(crate) async fn scripted(replies: Vec<Reply>) -> Self {
        let turn = std::sync::atomic::AtomicUsize::new(0);
        Self::start(move |_| {
            let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            replies[turn.min(replies.len() - 1)].clone()
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Paths below the root, with their queries.
    pub(crate) fn paths(&self) -> Vec<String> {
        let short = |seen: &Seen| {
            let path = seen.path.trim_start_matches("/v1.0/myorg/");
            if seen.query.is_empty() {
                path.to_owned()
            } else {
                format!("{path}?{}", seen.query)
            }
        };
        self.seen.lock().unwrap().iter().map(short).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Seen>>>) {
    let Some(seen) = receive(&mut stream).await else {
        return;
    };
    log.lock().unwrap().push(seen.clone());
    let mut reply = script(&seen);
    loop {
        match reply {
            Reply::Drop => return,
            Reply::Hang => return std::future::pending().await,
            Reply::After(time, then) => {
                tokio::time::sleep(time).await;
                reply = *then;
            }
            Reply::Answer {
                status,
                headers,
                body,
            } => {
                let headers: Vec<_> = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let text = format!(
                    "HTTP/1.1 {status} x\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{body}",
                    headers.concat(),
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut seen = Seen {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
    };
    let length: usize = seen
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = String::from_utf8(bytes[head_end..].to_vec()).unwrap();
    Some(seen)
}
