//! Tests against a fake Power BI on loopback that sees every byte and answers as a test says.

mod believed;
mod caching;
mod contents;
mod fake;
mod look_up;
mod mint;
mod retries;
mod sharing;
mod targets;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use self::fake::{Fake, Reply, Seen};
use super::bearers::Bearers;
use super::{Error, Freshness, PowerBi};
use crate::config;
use crate::outbound::Outbound;
use crate::plan::test_plan::PlanParts;
use crate::plan::{Artifact, CacheUntil, EmbedPlan, Minter, MinterKind};
use crate::policy::test_grant::GrantParts;
use crate::policy::{Content, DatasetSetting, Grant, Security, Xmla};

pub(super) const W: &str = "00000000-0000-4000-8000-000000000001";
pub(super) const W2: &str = "00000000-0000-4000-8000-000000000002";
pub(super) const R: &str = "00000000-0000-4000-8000-0000000000a1";
pub(super) const R2: &str = "00000000-0000-4000-8000-0000000000a2";
pub(super) const D: &str = "00000000-0000-4000-8000-0000000000d1";
pub(super) const D2: &str = "00000000-0000-4000-8000-0000000000d2";
pub(super) const B: &str = "00000000-0000-4000-8000-0000000000b1";
pub(super) const T: &str = "00000000-0000-4000-8000-0000000000f1";
pub(super) const P: &str = "00000000-0000-4000-8000-0000000000c1";

/// One for all tests: reading the system's trust store takes longer than all the rest.
static OUTBOUND: OnceLock<Outbound> = OnceLock::new();

/// What a test may set before the broker's side is made.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) cache: config::Cache,
    pub(super) tokens: config::Tokens,
    pub(super) master_user: bool,
}

impl Setup {
    pub(super) fn power_bi(self, fake: &Fake) -> PowerBi {
        self.power_bi_at(&fake.url())
    }

    pub(super) fn power_bi_at(self, url: &str) -> PowerBi {
        let mut principal = config::Principal {
            api_url: Some(url.parse().unwrap()),
            ..config::Principal::default()
        };
        if self.master_user {
            principal.credentials =
                vec![config::Credential::MasterUser(config::MasterUser::default())];
        }
        let principals = BTreeMap::from([
            ("default".to_owned(), principal.clone()),
            ("other".to_owned(), principal),
        ]);
        let bearers = Bearers::Numbered(Arc::new(AtomicU32::new(1)));
        let outbound = OUTBOUND.get_or_init(|| Outbound::new(&config::Tls::default()).unwrap());
        PowerBi::with_bearers(&principals, &self.cache, &self.tokens, &bearers, outbound)
    }
}

pub(super) fn soon() -> Instant {
    within(Duration::from_secs(5))
}

pub(super) fn within(time: Duration) -> Instant {
    Instant::now() + time
}

pub(super) fn report(reference: &str) -> Content {
    Content::Report {
        report: reference.into(),
    }
}

pub(super) fn grant(content: Content) -> GrantParts {
    GrantParts {
        workspace: W.into(),
        ..GrantParts::of(content)
    }
}

/// The facts about one grant.
pub(super) async fn facts(power_bi: &PowerBi, parts: GrantParts) -> Result<Artifact, Error> {
    let grant = Grant::for_test(parts);
    let (mut all, _) = power_bi
        .look_up(&[grant], None, Freshness::Cached, soon())
        .await?;
    Ok(all.remove(0))
}

pub(super) fn setting(dataset: &str) -> DatasetSetting {
    DatasetSetting {
        dataset: dataset.into(),
        workspace: None,
        security: Security::Auto,
        xmla: Xmla::Off,
    }
}

pub(super) fn unavailable(result: Result<Artifact, Error>) -> String {
    match result {
        Err(Error::ItemUnavailable { what, cause }) => format!("{what}: {cause}"),
        other => panic!("{other:?}"),
    }
}

pub(super) fn invalid(result: Result<Artifact, Error>) -> String {
    match result {
        Err(Error::InvalidResponse(problem)) => problem.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Reports of the workspace `W`, as (id, name).
pub(super) fn reports(all: &[(&str, &str)]) -> Reply {
    let one = |(id, name): &(&str, &str)| json!({"id": id, "name": name, "datasetId": D});
    Reply::json(
        200,
        &json!({"value": all.iter().map(one).collect::<Vec<_>>()}),
    )
}

pub(super) fn plan_parts() -> PlanParts {
    PlanParts {
        minter: Minter {
            name: "default".into(),
            tenant_id: "tenant".into(),
            client_id: "client".into(),
            api_root: "https://api.powerbi.com/".into(),
            kind: MinterKind::ServicePrincipal { object_id: None },
        },
        profile_id: None,
        path: "GenerateToken".into(),
        body: json!({"reports": [{"id": R}], "datasets": [{"id": D}]}).to_string(),
        lifetime: Duration::from_secs(60 * 60),
        cache_until: CacheUntil::Expiration,
    }
}

pub(super) fn plan() -> EmbedPlan {
    EmbedPlan::of_parts(plan_parts())
}

/// Now, in whole seconds, as tests compare times.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap()
}

/// A reply to GenerateToken that lives that long.
pub(super) fn minted(life: Duration) -> Reply {
    Reply::json(200, &minted_body("H4sIAAAA-token", now() + life))
}

pub(super) fn minted_body(token: &str, expiration: OffsetDateTime) -> Value {
    let format = &time::format_description::well_known::Rfc3339;
    json!({
        "@odata.context": "x",
        "token": token,
        "tokenId": "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4",
        "expiration": expiration.format(format).unwrap()
    })
}

pub(super) fn hour() -> Reply {
    minted(Duration::from_secs(3600))
}

/// The usual workspace with a report over a dataset without RLS, a dashboard and a tile.
pub(super) fn usual(seen: &Seen) -> Reply {
    let embed = |path: &str| format!("https://app.powerbi.com/{path}");
    let report = json!({
        "id": R, "name": "Sales", "reportType": "PowerBIReport", "datasetId": D,
        "embedUrl": embed("reportEmbed?reportId=r&config=x")
    });
    let dataset = |id: &str, name: &str| {
        json!({
            "id": id, "name": name,
            "isEffectiveIdentityRequired": false, "isEffectiveIdentityRolesRequired": false,
            "isOnPremGatewayRequired": false,
            "createReportEmbedURL": embed("reportEmbed"), "qnaEmbedURL": embed("qnaEmbed")
        })
    };
    let dashboard = json!({"id": B, "displayName": "Board", "embedUrl": embed("dashboardEmbed")});
    let body = match seen.path.strip_prefix("/v1.0/myorg/").unwrap_or("?") {
        "profiles" => json!({"value": [{"id": P, "displayName": "Contoso"}]}),
        "groups" => json!({"value": [{"id": W, "name": "Sales room"}]}),
        path if path == format!("groups/{W}") => {
            json!({"id": W, "name": "Sales room", "type": "Workspace", "isOnDedicatedCapacity": true})
        }
        path if path == format!("groups/{W2}") => json!({"id": W2, "name": "Elsewhere"}),
        path if path == format!("groups/{W}/reports") => json!({"value": [report]}),
        path if path == format!("groups/{W}/reports/{R}") => report,
        path if path == format!("groups/{W}/datasets") => {
            json!({"value": [dataset(D, "Model"), dataset(D2, "Second")]})
        }
        path if path == format!("groups/{W}/datasets/{D}") => dataset(D, "Model"),
        path if path == format!("groups/{W}/datasets/{D2}") => dataset(D2, "Second"),
        path if path == format!("groups/{W2}/datasets/{D2}") => dataset(D2, "Second"),
        path if path == format!("groups/{W}/dashboards") => json!({"value": [dashboard]}),
        path if path == format!("groups/{W}/dashboards/{B}") => dashboard,
        path if path == format!("groups/{W}/dashboards/{B}/tiles") => json!({"value": [
            {"id": T, "title": "Profit", "embedUrl": embed("embed?tileId=t"), "datasetId": D2},
            {"id": R2, "title": "Text", "embedUrl": embed("embed?tileId=x")}
        ]}),
        path if path.ends_with("/datasources") => json!({"value": [
            {"datasourceType": "AnalysisServices", "gatewayId": "g",
             "connectionDetails": {"server": "s", "database": "d"}}
        ]}),
        "GenerateToken" => return hour(),
        _ => {
            let error = json!({"error": {"code": "PowerBIEntityNotFound"}});
            return Reply::json(404, &error);
        }
    };
    Reply::json(200, &body)
}

/// The usual, with one JSON answer changed.
pub(super) fn usual_but(
    path: String,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let mut reply = usual(seen);
        if seen.path == format!("/v1.0/myorg/{path}") {
            reply.change(&change);
        }
        reply
    }
}
