//! The RLS matrix: who may leave the identity out, and which of its parts each kind of security takes.
//!
//! [`MATRIX`] holds the two tables of Microsoft's documents as data: "generate an embed token" (may the identity be
//! left out?) and "embed content with row-level security", "cloud RLS", "RLS with SSO", "embed Azure Analysis
//! Services", "SQL Server Analysis Services", "paginated reports RLS" (which field means what).
//! [`Secured::of_model`] finds a dataset's row: learned from the facts, or asserted by policy and held against them.

use super::artifact::Dataset;
use super::{MinterKind, Refusal};
use crate::policy::Security;

/// What secures a dataset or a paginated report, once policy and facts agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secured {
    Nothing,
    CloudRls,
    Rdl,
    AsOnPremises,
    AsAzure,
    Sso,
    SsoCloudRls,
}

/// What happens when no identity is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// There is nothing to filter, or the minter's own identity decides.
    Allowed,
    /// The mint succeeds and shows every row.
    Unfiltered,
    /// The mint fails.
    Fails,
    /// Such a minter cannot mint for it at all.
    Unusable,
}

/// What the username may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Username {
    /// No identity may be sent.
    Forbidden,
    /// Up to 256 characters of ASCII without spaces.
    Ascii,
    /// The same, or none.
    AsciiOrNone,
    /// A Windows name or UPN.
    Windows,
    /// The minter's own id, filled in when the rule names none.
    Own,
    /// Up to 256 characters of any text that a database cannot take for another one.
    Text,
}

/// Whether a part of an identity fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Required,
    /// Required when the model has roles (`isEffectiveIdentityRolesRequired`).
    ByModel,
    Allowed,
    Forbidden,
}

/// One row of the matrix.
pub(super) struct Row {
    pub(super) secured: Secured,
    pub(super) service_principal: Without,
    pub(super) master_user: Without,
    pub(super) username: Username,
    pub(super) roles: Part,
    pub(super) custom_data: Part,
    /// An identity blob, in either form.
    pub(super) blob: Part,
}

/// The matrix, in the order of [`Secured`].
#[rustfmt::skip]
pub(super) static MATRIX: [Row; 7] = {
    use Part::{Allowed as May, ByModel, Forbidden as No, Required as Must};
    use Secured::{AsAzure, AsOnPremises, CloudRls, Nothing, Rdl, Sso, SsoCloudRls};
    use Username::{Ascii, AsciiOrNone, Forbidden, Own, Text, Windows};
    use Without::{Allowed, Fails, Unfiltered, Unusable};
    [
        //   security       without an identity      which parts
        //                  principal  master user   username     roles    custom  blob
        row((Nothing,       Allowed,   Allowed),    (Forbidden,   No,      No,     No)),
        row((CloudRls,      Fails,     Unfiltered), (Ascii,       ByModel, May,    No)),
        row((Rdl,           Allowed,   Unusable),   (Text,        No,      No,     No)),
        row((AsOnPremises,  Fails,     Allowed),    (Windows,     ByModel, No,     No)),
        row((AsAzure,       Fails,     Allowed),    (Own,         ByModel, May,    No)),
        row((Sso,           Fails,     Allowed),    (AsciiOrNone, No,      No,     Must)),
        row((SsoCloudRls,   Fails,     Allowed),    (Ascii,       ByModel, May,    Must)),
    ]
};

const fn row(
    (secured, service_principal, master_user): (Secured, Without, Without),
    (username, roles, custom_data, blob): (Username, Part, Part, Part),
) -> Row {
    Row {
        secured,
        service_principal,
        master_user,
        username,
        roles,
        custom_data,
        blob,
    }
}

// === impl Secured ===

impl Secured {
    /// Its row.
    pub(super) fn row(self) -> &'static Row {
        &MATRIX[self as usize]
    }

    /// What secures `dataset`: what the facts say, or what policy asserts and the facts bear out.
    pub(super) fn of_model(declared: Security, dataset: &Dataset) -> Result<Self, Refusal> {
        let learned = Self::learned(dataset);
        let live = Self::live(dataset);
        let (asserted, holds) = match declared {
            Security::Auto => (learned, true),
            Security::None => (Self::Nothing, learned == Self::Nothing),
            Security::CloudRls => (Self::CloudRls, learned == Self::CloudRls),
            // Filters of a paginated report say nothing about a model.
            Security::Rdl => (Self::Rdl, false),
            // A live model needs an identity even where it has no roles, whatever its flags say.
            Security::AsOnPremises => (Self::AsOnPremises, live == Some(Self::AsOnPremises)),
            Security::AsAzure => (Self::AsAzure, live == Some(Self::AsAzure)),
            // Flags do not show single sign-on. Roles beside it want `sso_cloud_rls`.
            Security::Sso => (Self::Sso, live.is_none() && !dataset.roles_required),
            Security::SsoCloudRls => (Self::SsoCloudRls, live.is_none()),
        };
        if holds {
            return Ok(asserted);
        }
        Err(Refusal::SecurityMismatch(format!(
            "policy says `{}`, Power BI shows `{}` (identity required: {}, roles required: {}, live connection: {})",
            asserted.name(),
            learned.name(),
            dataset.identity_required,
            dataset.roles_required,
            live.map_or("no", Self::name),
        )))
    }

    fn learned(dataset: &Dataset) -> Self {
        if dataset.identity_required {
            Self::live(dataset).unwrap_or(Self::CloudRls)
        } else {
            Self::Nothing
        }
    }

    /// Which live connection the data sources show. A server's `asazure://` outweighs a gateway; a composite model on
    /// another one in the service (`powerbi://`, no gateway) is a cloud model.
    fn live(dataset: &Dataset) -> Option<Self> {
        dataset
            .sources
            .iter()
            .filter(|source| source.kind.eq_ignore_ascii_case("AnalysisServices"))
            .find_map(|source| {
                let server = source.server.as_deref().unwrap_or_default();
                if server.to_ascii_lowercase().starts_with("asazure://") {
                    Some(Self::AsAzure)
                } else {
                    source.gateway.then_some(Self::AsOnPremises)
                }
            })
    }

    /// As policy names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::CloudRls => "cloud_rls",
            Self::Rdl => "rdl",
            Self::AsOnPremises => "as_on_premises",
            Self::AsAzure => "as_azure",
            Self::Sso => "sso",
            Self::SsoCloudRls => "sso_cloud_rls",
        }
    }
}

impl Row {
    /// What happens when this minter sends no identity.
    pub(super) fn without(&self, minter: &MinterKind) -> Without {
        match minter {
            MinterKind::ServicePrincipal { .. } => self.service_principal,
            MinterKind::MasterUser { .. } => self.master_user,
        }
    }
}
