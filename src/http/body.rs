//! The body of a request: read within a time, a length and a number of places, then parsed as strict JSON.
//!
//! A body is read before its request counts for `server.max_in_flight`: to announce one and never send it costs nothing,
//! and must not keep anybody from being served. Such requests have a limit of their own. Beyond it the body that has
//! been on its way longest is given up, so a caller whose body arrives with its head is never refused for those whose
//! bodies do not.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::problem::Problem;
use crate::broker::Code;

/// Longest request body.
pub const MAX_BODY: usize = 16 * 1024;

/// Bodies that may be on their way at once.
pub(super) const WAITING_BODIES: usize = 512;

/// Time in which a body must have arrived.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request, or why there is none, for its handler.
#[derive(Clone)]
pub(super) struct Arrived(Result<Vec<u8>, Problem>);

/// The bodies that are on their way.
#[derive(Default)]
pub(super) struct Bodies(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// In the order in which they began; who is dropped here is given up.
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place among them, until it is dropped.
struct Place<'a> {
    bodies: &'a Bodies,
    number: u64,
    given_up: oneshot::Receiver<()>,
}

impl Bodies {
    /// Reads the body of `request`, and leaves it there for its handler.
    pub(super) async fn read(&self, request: Request) -> Request {
        let (mut parts, body) = request.into_parts();
        let arrived = Arrived(self.arrive(&parts.headers, body).await);
        parts.extensions.insert(arrived);
        Request::from_parts(parts, Body::empty())
    }

    async fn arrive(&self, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
        if !is_json(headers) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "the content type is not application/json",
            ));
        }
        // Said at once when the length is declared, instead of waiting for what nobody will read.
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(too_large());
        }
        let mut arriving = pin!(tokio::time::timeout(BODY_TIMEOUT, collect(body)));
        let in_time = if let Some(in_time) = arriving.as_mut().now_or_never() {
            in_time
        } else {
            let mut place = self.wait();
            tokio::select! {
                biased;
                in_time = arriving => in_time,
                _ = &mut place.given_up => return Err(Problem::new(
                    Code::Overloaded,
                    "the body was given up: too many others are on their way as well",
                )),
            }
        };
        in_time.unwrap_or_else(|_| Err(invalid("The body did not arrive in time.")))
    }

    fn wait(&self) -> Place<'_> {
        let (keep, given_up) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.places.len() >= WAITING_BODIES {
            waiting.places.pop_first();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.places.insert(number, keep);
        Place {
            bodies: self,
            number,
            given_up,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.bodies.waiting().places.remove(&self.number);
    }
}

/// Copied together: each piece, however short, would keep the whole buffer that it was read into.
async fn collect(body: Body) -> Result<Vec<u8>, Problem> {
    let mut body = Limited::new(body, MAX_BODY);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(_) => return Err(invalid("The body could not be read.")),
        }
    }
    Ok(bytes)
}

impl Arrived {
    /// The body as strict JSON.
    ///
    /// # Errors
    /// 415, 413, 400 or 503, with what to change.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let bytes = self.0?;
        // serde would also fill a struct from a list, by position.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(invalid("The body must be a JSON object."));
        }
        // Where the fault lies is worth a second look, and only then.
        serde_json::from_slice(&bytes).map_err(|_| fault_of::<T>(&bytes))
    }
}

/// What is wrong with a body that is no `T`.
fn fault_of<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        return invalid("The body holds more than one JSON value.");
    };
    let path = error.path().to_string();
    let place = if path == "." {
        String::new()
    } else {
        format!(" at `{path}`")
    };
    invalid(format!(
        "The body does not have the documented form{place}: {}.",
        error.inner()
    ))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::request(Code::InvalidRequest, detail)
}

fn too_large() -> Problem {
    Problem::new(Code::BodyTooLarge, "the body is longer than 16 KiB")
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;
    use futures_util::future::join_all;
    use futures_util::stream;

    use super::*;

    fn headers() -> HeaderMap {
        let json = HeaderValue::from_static("application/json");
        [(CONTENT_TYPE, json)].into_iter().collect()
    }

    fn code(arrived: Result<Vec<u8>, Problem>) -> Option<Code> {
        arrived.err().map(|problem| problem.code())
    }

    /// A body of which the first byte comes, and no other.
    fn announced() -> Body {
        let first = stream::iter([Ok::<_, std::io::Error>("{")]);
        Body::from_stream(stream::StreamExt::chain(first, stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_that_has_been_on_its_way_longest_is_given_up_for_one_more() {
        let (bodies, headers) = (Bodies::default(), headers());
        let arrive = |_| bodies.arrive(&headers, announced());
        let mut waiting: Vec<_> = (0..=WAITING_BODIES).map(|n| Box::pin(arrive(n))).collect();
        for body in &mut waiting[..WAITING_BODIES] {
            assert!(body.as_mut().now_or_never().is_none());
        }
        // One that comes with its head needs no place.
        let here = bodies.arrive(&headers, Body::from("{}"));
        assert_eq!(here.now_or_never().unwrap().unwrap(), b"{}");
        assert!(waiting[0].as_mut().now_or_never().is_none());
        let last = waiting.pop().unwrap();
        let (first, last) = tokio::join!(waiting.remove(0), last);
        assert_eq!(code(first), Some(Code::Overloaded));
        assert_eq!(code(last), Some(Code::InvalidRequest), "it has its time");
        for body in join_all(waiting).await {
            assert_eq!(code(body), Some(Code::InvalidRequest));
        }
        assert!(bodies.waiting().places.is_empty(), "all have left");
    }

    /// A piece of a buffer that tells when nobody needs it any more.
    struct Buffer(
        Vec<u8>,
        #[expect(dead_code, reason = "dropped with it")] Arc<()>,
    );

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[tokio::test]
    async fn a_body_on_its_way_keeps_no_buffer_that_it_was_read_into() {
        let alive = Arc::new(());
        let buffer = Buffer(vec![b'{'; 8192], Arc::clone(&alive));
        let piece = axum::body::Bytes::from_owner(buffer).slice(..1);
        let first = stream::iter([Ok::<_, std::io::Error>(piece)]);
        let body = Body::from_stream(stream::StreamExt::chain(first, stream::pending()));
        let (bodies, headers) = (Bodies::default(), headers());
        let mut arriving = Box::pin(bodies.arrive(&headers, body));
        assert!(arriving.as_mut().now_or_never().is_none());
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
