//! The shape of a policy file, documented for whoever writes one: `embed-broker schema policy` prints these comments.
//!
//! Reading is strict (unknown and duplicate keys are refused) and knows nothing of meaning: which keys fit which kind,
//! which names exist and which expressions compile is checked in [`compile`](super::compile), all at once.

mod read;
mod schema;
mod value;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use read::{read, yaml_mistake, yaml_options};
pub(super) use value::{At, Expected, Ordered, Place, Roles, Scalar, Text, WordOr};

use super::tables::{Row, Rows};
use super::{Access, Kind, Security, WorkspaceVersion, Xmla};

/// What callers may embed, and as whom.
///
/// A plain value is a literal. `{ cel: "…" }` is a CEL expression over `claims` (the verified token), `issuer` (its
/// configured name), `item` (`name`, `kind`) and the caller's row in each table, under the table's name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    /// Look-up tables, by name; the caller's row in each is a variable of that name.
    #[serde(default)]
    pub(super) tables: Ordered<TableFile>,
    /// The catalogue: what can be embedded, by name. `/items` lists it in this order.
    pub(super) items: Ordered<ItemFile>,
    /// Who may embed what, and as whom. For each item the first rule that matches decides; no match: denied.
    pub(super) rules: Vec<At<RuleFile>>,
    /// The policy's own tests, run at every load.
    #[serde(default)]
    pub(super) cases: Vec<At<CaseFile>>,
}

/// A look-up table. A caller without a row may not use the items and rules that name the table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableFile {
    /// CEL expression over `claims` and `issuer` that gives the caller's key, such as `claims.tid`. Keys compare as
    /// strings. With several issuers it must use `issuer`, as in `issuer + '/' + claims.tid`. With an issuer that accepts
    /// several tenants (`tenants: any`, or a list of more than one) it must use `claims.tid`: a tenant's administrators
    /// can write any e-mail address or user name into their tokens.
    pub(super) key: At<Text>,
    /// The rows, by key.
    #[serde(default)]
    pub(super) rows: Option<Rows>,
    /// A YAML or JSON file with the rows, relative to the policy file.
    #[serde(default)]
    pub(super) rows_file: Option<At<Text>>,
    /// Consent to a key without `issuer` although several issuers are configured: each may then speak for the others'
    /// keys.
    #[serde(default)]
    pub(super) any_issuer: bool,
    /// Consent to a key without `claims.tid` although an issuer accepts several tenants: each tenant may then speak for the
    /// others' keys.
    #[serde(default)]
    pub(super) any_tenant: bool,
}

/// Something that can be embedded.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemFile {
    /// Title for menus; default: the name.
    #[serde(default)]
    pub(super) title: Option<At<Text>>,
    /// What it is; decides which of the keys below it needs.
    pub(super) kind: Kind,
    /// Id or name of its workspace.
    pub(super) workspace: At<Scalar>,
    /// `report`, `paginated_report`, `visual`: id or name of the report. `"*"` lets the request's `target` choose one of
    /// that workspace. A name is for workspaces that no rule lets reports be saved into: one could take it.
    #[serde(default)]
    pub(super) report: Option<At<Scalar>>,
    /// `dashboard`, `tile`: id or name of the dashboard.
    #[serde(default)]
    pub(super) dashboard: Option<At<Scalar>>,
    /// `tile`: id or title of the tile.
    #[serde(default)]
    pub(super) tile: Option<At<Scalar>>,
    /// `qna`, `create_report`: id or name of the dataset.
    #[serde(default)]
    pub(super) dataset: Option<At<Scalar>>,
    /// `create_report`: id or name of the workspace that the new report is saved into. No item may find a report there by
    /// name.
    #[serde(default)]
    pub(super) target_workspace: Option<At<Scalar>>,
    /// `visual`: name of the page.
    #[serde(default)]
    pub(super) page: Option<At<Text>>,
    /// `visual`: name of the visual.
    #[serde(default)]
    pub(super) visual: Option<At<Text>>,
    /// What secures its own dataset. `auto` learns it from Power BI; a named value asserts it. For a dashboard it speaks of
    /// the datasets that are not among `datasets`; that one of them has nothing to filter (`none`) is said there only.
    #[serde(default)]
    pub(super) security: Option<At<Security>>,
    /// XMLA right to its own dataset: needed for paginated reports over it and for `DirectQuery` to another model.
    #[serde(default)]
    pub(super) xmla: Option<At<Xmla>>,
    /// Id or name of the workspace of its dataset (or of those that a dashboard shows), when they live elsewhere.
    #[serde(default)]
    pub(super) dataset_workspace: Option<At<Scalar>>,
    /// Further datasets that the token must cover, or settings for those that a dashboard shows.
    #[serde(default)]
    pub(super) datasets: Vec<At<DatasetFile>>,
    /// Dynamic binding: the id of one of `datasets`.
    #[serde(default)]
    pub(super) dataset_binding: Option<At<Text>>,
    /// Ids of paginated reports shown inside an interactive one.
    #[serde(default)]
    pub(super) paginated_visuals: Vec<At<Text>>,
    /// Id or name of the workspace that copies are saved into; default: the report's own. No item may find a report there by
    /// name.
    #[serde(default)]
    pub(super) save_as_workspace: Option<At<Scalar>>,
    /// The configured principal that mints; default: `default`.
    #[serde(default)]
    pub(super) principal: Option<At<Scalar>>,
    /// Id or display name of a service principal profile; omitted: none.
    #[serde(default)]
    pub(super) profile: Option<At<Scalar>>,
    /// Generation of the workspace; `classic` works with a master user only.
    #[serde(default)]
    pub(super) workspace_version: WorkspaceVersion,
    /// Settings passed into `embedConfig`; never the id, type, URL, token or permissions.
    #[serde(default)]
    pub(super) embed: Option<At<Map<String, Value>>>,
}

/// A further dataset.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetFile {
    /// Its id.
    pub(super) dataset: At<Text>,
    /// Id or name of its workspace; default: the item's.
    #[serde(default)]
    pub(super) workspace: Option<At<Scalar>>,
    /// What secures it.
    #[serde(default)]
    pub(super) security: Security,
    /// XMLA right to it.
    #[serde(default)]
    pub(super) xmla: Option<At<Xmla>>,
}

/// Who may embed some items, and as whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// Its name in audit record, log and cases.
    pub(super) name: At<Text>,
    /// Names of items, or globs such as `finance-*`.
    pub(super) items: Vec<At<Text>>,
    /// CEL condition; omitted: always true. An error ends the search and denies.
    #[serde(default)]
    pub(super) when: Option<At<Text>>,
    /// Denies instead of granting.
    #[serde(default)]
    pub(super) deny: bool,
    /// The highest right; default: `view`.
    #[serde(default)]
    pub(super) access: Option<At<Access>>,
    /// Whether reports may be saved as copies.
    #[serde(default)]
    pub(super) save_as: Option<At<bool>>,
    /// The effective identity, or `none`. Required in a rule that does not deny.
    #[serde(default)]
    pub(super) identity: Option<At<WordOr<NoIdentity, IdentityFile>>>,
    /// Identities of single datasets (by id) that need another one, or `none`.
    #[serde(default)]
    pub(super) dataset_identities: Ordered<WordOr<NoIdentity, IdentityFile>>,
    /// Upper bound of the embed token's life, such as `15m`.
    #[serde(default)]
    pub(super) lifetime: Option<At<Text>>,
}

/// The word `none`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoIdentity {
    /// No effective identity is sent.
    None,
}

/// An effective identity.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityFile {
    /// The user name that the model's filters see; omitted: none.
    #[serde(default)]
    pub(super) username: Option<At<Scalar>>,
    /// RLS roles: a list of literals and expressions (each of which gives a role or a list of roles), or one expression.
    #[serde(default)]
    pub(super) roles: Option<At<Roles>>,
    /// `CUSTOMDATA()` of cloud models and Azure Analysis Services.
    #[serde(default)]
    pub(super) custom_data: Option<At<Scalar>>,
    /// Name under which Power BI audits the mint.
    #[serde(default)]
    pub(super) auditable_context: Option<At<Scalar>>,
    /// The end user's own token for an SSO source, taken from a request header.
    #[serde(default)]
    pub(super) identity_blob: Option<BlobFile>,
    /// The newer form of the same, by data source.
    #[serde(default)]
    pub(super) datasource_identities: Vec<DatasourceFile>,
}

/// Where an identity blob comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobFile {
    /// The request header, such as `X-Sql-Token`.
    pub(super) header: At<Text>,
}

/// The end user's own token for one data source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasourceFile {
    /// `datasourceType`, such as `Sql`.
    pub(super) datasource_type: At<Text>,
    /// `connectionDetails` exactly as Power BI's *Get Datasources* returns them: `server`, `database`, …
    pub(super) connection: Ordered<Text>,
    /// The token.
    pub(super) blob: BlobFile,
}

/// A test of the policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    /// What it shows.
    pub(super) name: At<Text>,
    /// Name of the issuer; default: the first.
    #[serde(default)]
    pub(super) issuer: Option<At<Text>>,
    /// The caller's claims.
    pub(super) claims: Map<String, Value>,
    /// The caller's rows, by table, in place of the look-up; null: no row.
    #[serde(default)]
    pub(super) tables: Ordered<Option<Row>>,
    /// The item asked for.
    pub(super) item: At<Text>,
    /// The right asked for; omitted: the kind's default, and `expect` compares the highest right that the rule gives.
    #[serde(default)]
    pub(super) access: Option<Access>,
    /// Whether "save a copy" is asked for; omitted: `expect` compares whether the rule gives it.
    #[serde(default)]
    pub(super) save_as: bool,
    /// The report asked for, for an item with `report: "*"`.
    #[serde(default)]
    pub(super) target: Option<At<Text>>,
    /// `denied` (403), or what the grant must be; only what is named is compared.
    pub(super) expect: At<WordOr<Refusal, ExpectFile>>,
}

/// The word `denied`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    /// The answer is 403 `not_permitted`.
    Denied,
}

/// What a case expects of a grant. Null expects that there is none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectFile {
    /// The rule that matches.
    pub(super) rule: Expected<Text>,
    /// The right given: what the case asks for, else the highest that the rule gives.
    pub(super) access: Expected<Access>,
    /// Whether "save a copy" is given: what the case asks for, else whether the rule gives it.
    pub(super) save_as: Expected<bool>,
    /// The workspace.
    pub(super) workspace: Expected<Text>,
    /// The principal that mints.
    pub(super) principal: Expected<Text>,
    /// The service principal profile.
    pub(super) profile: Expected<Text>,
    /// The report shown; the request's target, if the item leaves the choice.
    pub(super) report: Expected<Text>,
    /// The dashboard shown.
    pub(super) dashboard: Expected<Text>,
    /// The tile shown.
    pub(super) tile: Expected<Text>,
    /// The dataset behind Q&A or a new report.
    pub(super) dataset: Expected<Text>,
    /// The workspace that a new report is saved into.
    pub(super) target_workspace: Expected<Text>,
    /// The workspace that copies are saved into.
    pub(super) save_as_workspace: Expected<Text>,
    /// The workspace of the dataset.
    pub(super) dataset_workspace: Expected<Text>,
    /// `null` expects that the rule gives no identity.
    pub(super) identity: Expected<Map<String, Value>>,
    /// The identity's user name.
    pub(super) username: Expected<Text>,
    /// The identity's roles, in order.
    pub(super) roles: Expected<Vec<Text>>,
    /// The identity's custom data.
    pub(super) custom_data: Expected<Text>,
    /// The identity's auditable context.
    pub(super) auditable_context: Expected<Text>,
    /// The rule's bound of the token's life, such as `15m`.
    pub(super) lifetime: Expected<Text>,
}

/// The JSON Schema of a policy file.
pub(super) fn schema() -> Value {
    schemars::schema_for!(PolicyFile).to_value()
}
