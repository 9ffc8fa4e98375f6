//! The effective identity for one dataset or one paginated report: whole, or refused.
//!
//! Every part that the rule gives is either sent or named in a refusal. Nothing is dropped because a model has lost
//! its RLS or because a source cannot use it; only `security: none` says that a dataset needs no identity.

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::is_nfkc;

use super::artifact::Dataset;
use super::blob;
use super::item::{Item, Shown};
use super::request::{DatasourceIdentity, DatasourceSelector, EffectiveIdentity, IdentityBlob};
use super::rls::{Part, Row, Secured, Username, Without};
use super::{CacheUntil, Circumstances, MinterKind, Refusal};
use crate::policy::{Identity, Security};

/// Characters of a username (`EffectiveIdentity` in Power BI's API description), as .NET counts them.
const MAX_USERNAME: usize = 256;
/// Roles of one identity, and characters of one role (same place).
const MAX_ROLES: usize = 50;
const MAX_ROLE: usize = 50;
/// Characters of custom data ("embed Azure Analysis Services").
const MAX_CUSTOM_DATA: usize = 1_024;
/// What a username for SQL Server Analysis Services may hold beside letters and digits (`EffectiveIdentity`).
const ON_PREMISES_PUNCTUATION: &str = r".-_!#^~\@";

/// What is sent for one dataset or paginated report.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fitted {
    /// The entry in `identities`, still without the id that it covers; none when only data sources need the user.
    pub(super) entry: Option<EffectiveIdentity>,
    /// Entries of `datasourceIdentities`.
    pub(super) sources: Vec<DatasourceIdentity>,
    /// How long its blobs may be kept.
    pub(super) keep: CacheUntil,
}

/// The identity for `dataset`, or none where none is needed.
pub(super) fn for_dataset(
    item: &Item<'_>,
    dataset: &Dataset,
    circumstances: &Circumstances<'_>,
) -> Result<Option<Fitted>, Refusal> {
    let declared = item.declared(dataset).security;
    let identity = item.grant.identity_for(&dataset.id);
    let filters_expected = matches!(declared, Security::Auto | Security::CloudRls);
    if identity.is_some() && filters_expected && !dataset.identity_required {
        return Err(Refusal::RlsMissing(
            "the rule gives an identity, but the model has no RLS (any more): publish it with its roles, or declare `security: none` for it".into(),
        ));
    }
    let secured = Secured::of_model(declared, dataset)?;
    let Some(identity) = identity else {
        return without(secured, &circumstances.minter.kind);
    };
    if secured == Secured::Nothing {
        // Declared so: Power BI refuses an identity for such a model.
        return Ok(None);
    }
    if secured == Secured::AsAzure && item.artifact.profile_id.is_some() {
        // "Embed for multiple tenants" excludes the two, "embed Azure Analysis Services" does not.
        return Err(Refusal::SecurityMismatch(
            "Azure Analysis Services does not work with service principal profiles".into(),
        ));
    }
    let row = secured.row();
    forbid_surplus(row, identity)?;
    let roles_needed = row.roles == Part::ByModel && dataset.roles_required;
    check_roles(&identity.roles, roles_needed)?;
    check_blob(row, identity)?;
    let username = username(row.username, identity, &circumstances.minter.kind)?;
    fit(identity, username, circumstances).map(Some)
}

/// The identity for a paginated report, shown by itself or inside the item. `carried`: a dataset of the item takes the
/// rule's whole identity, so that here only the name is left to say.
pub(super) fn for_paginated(
    item: &Item<'_>,
    carried: bool,
    circumstances: &Circumstances<'_>,
) -> Result<Option<Fitted>, Refusal> {
    let minter = &circumstances.minter.kind;
    // First of all: no declaration makes a paginated report work with a master user.
    let nobody = without(Secured::Rdl, minter)?;
    let itself = matches!(item.shown, Shown::Paginated(_));
    let declared_of_itself = |security| itself && item.grant.security() == security;
    let sso = declared_of_itself(Security::Sso);
    let identity = match item.grant.identity() {
        None if sso => return without(Secured::Sso, minter),
        None => return Ok(nobody),
        Some(_) if declared_of_itself(Security::None) => return Ok(nobody),
        Some(identity) => identity,
    };
    let own = paginated_part(identity, sso, carried)?;
    if own.username.is_none() && !sso {
        return if itself {
            Err(unmappable("a paginated report's identity needs a username"))
        } else {
            Ok(nobody)
        };
    }
    let username = match own.username {
        Some(_) => username(Username::Text, &own, minter)?,
        None => None,
    };
    fit(&own, username, circumstances).map(Some)
}

/// What a paginated report takes of an identity; the rest must be carried by a dataset.
fn paginated_part(identity: &Identity, sso: bool, carried: bool) -> Result<Identity, Refusal> {
    let mut own = Identity {
        username: identity.username.clone(),
        auditable_context: identity.auditable_context.clone(),
        ..Identity::default()
    };
    if sso {
        own.datasource_identities
            .clone_from(&identity.datasource_identities);
        if own.datasource_identities.is_empty() {
            return Err(unmappable(
                "`sso` needs the end user's own token: give `datasource_identities`",
            ));
        }
    }
    if own != *identity && !carried {
        forbid_surplus(Secured::Rdl.row(), identity)?;
    }
    Ok(own)
}

/// Whether the identity may be left out.
fn without(secured: Secured, minter: &MinterKind) -> Result<Option<Fitted>, Refusal> {
    match secured.row().without(minter) {
        Without::Allowed | Without::Unfiltered => Ok(None),
        Without::Fails => Err(Refusal::IdentityRequired(format!(
            "it is secured by `{}` and the rule gives no identity: a role without filter opens it whole",
            secured.name()
        ))),
        Without::Unusable => Err(Refusal::SecurityMismatch(
            "a paginated report cannot be embedded by a master user: mint with a service principal"
                .into(),
        )),
    }
}

/// Refuses parts that the source cannot use, instead of dropping them.
fn forbid_surplus(row: &Row, identity: &Identity) -> Result<(), Refusal> {
    let blob = identity.identity_blob.is_some() || !identity.datasource_identities.is_empty();
    let parts = [
        (row.roles, !identity.roles.is_empty(), "roles"),
        (
            row.custom_data,
            identity.custom_data.is_some(),
            "custom data",
        ),
        (row.blob, blob, "an identity blob"),
    ];
    match parts
        .iter()
        .find(|(part, given, _)| *part == Part::Forbidden && *given)
    {
        Some((_, _, name)) => Err(Refusal::SecurityMismatch(format!(
            "the rule gives {name}, and a source secured by `{}` takes none",
            row.secured.name()
        ))),
        None => Ok(()),
    }
}

fn check_blob(row: &Row, identity: &Identity) -> Result<(), Refusal> {
    let given = identity.identity_blob.is_some() || !identity.datasource_identities.is_empty();
    if row.blob == Part::Required && !given {
        return Err(Refusal::IdentityUnmappable(format!(
            "`{}` needs the end user's own token: give `identity_blob` or `datasource_identities`",
            row.secured.name()
        )));
    }
    Ok(())
}

fn check_roles(roles: &[String], required: bool) -> Result<(), Refusal> {
    if required && roles.is_empty() {
        return Err(unmappable("its model has roles and the rule gives none"));
    }
    if roles.len() > MAX_ROLES {
        return Err(unmappable("an identity takes at most 50 roles"));
    }
    if roles
        .iter()
        .any(|role| role.is_empty() || role.contains(',') || length(role) > MAX_ROLE)
    {
        return Err(unmappable(
            "a role has 1 to 50 characters and none of them is a comma",
        ));
    }
    Ok(())
}

/// The username to send, by the rule of the source.
fn username(
    rule: Username,
    identity: &Identity,
    minter: &MinterKind,
) -> Result<Option<String>, Refusal> {
    let given = identity.username.as_deref();
    let fits: fn(char) -> bool = match rule {
        Username::Forbidden => return Ok(None),
        Username::Own => return own_name(given, minter).map(Some),
        Username::AsciiOrNone if given.is_none() => return Ok(None),
        Username::Ascii | Username::AsciiOrNone => |c| c.is_ascii_graphic(),
        Username::Windows => |c| c.is_ascii_alphanumeric() || ON_PREMISES_PUNCTUATION.contains(c),
        Username::Text => |c| !c.is_control(),
    };
    let given = given.ok_or_else(|| unmappable("its source needs a username"))?;
    if given.trim().is_empty() || length(given) > MAX_USERNAME {
        return Err(unmappable("a username has 1 to 256 characters"));
    }
    if !given.chars().all(fits) {
        return Err(unmappable(
            "the username holds a character that its source does not take",
        ));
    }
    if rule == Username::Text {
        check_look_alikes(given)?;
    }
    Ok(Some(given.to_owned()))
}

/// A paginated report hands its user name to a query, and SQL Server takes names for equal that differ in trailing
/// blanks, in the width of their letters or in characters that it ignores: whoever may choose one of them could be
/// somebody else.
fn check_look_alikes(username: &str) -> Result<(), Refusal> {
    if username.trim() != username {
        return Err(unmappable(
            "the username begins or ends with white space, which a database may ignore",
        ));
    }
    let is_format = |c| get_general_category(c) == GeneralCategory::Format;
    if username.chars().any(is_format) {
        return Err(unmappable(
            "the username holds a format character (such as a zero-width one), which a database may ignore",
        ));
    }
    if !is_nfkc(username) {
        return Err(unmappable(
            "the username differs from its NFKC form (full-width letters, ligatures …), which a database may take for equal",
        ));
    }
    Ok(())
}

/// Azure Analysis Services takes no name but the minter's own ("embed Azure Analysis Services").
fn own_name(given: Option<&str>, minter: &MinterKind) -> Result<String, Refusal> {
    let own = match minter {
        MinterKind::ServicePrincipal { object_id } => object_id.as_deref().ok_or_else(|| {
            unmappable(
                "Azure Analysis Services needs the principal's `object_id` in the configuration",
            )
        })?,
        MinterKind::MasterUser { username } => username,
    };
    match given {
        Some(given) if !given.eq_ignore_ascii_case(own) => Err(Refusal::SecurityMismatch(
            "Azure Analysis Services takes no username but the object id of the principal that mints: leave `username` out and use roles or custom data".into(),
        )),
        Some(_) | None => Ok(own.to_owned()),
    }
}

/// The identity as it is sent, blobs read.
fn fit(
    identity: &Identity,
    username: Option<String>,
    circumstances: &Circumstances<'_>,
) -> Result<Fitted, Refusal> {
    let custom_data = identity.custom_data.as_deref().unwrap_or_default();
    if length(custom_data) > MAX_CUSTOM_DATA {
        return Err(unmappable("custom data has at most 1,024 characters"));
    }
    let mut keep = CacheUntil::Expiration;
    let mut read = |header: &str| {
        let (blob, until) = blob::read(header, circumstances.blobs, circumstances.now)?;
        keep = keep.and(until);
        Ok::<_, Refusal>(blob)
    };
    let identity_blob = identity.identity_blob.as_deref().map(&mut read);
    let identity_blob = identity_blob.transpose()?;
    let mut sources = Vec::with_capacity(identity.datasource_identities.len());
    for source in &identity.datasource_identities {
        sources.push(DatasourceIdentity {
            identity_blob: read(&source.blob_header)?,
            datasources: vec![DatasourceSelector {
                datasource_type: source.datasource_type.clone(),
                connection_details: source.connection.clone(),
            }],
        });
    }
    let named = username.is_some() || identity_blob.is_some();
    if !named && identity.auditable_context.is_some() {
        return Err(unmappable(
            "`auditable_context` needs a username or an identity blob beside it",
        ));
    }
    let entry = named.then(|| EffectiveIdentity {
        username,
        roles: identity.roles.clone(),
        custom_data: identity.custom_data.clone(),
        identity_blob: identity_blob.map(|value| IdentityBlob { value }),
        auditable_context: identity.auditable_context.clone(),
        ..EffectiveIdentity::default()
    });
    Ok(Fitted {
        entry,
        sources,
        keep,
    })
}

/// Characters as .NET counts them.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn unmappable(cause: &str) -> Refusal {
    Refusal::IdentityUnmappable(cause.into())
}
