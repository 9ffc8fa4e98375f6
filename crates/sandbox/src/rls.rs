//! Row-level security: whether a dataset accepts an identity, and which rows that identity lets through.
//!
//! [`check`] is Microsoft's RLS matrix with the service's own texts, misspelling included ("Generate an embed token";
//! texts as seen in the field). [`shown`] does what the engine does: the union of the rows of all roles.
//! Undocumented, hence chosen: a role that the model does not have passes the mint and lets no row through.

use serde::Serialize;
use serde_json::Value;

use super::seed::{Dataset, Role, Security, Table};
use super::wire::Identity;
use super::world::Caller;

/// Who a token is, as far as one dataset is concerned.
#[derive(Clone, Copy, Default)]
pub(super) struct Who<'a> {
    pub(super) identity: Option<&'a Identity>,
    /// The end user's token for an SSO source.
    pub(super) blob: Option<&'a str>,
}

/// A table as one identity sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    pub(super) dataset: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Value>>,
    /// The filter that was applied, for people.
    pub(super) filter: String,
    pub(super) total_rows: usize,
}

/// One filter: which column must equal what. `None`: no row passes, or every one.
enum Filter {
    Everything,
    Nothing,
    Equals { column: String, value: String },
}

/// Whether `dataset` may be put into a token of `caller` with this identity. `impersonates`: whether it may name somebody
/// else to an on-premises server.
///
/// # Errors
/// The text with which the service refuses.
pub(super) fn check(
    dataset: &Dataset,
    who: Who<'_>,
    caller: &Caller,
    impersonates: bool,
) -> Result<(), String> {
    let refuse = |what: &str| {
        let id = &dataset.id;
        Err(format!(
            "Creating embed token for accessing dataset {id} {what}"
        ))
    };
    let Some(identity) = who.identity else {
        let blob_is_enough = dataset.security == Security::Sso && who.blob.is_some();
        // A master user's own identity applies: nothing is filtered.
        if !dataset.identity_required() || blob_is_enough || caller.is_master_user() {
            return Ok(());
        }
        return refuse("requires effective identity to be provided");
    };
    if !dataset.identity_required() {
        return refuse("shouldn't have effective identity");
    }
    if dataset.roles_required() && identity.roles().is_empty() {
        return refuse("requires roles to be included in provided effective identity");
    }
    check_fields(dataset, identity, who.blob, caller, impersonates).or_else(|what| refuse(&what))
}

/// The rules about single fields of an identity that a dataset accepts as such.
fn check_fields(
    dataset: &Dataset,
    identity: &Identity,
    blob: Option<&str>,
    caller: &Caller,
    impersonates: bool,
) -> Result<(), String> {
    let username = identity.username.as_deref().unwrap_or_default();
    let sso_alone = dataset.security == Security::Sso;
    let custom_data_allowed = matches!(dataset.security, Security::CloudRls | Security::AsAzure);
    let problem = if username.is_empty() && !sso_alone {
        "requires a username in provided effective identity"
    } else if identity.custom_data.is_some() && !custom_data_allowed {
        "doesn't support custom data in provided effective identity"
    } else if identity.blob.is_some() && !dataset.is_sso() {
        "doesn't support an identity blob in provided effective identity"
    } else if dataset.is_sso() && blob.is_none() {
        "requires an identity blob of the end user"
    } else if dataset.security == Security::AsAzure && username != caller.principal_name() {
        "requries effective identity username to be identical to the caller's principal name"
    } else if dataset.security == Security::AsOnPremises && !username.chars().all(on_premises) {
        "requires a username of alphanumeric characters and . - _ ! # ^ ~ \\ @"
    } else if dataset.security == Security::AsOnPremises
        && !caller.is_master_user()
        && !impersonates
    {
        "requires the ReadOverrideEffectiveIdentity permission on the gateway data source"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

fn on_premises(c: char) -> bool {
    c.is_ascii_alphanumeric() || ".-_!#^~\\@".contains(c)
}

/// The rows of `dataset` for this identity.
pub(super) fn shown(dataset: &Dataset, who: Who<'_>) -> Shown {
    let table = &dataset.table;
    if who.identity.is_none() && who.blob.is_none() {
        return filtered(&dataset.id, table, &[&[Filter::Everything]], &[]);
    }
    let roles = active_roles(dataset, who.identity);
    let by_role: Vec<Filter> = roles
        .iter()
        .map(|role| role.map_or(Filter::Nothing, |role| role_filter(role, who.identity)))
        .collect();
    let by_source = vec![source_filter(dataset, who)];
    let hidden = hidden_columns(&roles);
    match dataset.security {
        Security::None => filtered(&dataset.id, table, &[&[Filter::Everything]], &[]),
        Security::CloudRls | Security::AsAzure => {
            filtered(&dataset.id, table, &[&by_role], &hidden)
        }
        Security::AsOnPremises if !roles.is_empty() => {
            filtered(&dataset.id, table, &[&by_role], &hidden)
        }
        Security::AsOnPremises | Security::Sso => filtered(&dataset.id, table, &[&by_source], &[]),
        Security::SsoCloudRls => filtered(&dataset.id, table, &[&by_role, &by_source], &hidden),
    }
}

/// The rows of a paginated report over SQL, whose query compares `UserID` with a column.
pub(super) fn shown_for_user_id(
    id: &str,
    table: &Table,
    user_column: Option<&str>,
    user_id: &str,
) -> Shown {
    let filter = user_column.map_or(Filter::Everything, |column| Filter::Equals {
        column: column.to_owned(),
        value: user_id.to_owned(),
    });
    filtered(id, table, &[&[filter]], &[])
}

/// The roles named, `None` for one that the model does not have.
fn active_roles<'a>(dataset: &'a Dataset, identity: Option<&Identity>) -> Vec<Option<&'a Role>> {
    identity
        .map(Identity::roles)
        .unwrap_or_default()
        .iter()
        .map(|name| {
            dataset
                .roles
                .iter()
                .find(|role| role.name.eq_ignore_ascii_case(name))
        })
        .collect()
}

fn role_filter(role: &Role, identity: Option<&Identity>) -> Filter {
    let Some(filter) = &role.filter else {
        return Filter::Everything;
    };
    let Some((column, value)) = filter.split_once(" = ") else {
        return Filter::Nothing;
    };
    let value = match value {
        "USERNAME()" => identity.and_then(|identity| identity.username.clone()),
        "CUSTOMDATA()" => identity.and_then(|identity| identity.custom_data.clone()),
        literal => Some(literal.trim_matches('"').to_owned()),
    };
    value.map_or(Filter::Nothing, |value| Filter::Equals {
        column: column.trim_matches(['[', ']']).to_owned(),
        value,
    })
}

/// What the source itself filters by: the user who signs in to it.
fn source_filter(dataset: &Dataset, who: Who<'_>) -> Filter {
    let user = match dataset.security {
        Security::Sso | Security::SsoCloudRls => who.blob.map(blob_user),
        Security::AsOnPremises => who.identity.and_then(|identity| identity.username.clone()),
        Security::None | Security::CloudRls | Security::AsAzure => None,
    };
    match (&dataset.user_column, user) {
        (Some(column), Some(value)) => Filter::Equals {
            column: column.clone(),
            value,
        },
        (None, Some(_)) => Filter::Everything,
        (_, None) => Filter::Nothing,
    }
}

/// The user whom a blob signs in: a claim of a JWT, else the text itself.
fn blob_user(blob: &str) -> String {
    use base64::Engine as _;
    let claims: Option<Value> = blob
        .split('.')
        .nth(1)
        .and_then(|part| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .ok()
        })
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    ["upn", "preferred_username", "email", "sub"]
        .iter()
        .find_map(|name| claims.as_ref()?.get(name)?.as_str())
        .unwrap_or(blob)
        .to_owned()
}

/// A column is hidden only when every role hides it, since rights add up.
fn hidden_columns(roles: &[Option<&Role>]) -> Vec<String> {
    let Some(Some(first)) = roles.first() else {
        return Vec::new();
    };
    first
        .hides
        .iter()
        .filter(|column| {
            roles
                .iter()
                .flatten()
                .all(|role| role.hides.contains(column))
        })
        .cloned()
        .collect()
}

/// Rows that pass one filter at least of every group.
fn filtered(id: &str, table: &Table, groups: &[&[Filter]], hidden: &[String]) -> Shown {
    let all = table.rows();
    let total_rows = all.len();
    let shown: Vec<usize> = (0..table.columns.len())
        .filter(|&index| !hidden.contains(&table.columns[index]))
        .collect();
    let passes = |row: &Vec<Value>| {
        groups
            .iter()
            .all(|group| group.iter().any(|filter| filter.passes(table, row)))
    };
    let project = |row: Vec<Value>| shown.iter().map(|&index| row[index].clone()).collect();
    Shown {
        dataset: id.to_owned(),
        name: table.name.clone(),
        columns: shown
            .iter()
            .map(|&index| table.columns[index].clone())
            .collect(),
        rows: all.into_iter().filter(passes).map(project).collect(),
        filter: describe(&table.name, groups),
        total_rows,
    }
}

impl Filter {
    fn passes(&self, table: &Table, row: &[Value]) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Equals { column, value } => table
                .column(column)
                .and_then(|index| row.get(index))
                .is_some_and(|cell| match cell {
                    Value::String(text) => text.eq_ignore_ascii_case(value),
                    other => format!("{other}") == *value,
                }),
        }
    }

    fn describe(&self, table: &str) -> String {
        match self {
            Self::Everything => "all rows".to_owned(),
            Self::Nothing => "no rows".to_owned(),
            Self::Equals { column, value } => format!("'{table}'[{column}] = \"{value}\""),
        }
    }
}

fn describe(table: &str, groups: &[&[Filter]]) -> String {
    let group = |filters: &&[Filter]| {
        if filters.is_empty() {
            return "no rows".to_owned();
        }
        let texts: Vec<String> = filters
            .iter()
            .map(|filter| filter.describe(table))
            .collect();
        texts.join(" || ")
    };
    let texts: Vec<String> = groups.iter().map(group).collect();
    texts.join(" && ")
}
