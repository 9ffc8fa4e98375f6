//! The GenerateToken bodies, field by field as Power BI's API description names them (`GenerateTokenRequest` and
//! `GenerateTokenRequestV2` of microsoft/PowerBI-CSharp). The body of a call is made by serialising these and nothing else.
//!
//! What is not set is left out: `allowEdit: false` is the default and `lifetimeInMinutes: 0` would mean "as long as
//! possible". Blobs are secrets until they are serialised.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};

/// Body of one of the calls.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Request {
    /// For one item at a time: dashboards, tiles, classic workspaces.
    V1(RequestV1),
    /// For everything else.
    V2(RequestV2),
}

/// `GenerateTokenRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestV1 {
    pub(super) access_level: AccessLevel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dataset_id: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) allow_save_as: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) identities: Vec<EffectiveIdentity>,
    pub(super) lifetime_in_minutes: u64,
}

/// `accessLevel`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum AccessLevel {
    View,
    Edit,
    Create,
}

/// `GenerateTokenRequestV2`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestV2 {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) datasets: Vec<DatasetV2>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reports: Vec<ReportV2>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) target_workspaces: Vec<TargetWorkspaceV2>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) identities: Vec<EffectiveIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) datasource_identities: Vec<DatasourceIdentity>,
    pub(super) lifetime_in_minutes: u64,
}

/// `GenerateTokenRequestV2Dataset`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DatasetV2 {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) xmla_permissions: Option<XmlaPermissions>,
}

/// `xmlaPermissions`; `Off` is never written.
#[derive(Clone, Copy, Serialize)]
pub(super) enum XmlaPermissions {
    ReadOnly,
}

/// `GenerateTokenRequestV2Report`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportV2 {
    pub(super) id: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) allow_edit: bool,
}

/// `GenerateTokenRequestV2TargetWorkspace`: a right to write.
#[derive(Serialize)]
pub(super) struct TargetWorkspaceV2 {
    pub(super) id: String,
}

/// `EffectiveIdentity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EffectiveIdentity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) datasets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity_blob: Option<IdentityBlob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auditable_context: Option<String>,
}

/// `identityBlob` of an [`EffectiveIdentity`]: an object, unlike that of a [`DatasourceIdentity`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct IdentityBlob {
    pub(super) value: Blob,
}

/// `DatasourceIdentity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DatasourceIdentity {
    pub(super) identity_blob: Blob,
    pub(super) datasources: Vec<DatasourceSelector>,
}

/// `DatasourceSelector`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DatasourceSelector {
    pub(super) datasource_type: String,
    pub(super) connection_details: BTreeMap<String, String>,
}

/// The end user's own token for a source. Serialising it writes the secret, which only a request's body needs.
#[derive(Clone, Debug)]
pub(super) struct Blob(pub(super) SecretString);

// === impl EffectiveIdentity, DatasourceIdentity ===

impl EffectiveIdentity {
    /// For the audit record: the blob as its hash.
    pub(super) fn audited(&self) -> serde_json::Result<Box<RawValue>> {
        let Some(blob) = &self.identity_blob else {
            return to_raw_value(self);
        };
        let rest = Self {
            identity_blob: None,
            ..self.clone()
        };
        audited(&rest, &blob.value)
    }
}

impl DatasourceIdentity {
    /// For the audit record: the blob as its hash.
    pub(super) fn audited(&self) -> serde_json::Result<Box<RawValue>> {
        audited(
            &json!({ "datasources": self.datasources }),
            &self.identity_blob,
        )
    }
}

fn audited(rest: &impl Serialize, blob: &Blob) -> serde_json::Result<Box<RawValue>> {
    let mut record = json!(rest);
    record["identityBlob"] = json!({ "sha256": blob.sha256() });
    to_raw_value(&record)
}

// === impl Blob ===

impl Blob {
    fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.0.expose_secret()))
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Blob {}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `skip_serializing_if` passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
