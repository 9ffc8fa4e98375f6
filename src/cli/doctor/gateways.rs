//! Analysis Services on-premises: may whoever mints name somebody else to the server?
//!
//! Administrators of the gateway may; others need `ReadOverrideEffectiveIdentity` on the data source, which only
//! administrators can see ("Gateways - Get Datasource Users"). For the others the one proof is a token: it is minted for a
//! minute, and dropped.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::causes;
use super::report::{Finding, Subject};
use super::workspaces::View;
use crate::app::Services;
use crate::plan::{Dataset, EmbedPlan};
use crate::policy::Grant;
use crate::powerbi::{Error, GatewaySource};

/// Time for a proof.
const TIME: Duration = Duration::from_secs(20);

/// Answers for one dataset behind a gateway. `plan` names somebody to it, for a minute.
pub(super) async fn examine(
    services: &Services,
    grant: &Grant,
    profile_id: Option<&str>,
    dataset: &Dataset,
    plan: Option<&EmbedPlan>,
) -> Vec<Finding> {
    let view = View::of(grant, grant.workspace());
    let sources = services
        .powerbi
        .gateway_sources(
            grant.principal(),
            grant.profile(),
            &dataset.workspace_id,
            &dataset.id,
        )
        .await;
    let sources = match sources {
        Ok(sources) => sources,
        Err(error) => {
            let place = format!("dataset {}, {}", dataset.id, view.seen_by());
            let (cause, remedy) = causes::of_call(&error);
            return vec![Finding::failed(Subject::Gateway, place, cause, remedy)];
        }
    };
    let mut findings = Vec::new();
    for source in sources {
        let place = format!(
            "{}, dataset {}, {}",
            source.gateway,
            dataset.id,
            view.seen_by()
        );
        let answer = right(services, grant, profile_id, &source, plan).await;
        findings.push(match answer {
            Ok(Right::Held(how)) => Finding::ok(Subject::Gateway, place, how),
            Ok(Right::Missing(cause)) => {
                Finding::failed(Subject::Gateway, place, cause, remedy(grant, &source, profile_id))
            }
            Ok(Right::Unseen) => Finding::warning(
                Subject::Gateway,
                place,
                "only administrators of the gateway can see who may name others to the server, and no rule gives an identity to prove it with",
                remedy(grant, &source, profile_id),
            ),
            Err(error) => {
                let (cause, remedy) = causes::of_call(&error);
                Finding::failed(Subject::Gateway, place, cause, remedy)
            }
        });
    }
    findings
}

enum Right {
    Held(&'static str),
    Missing(String),
    Unseen,
}

async fn right(
    services: &Services,
    grant: &Grant,
    profile_id: Option<&str>,
    source: &GatewaySource,
    plan: Option<&EmbedPlan>,
) -> Result<Right, Error> {
    let (powerbi, principal) = (&services.powerbi, grant.principal());
    if powerbi
        .administers_gateway(principal, &source.gateway)
        .await?
    {
        let Some(profile) = profile_id else {
            return Ok(Right::Held("the principal administers it"));
        };
        if let Some(id) = &source.source {
            let users = powerbi
                .gateway_users(principal, &source.gateway, id)
                .await?;
            let held = users.iter().any(|user| {
                user.right.as_deref() == Some("ReadOverrideEffectiveIdentity")
                    && user
                        .profile_id
                        .as_deref()
                        .is_some_and(|own| own.eq_ignore_ascii_case(profile))
            });
            return Ok(if held {
                Right::Held("the profile holds ReadOverrideEffectiveIdentity")
            } else {
                Right::Missing(
                    "the profile does not hold ReadOverrideEffectiveIdentity, and a profile cannot administer a gateway".into(),
                )
            });
        }
    }
    let Some(plan) = plan else {
        return Ok(Right::Unseen);
    };
    match powerbi
        .token(plan, OffsetDateTime::now_utc(), Instant::now() + TIME)
        .await
    {
        Ok(_) => Ok(Right::Held(
            "whoever mints may name others to the server: a token for one minute was minted, and dropped",
        )),
        Err(error @ Error::Rejected { .. }) => {
            let (cause, _) = causes::of_call(&error);
            Ok(Right::Missing(format!(
                "a token that names somebody to the server is refused: {cause}"
            )))
        }
        Err(error) => Err(error),
    }
}

fn remedy(grant: &Grant, source: &GatewaySource, profile_id: Option<&str>) -> String {
    let profile = match (grant.profile(), profile_id) {
        (Some(_), Some(id)) => format!(",\"profile\":{{\"id\":\"{id}\"}}"),
        (None | Some(_), _) => String::new(),
    };
    let id = source.source.as_deref().unwrap_or("{datasourceId}");
    let or = if profile.is_empty() {
        ", or make the principal an administrator of the gateway"
    } else {
        ""
    };
    format!(
        "as an administrator of the gateway POST gateways/{}/datasources/{id}/users {{\"identifier\":\"<object id of the principal>\",\"datasourceAccessRight\":\"ReadOverrideEffectiveIdentity\",\"principalType\":\"App\"{profile}}}{or} (virtual network gateways do not support it)",
        source.gateway
    )
}
