//! Who may use the control path: clients of this machine, and the sandbox's own pages.
//!
//! The control path has no sign-in, so a page from elsewhere that somebody opens beside a running sandbox must not reach
//! it. Such a page has two ways. It can send requests across origins: they carry its `Origin`. Or it can let its own host
//! name point to 127.0.0.1 (DNS rebinding), so that the browser takes the sandbox for the page's own server: then `Host` is
//! that name. So `Origin` must be the sandbox itself, and `Host` an address, which cannot be rebound, or a name that is the
//! sandbox's.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use url::Url;

use super::state::Shared;
use super::tls;

/// The middleware.
pub(super) async fn own_clients(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(authority) = authority(&request).filter(|host| is_own(host, &shared)) else {
        return refused(
            StatusCode::MISDIRECTED_REQUEST,
            "the sandbox is controlled through localhost, an IP address or the host of --public-url, and not through \
             another host name (DNS rebinding)",
        );
    };
    if comes_from_elsewhere(&request, &authority) {
        return refused(
            StatusCode::FORBIDDEN,
            "the sandbox is not controlled by pages of another origin",
        );
    }
    next.run(request).await
}

/// The host that the request is meant for: of its target in HTTP/2, else of `Host`, of which there must be one.
fn authority(request: &Request) -> Option<Authority> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let authority = match (request.uri().authority(), named.next(), named.next()) {
        (Some(authority), None, _) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        (Some(authority), Some(host), None) if authority.as_str().as_bytes() == host.as_bytes() => {
            authority.clone()
        }
        (_, _, _) => return None,
    };
    // `user@localhost` is no host.
    (!authority.as_str().contains('@')).then_some(authority)
}

fn is_own(authority: &Authority, shared: &Shared) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let public = Url::parse(&shared.url).ok();
    let public = public.as_ref().and_then(Url::host_str);
    tls::NAMES
        .into_iter()
        .chain(public)
        .any(|own| own.eq_ignore_ascii_case(name))
}

fn comes_from_elsewhere(request: &Request, authority: &Authority) -> bool {
    let own = |origin: &str| {
        origin
            .split_once("://")
            .is_some_and(|(_, host)| host.eq_ignore_ascii_case(authority.as_str()))
    };
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    !origins.all(|origin| origin.to_str().is_ok_and(own))
}

fn refused(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({ "error": problem }))).into_response()
}
