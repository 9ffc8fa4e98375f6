//! What comes out of a request's head before the broker sees it: credential, blobs, request id, client address.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use cookie::Cookie;
use ipnet::IpNet;
use rand::Rng as _;
use secrecy::SecretString;

use super::edge::Edge;
use super::problem::Problem;
use crate::broker::{BearerToken, Code};

/// The id of a request, from the gateway or made here.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Address of the connection's other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl RequestId {
    /// Header that carries it.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// The gateway's id when it is sane, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let sane = |id: &&str| {
            (1..=128).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let given = headers
            .get(Self::HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(sane);
        Self(given.map_or_else(new_id, str::to_owned))
    }
}

/// A UUID of version 7, so that ids sort by time. Of this process's generator: asking the system for each is a call.
fn new_id() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since_epoch.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    });
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::rng().random())
        .into_uuid()
        .to_string()
}

/// The caller's token; `None` when the request has none.
///
/// # Errors
/// More than one credential (400), or a cookie from a page that may not use it (403).
pub(super) fn credential(edge: &Edge, parts: &Parts) -> Result<Option<BearerToken>, Problem> {
    let headers = &parts.headers;
    let mut found = Vec::new();
    for value in headers.get_all(AUTHORIZATION) {
        found.push(Credential::Authorization(text(value.as_bytes())));
    }
    if let Some(name) = &edge.token_header {
        found.extend(
            headers
                .get_all(name)
                .iter()
                .map(|value| Credential::Header(text(value.as_bytes()))),
        );
    }
    if let Some(name) = &edge.cookie {
        found.extend(cookies(headers, name).map(Credential::Cookie));
    }
    if found.len() > 1 {
        return Err(Problem::new(
            Code::AmbiguousCredentials,
            "the request carries more than one credential",
        ));
    }
    match found.pop() {
        None => Ok(None),
        // Another scheme (Basic, Negotiate …) is no credential of ours.
        Some(Credential::Authorization(value)) => Ok(bearer(&value).map(BearerToken::new)),
        Some(Credential::Header(value)) => Ok(Some(BearerToken::new(
            bearer(&value).unwrap_or_else(|| value.trim().to_owned()),
        ))),
        Some(Credential::Cookie(value)) => {
            if !may_use_cookie(edge, parts) {
                return Err(Problem::new(
                    Code::OriginNotAllowed,
                    "the Origin may not use the sign-in cookie",
                ));
            }
            Ok(Some(BearerToken::new(value)))
        }
    }
}

enum Credential {
    Authorization(String),
    Header(String),
    Cookie(String),
}

fn text(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The token behind the Bearer scheme, which is read in any case (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<String> {
    let value = value.trim();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> + 'a {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| Cookie::split_parse(text(line.as_bytes())))
        .filter_map(Result::ok)
        .filter(move |cookie| cookie.name() == name)
        .map(|cookie| cookie.value_trimmed().to_owned())
}

/// A browser attaches cookies to requests of any page, so the page must be one of ours.
fn may_use_cookie(edge: &Edge, parts: &Parts) -> bool {
    let listed = parts
        .headers
        .get(ORIGIN)
        .is_some_and(|origin| edge.allows(origin.as_bytes()));
    let safe = matches!(parts.method, Method::GET | Method::HEAD);
    let same_origin = || {
        parts
            .headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin")
    };
    listed || safe && same_origin()
}

/// Identity blobs, by header name in lower case.
///
/// # Errors
/// One that stands twice or is no text (400).
pub(super) fn blobs(
    edge: &Edge,
    headers: &HeaderMap,
) -> Result<BTreeMap<String, SecretString>, Problem> {
    let mut blobs = BTreeMap::new();
    for name in &edge.blob_headers {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { continue };
        let Some(value) = value.to_str().ok().filter(|_| values.next().is_none()) else {
            let detail =
                format!("The header {name} must stand once and hold visible ASCII characters.");
            return Err(Problem::request(Code::InvalidRequest, detail));
        };
        blobs.insert(name.as_str().to_owned(), SecretString::from(value));
    }
    Ok(blobs)
}

/// The caller's address: the connection's, or, behind trusted proxies, the last one they vouch for.
#[must_use]
pub(super) fn client(peer: Option<Peer>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = peer?.0.ip().to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let forwarded: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        // An entry that is no address ends what can be believed: everything before it is dropped below.
        .map(|entry| address(entry.trim()))
        .rev()
        .map_while(|address| address)
        .collect();
    for hop in forwarded {
        if !is_trusted(&client) {
            break;
        }
        client = hop;
    }
    Some(client)
}

/// An entry of `X-Forwarded-For`; some proxies (Azure Application Gateway) write the port beside the address.
fn address(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse::<SocketAddr>().map(|address| address.ip());
    let address = entry.parse::<IpAddr>().or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}
