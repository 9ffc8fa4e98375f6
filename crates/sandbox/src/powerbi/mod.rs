//! The simulated Power BI REST API: sign-in, the table of calls, and strictness about everything else.
//!
//! As strict as Microsoft's API description: a call, a query parameter or a body member that it does not have is refused
//! and recorded as a complaint, so that a test can assert that there was none. Written from the documents alone; it
//! shares no type with the broker's client.

mod entities;
mod mint;
mod paging;
mod read;
mod refusal;
mod rules;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::embed::EmbedToken;
use super::seed::{Right, WorkspaceKind};
use super::state::{Shared, locked};
use super::world::{Caller, CallerKind, World};
pub(super) use refusal::{Complaint, Refusal};

/// Below this stands every call.
pub(super) const ROOT: &str = "/v1.0/myorg/";

/// The header that chooses a service principal profile.
pub(super) const PROFILE: &str = "x-powerbi-profile-id";

/// Marks an answer with the id of the token in it.
#[derive(Clone)]
pub(super) struct Minted(pub(super) uuid::Uuid);

/// One authenticated call.
struct Call {
    method: Method,
    /// Decoded segments below [`ROOT`].
    path: Vec<String>,
    query: Vec<(String, String)>,
    content_type: String,
    body: Bytes,
    caller: Caller,
    /// When the caller's Entra token expires.
    expires: OffsetDateTime,
}

/// Answers a call.
pub(super) async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = sign_in(&shared, &headers).and_then(|(caller, expires)| {
        let call = Call {
            method,
            path: segments(uri.path()),
            query: query(&uri),
            content_type: header_text(&headers, header::CONTENT_TYPE.as_str()),
            body,
            caller,
            expires,
        };
        dispatch(&shared, &call)
    });
    match answer {
        Ok(body) => {
            let token_id = body["tokenId"].as_str().and_then(|id| id.parse().ok());
            let mut response = Json(body).into_response();
            if let Some(id) = token_id {
                response.extensions_mut().insert(Minted(id));
            }
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Every call there is. What is missing here fails loudly.
fn dispatch(shared: &Shared, call: &Call) -> Result<Value, Refusal> {
    let world = &*locked(&shared.world);
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match call.method.as_str() {
        "POST" => minted(shared, post(world, call, &path)?),
        "GET" => get(world, call, &path),
        _ => Err(call.unknown()),
    }
}

fn post(world: &World, call: &Call, path: &[&str]) -> Result<EmbedToken, Refusal> {
    match path {
        ["GenerateToken"] => mint::v2(world, call),
        ["groups", group, rest @ .., "GenerateToken"] => match rest {
            ["reports"] => mint::v1_create(world, call, group),
            ["reports", id] => mint::v1_report(world, call, group, id),
            ["datasets", id] => mint::v1_dataset(world, call, group, id),
            ["dashboards", id] => mint::v1_dashboard(world, call, group, id, None),
            ["dashboards", id, "tiles", tile] => {
                mint::v1_dashboard(world, call, group, id, Some(tile))
            }
            _ => Err(call.unknown()),
        },
        _ => Err(call.unknown()),
    }
}

fn get(world: &World, call: &Call, path: &[&str]) -> Result<Value, Refusal> {
    match path {
        ["profiles"] => read::profiles(world, call),
        ["profiles", id] => read::profile(world, call, id),
        ["capacities"] => read::capacities(world, call),
        ["gateways", gateway] => read::gateway(world, call, gateway),
        ["gateways", gateway, "datasources", source, "users"] => {
            read::gateway_users(world, call, gateway, source)
        }
        ["availableFeatures(featureName='embedTrial')"] => read::embed_trial(world, call),
        ["groups"] => read::groups(world, call),
        ["groups", group, rest @ ..] => match rest {
            [] => read::group(world, call, group),
            ["users"] => read::users(world, call, group),
            ["reports"] => read::reports(world, call, group),
            ["reports", id] => read::report(world, call, group, id),
            ["reports", id, "pages"] => read::pages(world, call, group, id),
            ["reports", id, "datasources"] => read::report_datasources(world, call, group, id),
            ["datasets"] => read::datasets(world, call, group),
            ["datasets", id] => read::dataset(world, call, group, id),
            ["datasets", id, "datasources"] => read::dataset_datasources(world, call, group, id),
            ["dashboards"] => read::dashboards(world, call, group),
            ["dashboards", id] => read::dashboard(world, call, group, id),
            ["dashboards", id, "tiles"] => read::tiles(world, call, group, id),
            ["dashboards", id, "tiles", tile] => read::tile(world, call, group, id, tile),
            _ => Err(call.unknown()),
        },
        _ => Err(call.unknown()),
    }
}

/// Remembers an embed token and shows it once.
fn minted(shared: &Shared, token: EmbedToken) -> Result<Value, Refusal> {
    let expiration = super::rfc3339(token.expires);
    let token_id = token.token_id;
    let text = token
        .encode()
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    locked(&shared.embed_tokens).insert(text.clone(), token);
    Ok(with_context(
        "Microsoft.PowerBI.ServiceContracts.Api.V1.GenerateTokenResponse",
        json!({"token": text, "tokenId": token_id, "expiration": expiration}),
    ))
}

/// Who calls, by bearer and profile header.
fn sign_in(shared: &Shared, headers: &HeaderMap) -> Result<(Caller, OffsetDateTime), Refusal> {
    let authorization = header_text(headers, header::AUTHORIZATION.as_str());
    let bearer = authorization
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(Refusal::invalid_token)?;
    let token = locked(&shared.access_tokens)
        .get(bearer)
        .cloned()
        .ok_or_else(Refusal::invalid_token)?;
    if token.expires <= OffsetDateTime::now_utc() {
        return Err(Refusal::token_expired());
    }
    let mut caller = token.caller;
    let world = locked(&shared.world);
    if !caller.is_master_user() && !world.tenant.service_principals {
        return Err(Refusal::tenant_switch());
    }
    if headers.contains_key(PROFILE) {
        let id = header_text(headers, PROFILE);
        if !world.tenant.profiles {
            // How the service refuses here is documented nowhere; chosen.
            return Err(Refusal::tenant_switch());
        }
        let own = world
            .profiles
            .iter()
            .find(|profile| profile.id.eq_ignore_ascii_case(&id) && profile.owner == caller.who)
            .ok_or_else(Refusal::unknown_profile)?;
        caller.profile = Some(own.id.clone());
    }
    Ok((caller, token.expires))
}

impl Call {
    fn unknown(&self) -> Refusal {
        let (method, path) = (&self.method, self.path.join("/"));
        Refusal::unknown(
            StatusCode::NOT_IMPLEMENTED,
            format!("the sandbox knows no call {method} {ROOT}{path}"),
        )
    }

    /// The query, of which only `known` parameters exist.
    fn parameters(&self, known: &[&str]) -> Result<&[(String, String)], Refusal> {
        match self
            .query
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            None => Ok(&self.query),
            Some((name, _)) => Err(Refusal::unknown(
                StatusCode::BAD_REQUEST,
                format!("the call has no query parameter {name}"),
            )),
        }
    }

    fn no_parameters(&self) -> Result<(), Refusal> {
        self.parameters(&[]).map(drop)
    }

    /// The body, of which only documented members exist.
    fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        self.no_parameters()?;
        let media_type = self
            .content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            let given = if media_type.is_empty() {
                "application/octet-stream"
            } else {
                media_type
            };
            return Err(Refusal::media_type(given));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Refusal::unknown(
                StatusCode::BAD_REQUEST,
                format!("the body is not as documented: {error}"),
            )
        })
    }

    /// The caller's right in a workspace that it must see.
    fn right(&self, world: &World, group: &str) -> Result<Right, Refusal> {
        if uuid::Uuid::parse_str(group).is_err() {
            return Err(Refusal::unknown(
                StatusCode::BAD_REQUEST,
                format!("the group id {group} is no GUID"),
            ));
        }
        world
            .right(&self.caller, group)
            .ok_or_else(Refusal::group_not_accessible)
    }

    /// A workspace in which the caller may mint: as member or admin, and no My workspace.
    fn minting_workspace(&self, world: &World, group: &str) -> Result<WorkspaceKind, Refusal> {
        if self.right(world, group)? < Right::Member {
            return Err(Refusal::no_member());
        }
        let kind = world.workspace(group).map(|workspace| workspace.kind);
        match (kind, self.caller.kind) {
            (Some(WorkspaceKind::Workspace), _) => Ok(WorkspaceKind::Workspace),
            (Some(WorkspaceKind::Group), CallerKind::MasterUser) => Ok(WorkspaceKind::Group),
            (Some(WorkspaceKind::Group), CallerKind::App) => Err(Refusal::not_for_applications()),
            (Some(WorkspaceKind::PersonalGroup), _) => Err(Refusal::invalid(
                "Embedding content of My workspace is not supported",
            )),
            (None, _) => Err(Refusal::group_not_accessible()),
        }
    }
}

/// Adds the `OData` context that real answers carry.
fn with_context(what: &str, mut body: Value) -> Value {
    body["@odata.context"] = json!(format!(
        "http://wabi-sandbox-redirect.analysis.windows.net/v1.0/myorg/$metadata#{what}"
    ));
    body
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// The decoded segments of a path below [`ROOT`].
fn segments(path: &str) -> Vec<String> {
    let decode = |segment: &str| {
        // `+` is a plus sign in a path.
        let escaped = format!("s={}", segment.replace('+', "%2B"));
        url::form_urlencoded::parse(escaped.as_bytes())
            .next()
            .map_or_else(String::new, |(_, value)| value.into_owned())
    };
    path.strip_prefix(ROOT)
        .unwrap_or_default()
        .split('/')
        .map(decode)
        .collect()
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}
