//! The way to a token endpoint: our HTTP client beneath `azure_identity`.
//!
//! `azure_identity` insists on an https authority, drops a path prefix, reads error bodies so that one escaped
//! character loses the AADSTS code, and accepts empty tokens. So this transport (1) sends every request of an Entra
//! credential to the token endpoint that we computed, (2) reads every answer itself, up to a limit: a good one is
//! handed on in canonical form, anything else becomes a [`Failure`] that travels inside the library's error, of a
//! kind that its retry policies leave alone. Redirects are not followed (see [`crate::outbound`]).

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;
use url::{Host, Url};

use super::codes::Class;
use super::failure::Failure;
use crate::config;
use crate::outbound::{BodyError, Outbound, read_capped};

/// Answers are a few KiB; a token with many claims may reach twenty.
const BODY_LIMIT: usize = 256 * 1024;

/// The longest life that a token may claim: managed identities give 24 h, long-lived ones 28 h.
const LONGEST_LIFE: time::Duration = time::Duration::hours(48);

/// Sends token requests.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    outbound: Outbound,
    destination: Destination,
}

/// Where token requests go.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// To this token endpoint, whatever URL the library made.
    Entra(Url),
    /// To the metadata service of the machine that the library found, never by a proxy.
    Machine,
}

/// A good answer.
pub(super) struct Reply {
    pub(super) token: SecretString,
    pub(super) expires_at: OffsetDateTime,
}

#[derive(Deserialize)]
struct Wire {
    access_token: String,
    token_type: String,
    expires_in: Option<Seconds>,
    expires_on: Option<Seconds>,
}

/// Entra's v2 endpoint sends numbers, its v1 endpoint and the metadata services send strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl Transport {
    pub(super) fn new(outbound: &Outbound, destination: Destination) -> Self {
        Self {
            outbound: outbound.clone(),
            destination,
        }
    }

    /// Posts a form to Entra's token endpoint.
    pub(super) async fn post(&self, form: &[(&str, &str)]) -> Result<Reply, Failure> {
        let Destination::Entra(url) = &self.destination else {
            return Err(Failure::unusable("forms go to Entra only"));
        };
        let client = self.outbound.client(url);
        self.exchange(client.post(url.clone()).form(form)).await
    }

    /// Sends what the library prepared.
    async fn forward(&self, request: &Request) -> Result<Reply, Failure> {
        let (url, client) = match &self.destination {
            Destination::Entra(url) => (url, self.outbound.client(url)),
            Destination::Machine => {
                require_machine(request.url())?;
                (request.url(), self.outbound.direct())
            }
        };
        let mut ours = match request.method() {
            Method::Get => client.get(url.clone()),
            Method::Post => client.post(url.clone()),
            // Not an enum of ours, and open.
            _ => {
                return Err(Failure::unusable("a token is asked for by GET or POST"));
            }
        };
        for (name, value) in request.headers().iter() {
            ours = ours.header(name.as_str(), value.as_str());
        }
        if let Body::Bytes(body) = request.body() {
            ours = ours.body(body.clone());
        }
        self.exchange(ours).await
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Reply, Failure> {
        let response = request.send().await.map_err(Failure::unanswered)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_capped(response, BODY_LIMIT)
            .await
            .map_err(|error| match error {
                BodyError::Broken(error) => Failure::unanswered(error),
                BodyError::TooLong(_) => Failure::unusable("the answer is too long"),
            })?;
        if status.is_success() {
            return self.read(&body, OffsetDateTime::now_utc());
        }
        let failure = Failure::refused(status.as_u16(), &headers, &body);
        Err(match &self.destination {
            // App Service refuses without an OAuth error; IMDS also means this by any 400.
            Destination::Machine if status.as_u16() == 400 => Failure::new(
                Class::Permanent,
                &failure.code,
                "this managed identity is not assigned to the machine: assign it, or correct its `client_id`",
            ),
            Destination::Machine | Destination::Entra(_) => failure,
        })
    }

    fn read(&self, body: &[u8], now: OffsetDateTime) -> Result<Reply, Failure> {
        // serde's own message might quote the body.
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|_| Failure::unusable("the answer is not the JSON of a token"))?;
        if !wire.token_type.eq_ignore_ascii_case("bearer") {
            return Err(Failure::unusable("the token is not a Bearer token"));
        }
        let printable = wire.access_token.bytes().all(|b| b.is_ascii_graphic());
        if wire.access_token.is_empty() || !printable {
            return Err(Failure::unusable("the token is empty or malformed"));
        }
        // A metadata service's `expires_in` counts from when it fetched the token, not from now.
        let expires_at = match &self.destination {
            Destination::Entra(_) => wire.expires_in.and_then(Seconds::number).and_then(|life| {
                now.checked_add(time::Duration::seconds(life.min(i64::from(i32::MAX))))
            }),
            Destination::Machine => wire
                .expires_on
                .and_then(Seconds::number)
                .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()),
        };
        let expires_at = expires_at
            .filter(|at| (time::Duration::SECOND..=LONGEST_LIFE).contains(&(*at - now)))
            .ok_or_else(|| {
                Failure::unusable(
                    "the token's life is missing or absurd: check this machine's clock",
                )
            })?;
        Ok(Reply {
            token: wire.access_token.into(),
            expires_at,
        })
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let reply = self.forward(request).await.map_err(|failure| {
            azure_core::Error::with_error(ErrorKind::Other, failure, "no token")
        })?;
        let body = reply.canonical(OffsetDateTime::now_utc());
        Ok(AsyncRawResponse::from_bytes(
            StatusCode::Ok,
            Headers::default(),
            body,
        ))
    }
}

impl Reply {
    /// The form that all of the library's credentials read.
    fn canonical(&self, now: OffsetDateTime) -> Bytes {
        let life = (self.expires_at - now).whole_seconds();
        let body = serde_json::json!({
            "token_type": "Bearer",
            "access_token": self.token.expose_secret(),
            "expires_in": life,
            "expires_on": self.expires_at.unix_timestamp().to_string(),
            "resource": "",
        });
        body.to_string().into()
    }
}

impl Seconds {
    fn number(self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// The failure that travelled inside the library's error; what fails before any request is our input.
pub(super) fn unwrap(error: &azure_core::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(failure) = current.downcast_ref::<Failure>() {
            return failure.clone();
        }
        cause = current.source();
    }
    Failure::new(
        Class::Permanent,
        "invalid_configuration",
        "check `tenant_id`, `client_id` and the credential: no request could be made of them",
    )
}

/// Plain http is right for a metadata service on this machine or link, and nowhere else.
fn require_machine(url: &Url) -> Result<(), Failure> {
    let link_local = matches!(url.host(), Some(Host::Ipv4(address)) if address.is_link_local());
    if config::secure_or_loopback(url) || (url.scheme() == "http" && link_local) {
        return Ok(());
    }
    Err(Failure::new(
        Class::Permanent,
        "identity_endpoint",
        "IDENTITY_ENDPOINT must be https, or on this machine",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_metadata_services_of_this_machine() {
        for (url, allowed) in [
            (
                "http://169.254.169.254/metadata/identity/oauth2/token",
                true,
            ),
            ("http://169.254.129.7:8081/msi/token", true),
            ("http://127.0.0.1:41741/msi/token", true),
            ("http://localhost:42356/msi/token", true),
            ("https://identity.example.com/msi/token", true),
            ("http://identity.example.com/msi/token", false),
            ("http://10.0.0.1/msi/token", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(
                require_machine(&Url::parse(url).unwrap()).is_ok(),
                allowed,
                "{url}"
            );
        }
    }
}
