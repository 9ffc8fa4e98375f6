//! `POST /embed-token`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::de::value::StringDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::body::Arrived;
use super::{Serving, extract, problem::Problem};
use crate::broker::{Access, Ask, Code, EmbedRequest, Issued, Recording};

/// Most items in one request, counted as sent.
const MAX_ITEMS: usize = 50;

/// Room for what an answer says of an item beside the token; more is found when it is needed.
const ITEM_BYTES: usize = 512;

/// The body of a request. Members are present or absent; `null` is a wrong type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default, deserialize_with = "present")]
    item: Option<String>,
    #[serde(default, deserialize_with = "present")]
    items: Option<Vec<String>>,
    #[serde(default, deserialize_with = "word")]
    access: Option<Access>,
    #[serde(default)]
    save_as: bool,
    #[serde(default, deserialize_with = "present")]
    target: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    token: &'a RawValue,
    token_id: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    expiration: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    refresh_after: OffsetDateTime,
    items: Vec<AnswerItem<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerItem<'a> {
    item: &'a str,
    renewal: &'static str,
    embed_config: EmbedConfig<'a>,
}

/// The planned configuration with the token in it.
#[derive(Serialize)]
struct EmbedConfig<'a> {
    #[serde(flatten)]
    planned: &'a Map<String, Value>,
    #[serde(rename = "accessToken")]
    access_token: &'a RawValue,
}

/// Answers with a token and, for each item, what the page needs.
pub(super) async fn embed_token(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(recording): Extension<Recording>,
    Extension(body): Extension<Arrived>,
    request: Request,
) -> Result<Response, Problem> {
    let Serving { edge, broker } = &*serving;
    let (parts, _) = request.into_parts();
    let token = extract::credential(edge, &parts)?;
    let blobs = extract::blobs(edge, &parts.headers)?;
    let ask = body.json::<Body>()?.try_into()?;
    let issued = broker
        .embed_token(EmbedRequest { token, ask, blobs }, &recording)
        .await?;
    let body = Answer::from(&issued)
        .into_json()
        .map_err(|error| Problem::new(Code::Internal, format!("no answer: {error}")))?;
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

impl TryFrom<Body> for Ask {
    type Error = Problem;

    fn try_from(body: Body) -> Result<Self, Problem> {
        let fault = |detail: &str| Err(Problem::request(Code::InvalidRequest, detail));
        let single = body.item.is_some();
        let items = match (body.item, body.items) {
            (Some(item), None) => vec![item],
            (None, Some(items)) if (1..=MAX_ITEMS).contains(&items.len()) => items,
            (None, Some(_)) => return fault("`items` must name 1 to 50 items."),
            (Some(_), Some(_)) | (None, None) => {
                return fault("Give exactly one of `item` and `items`.");
            }
        };
        if body.target.is_some() && !single {
            return fault("`target` goes with `item` only.");
        }
        Ok(Self {
            items,
            access: body.access,
            save_as: body.save_as,
            target: body.target,
        })
    }
}

impl<'a> From<&'a Issued> for Answer<'a> {
    fn from(issued: &'a Issued) -> Self {
        let token = issued.token.json();
        let items = issued.items().iter().map(|planned| AnswerItem {
            item: &planned.item,
            renewal: if planned.re_embed {
                "re_embed"
            } else {
                "set_access_token"
            },
            embed_config: EmbedConfig {
                planned: &planned.embed_config,
                access_token: token,
            },
        });
        Self {
            token,
            token_id: issued.token.token_id(),
            expiration: issued.token.expiration(),
            refresh_after: issued.refresh_after,
            items: items.collect(),
        }
    }
}

impl Answer<'_> {
    /// In one piece of memory: most of an answer is its token, once more for each item.
    fn into_json(self) -> serde_json::Result<Vec<u8>> {
        let items = self.items.len();
        let room = (1 + items) * (self.token.get().len() + ITEM_BYTES);
        let mut json = Vec::with_capacity(room);
        serde_json::to_writer(&mut json, &self)?;
        Ok(json)
    }
}

/// A word is a string: serde would also take `{"view": null}` for one.
fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let word = String::deserialize(deserializer)?;
    T::deserialize(StringDeserializer::new(word)).map(Some)
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The door for `fuzz/`: reads a body as a request does.
#[cfg(fuzzing)]
pub async fn fuzz_request_body(body: axum::body::Bytes) -> Result<Ask, Problem> {
    let json = axum::http::HeaderValue::from_static("application/json");
    let mut request = Request::new(body.into());
    request.headers_mut().insert(CONTENT_TYPE, json);
    let mut request = super::body::Bodies::default().read(request).await;
    let body = request.extensions_mut().remove::<Arrived>();
    body.expect("a body, or why there is none")
        .json::<Body>()?
        .try_into()
}
