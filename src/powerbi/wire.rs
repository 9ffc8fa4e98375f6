//! Serde mirror of the replies of Power BI's REST API, and nothing else.
//!
//! Shapes from the official API description (`microsoft/PowerBI-CSharp`, `sdk/swaggers/swagger.json`). Unknown members are
//! ignored. The schema spells some members with a capital where live replies use lower camel case; both are read.
//! What must not be guessed is an `Option` here, so that whoever uses it has to say what its absence means.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A collection.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) value: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    pub(super) next_link: Option<String>,
}

/// `GET groups`, `GET groups/{id}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Workspace {
    pub(super) id: String,
    pub(super) name: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) is_on_dedicated_capacity: Option<bool>,
    pub(super) capacity_id: Option<String>,
}

/// `GET profiles`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    pub(super) id: String,
    pub(super) display_name: Option<String>,
}

/// `GET groups/{g}/reports[/{id}]`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) id: String,
    pub(super) name: Option<String>,
    #[serde(rename = "reportType")]
    pub(super) kind: Option<String>,
    pub(super) dataset_id: Option<String>,
    pub(super) embed_url: Option<String>,
}

/// `GET groups/{g}/datasets[/{id}]`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dataset {
    pub(super) id: String,
    pub(super) name: Option<String>,
    #[serde(alias = "IsEffectiveIdentityRequired")]
    pub(super) is_effective_identity_required: Option<bool>,
    #[serde(alias = "IsEffectiveIdentityRolesRequired")]
    pub(super) is_effective_identity_roles_required: Option<bool>,
    #[serde(alias = "IsOnPremGatewayRequired")]
    pub(super) is_on_prem_gateway_required: Option<bool>,
    #[serde(rename = "createReportEmbedURL", alias = "CreateReportEmbedURL")]
    pub(super) create_report_embed_url: Option<String>,
    #[serde(rename = "qnaEmbedURL", alias = "QnaEmbedURL")]
    pub(super) qna_embed_url: Option<String>,
}

/// `GET groups/{g}/datasets/{d}/datasources`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataSource {
    pub(super) datasource_type: String,
    #[serde(default)]
    pub(super) connection_details: Option<ConnectionDetails>,
    pub(super) gateway_id: Option<String>,
    pub(super) datasource_id: Option<String>,
}

/// `connectionDetails` of a data source.
#[derive(Default, Deserialize)]
pub(super) struct ConnectionDetails {
    pub(super) server: Option<String>,
    pub(super) database: Option<String>,
}

/// `GET groups/{g}/dashboards[/{id}]`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dashboard {
    pub(super) id: String,
    pub(super) display_name: Option<String>,
    pub(super) embed_url: Option<String>,
}

/// `GET groups/{g}/dashboards/{d}/tiles`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tile {
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) embed_url: Option<String>,
    pub(super) report_id: Option<String>,
    pub(super) dataset_id: Option<String>,
}

/// `GET groups/{g}/users`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub(super) identifier: String,
    pub(super) display_name: Option<String>,
    pub(super) group_user_access_right: Option<String>,
    pub(super) principal_type: Option<String>,
    pub(super) profile: Option<Profile>,
}

/// `GET capacities`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Capacity {
    pub(super) id: String,
    pub(super) display_name: Option<String>,
    pub(super) sku: Option<String>,
    pub(super) state: Option<String>,
}

/// `GET gateways/{g}`.
#[derive(Deserialize)]
pub(super) struct Gateway {
    pub(super) id: String,
}

/// `GET gateways/{g}/datasources/{d}/users`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayUser {
    pub(super) identifier: Option<String>,
    pub(super) email_address: Option<String>,
    pub(super) datasource_access_right: Option<String>,
    pub(super) profile: Option<Profile>,
}

/// `GET availableFeatures(featureName='embedTrial')`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feature {
    pub(super) state: Option<String>,
    pub(super) additional_info: Option<AdditionalInfo>,
}

/// `additionalInfo` of a feature.
#[derive(Deserialize)]
pub(super) struct AdditionalInfo {
    pub(super) usage: Option<f64>,
}

/// `POST …GenerateToken`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EmbedToken {
    pub(super) token: Option<Box<RawValue>>,
    pub(super) token_id: Option<String>,
    pub(super) expiration: Option<String>,
}
