//! Bodies of the six GenerateToken calls, from Microsoft's API description; unknown members are refused.
//!
//! Written from the documents and on purpose not shared with the broker's client: a field that both misspelt would
//! pass every test.

use serde::Deserialize;

/// `GenerateTokenRequestV2`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestV2 {
    pub(super) datasets: Option<Vec<DatasetV2>>,
    pub(super) reports: Option<Vec<ReportV2>>,
    pub(super) target_workspaces: Option<Vec<TargetWorkspace>>,
    pub(super) identities: Option<Vec<Identity>>,
    pub(super) datasource_identities: Option<Vec<DatasourceIdentity>>,
    pub(super) lifetime_in_minutes: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DatasetV2 {
    pub(super) id: String,
    pub(super) xmla_permissions: Option<Xmla>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Xmla {
    Off,
    ReadOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReportV2 {
    pub(super) id: uuid::Uuid,
    pub(super) allow_edit: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TargetWorkspace {
    pub(super) id: uuid::Uuid,
}

/// `GenerateTokenRequest`, the body of the five V1 calls.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestV1 {
    pub(super) access_level: Option<String>,
    pub(super) dataset_id: Option<String>,
    pub(super) allow_save_as: Option<bool>,
    pub(super) identities: Option<Vec<Identity>>,
    pub(super) lifetime_in_minutes: Option<i64>,
}

/// `EffectiveIdentity`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) username: Option<String>,
    pub(super) roles: Option<Vec<String>>,
    pub(super) datasets: Option<Vec<String>>,
    pub(super) reports: Option<Vec<String>>,
    pub(super) custom_data: Option<String>,
    #[serde(rename = "identityBlob")]
    pub(super) blob: Option<IdentityBlob>,
    #[serde(rename = "auditableContext")]
    pub(super) _auditable_context: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdentityBlob {
    pub(super) value: String,
}

/// `DatasourceIdentity`; here the blob is a plain string.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DatasourceIdentity {
    #[serde(rename = "identityBlob")]
    pub(super) blob: String,
    pub(super) datasources: Vec<DatasourceSelector>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DatasourceSelector {
    pub(super) datasource_type: String,
    pub(super) connection_details: serde_json::Value,
}

impl Identity {
    pub(super) fn roles(&self) -> &[String] {
        self.roles.as_deref().unwrap_or_default()
    }

    pub(super) fn datasets(&self) -> &[String] {
        self.datasets.as_deref().unwrap_or_default()
    }

    pub(super) fn reports(&self) -> &[String] {
        self.reports.as_deref().unwrap_or_default()
    }
}

impl DatasourceIdentity {
    /// Whether it names the data source `source`, as *Get Datasources* shows it.
    pub(super) fn names(&self, source: &serde_json::Value) -> bool {
        self.datasources.iter().any(|selector| {
            source["datasourceType"] == selector.datasource_type
                && source["connectionDetails"] == selector.connection_details
        })
    }
}
