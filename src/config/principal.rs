//! Settings of the Entra identities that mint, and what they resolve to.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::cloud::Cloud;
use super::secret::{self, Secret};

/// An Entra identity that mints embed tokens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Principal {
    /// The cloud it lives in; gives the default of every host below.
    pub cloud: Cloud,
    /// Entra tenant id (GUID).
    pub tenant_id: String,
    /// Application (client) id (GUID).
    pub client_id: String,
    /// Object id of the service principal (from Enterprise applications, not App registrations); needed for Azure
    /// Analysis Services live connections.
    pub object_id: Option<String>,
    /// Credentials of this one identity, tried in order.
    pub credentials: Vec<Credential>,
    /// Consent to a master user, who sees all rows of an RLS model when no identity is sent.
    pub allow_master_user: bool,
    /// Override of the cloud's authority.
    pub authority_url: Option<Url>,
    /// Override of the cloud's scope.
    pub scope: Option<String>,
    /// Override of the cloud's Power BI API root.
    pub api_url: Option<Url>,
    /// Override of the cloud's embed hosts; empty: the cloud's.
    pub embed_hosts: Vec<String>,
}

/// One way in which a principal proves itself to Entra.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Credential {
    /// A client secret.
    ClientSecret(ClientSecret),
    /// A certificate, as a PS256 client assertion.
    ClientCertificate(ClientCertificate),
    /// A Kubernetes workload identity (`AZURE_FEDERATED_TOKEN_FILE`).
    WorkloadIdentity(WorkloadIdentity),
    /// An Azure managed identity.
    ManagedIdentity(ManagedIdentity),
    /// A user's name and password (ROPC); discouraged.
    MasterUser(MasterUser),
}

/// A client secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSecret {
    /// The secret itself.
    #[schemars(with = "Option<String>")]
    pub secret: Option<secret::Plain>,
    /// File with the secret, re-read when it changes.
    pub secret_file: Option<PathBuf>,
    /// Environment variable with the secret.
    pub secret_env: Option<String>,
    /// When the secret expires (RFC 3339), for the expiry metric; Entra does not tell.
    pub expires: Option<String>,
    /// The resolved secret.
    #[serde(skip)]
    #[schemars(skip)]
    pub resolved: Secret,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertificate {
    /// PEM with key and certificate.
    #[schemars(with = "Option<String>")]
    pub certificate: Option<secret::Plain>,
    /// File with the PEM of key and certificate, re-read when it changes.
    pub certificate_file: Option<PathBuf>,
    /// Environment variable with the PEM.
    pub certificate_env: Option<String>,
    /// Password of the key, when it is encrypted.
    #[schemars(with = "Option<String>")]
    pub password: Option<secret::Plain>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password.
    pub password_env: Option<String>,
    /// The resolved PEM.
    #[serde(skip)]
    #[schemars(skip)]
    pub resolved: Secret,
    /// The resolved password.
    #[serde(skip)]
    #[schemars(skip)]
    pub resolved_password: Option<Secret>,
}

/// A Kubernetes workload identity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkloadIdentity {
    /// The projected token's file; default: `AZURE_FEDERATED_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
}

/// An Azure managed identity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ManagedIdentity {
    /// Client id of a user-assigned identity; omitted: the system-assigned one.
    pub client_id: Option<String>,
}

/// A user's name and password.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MasterUser {
    /// User principal name.
    pub username: String,
    /// The password itself.
    #[schemars(with = "Option<String>")]
    pub password: Option<secret::Plain>,
    /// File with the password, re-read when it changes.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password.
    pub password_env: Option<String>,
    /// The resolved password.
    #[serde(skip)]
    #[schemars(skip)]
    pub resolved: Secret,
}

impl Principal {
    /// Where tokens are asked for, without the tenant.
    #[must_use]
    pub fn authority(&self) -> Url {
        self.authority_url
            .clone()
            .unwrap_or_else(|| self.cloud.hosts().authority)
    }

    /// The scope of the Entra token.
    #[must_use]
    pub fn scope(&self) -> String {
        self.scope
            .clone()
            .unwrap_or_else(|| self.cloud.hosts().scope.to_owned())
    }

    /// The root of the Power BI REST API, before `v1.0/myorg`.
    #[must_use]
    pub fn api_root(&self) -> Url {
        self.api_url
            .clone()
            .unwrap_or_else(|| self.cloud.hosts().api)
    }

    /// Hosts that an embed URL may name.
    #[must_use]
    pub fn embed_hosts(&self) -> Vec<String> {
        if self.embed_hosts.is_empty() {
            self.cloud
                .hosts()
                .embed_hosts
                .iter()
                .map(|&host| host.to_owned())
                .collect()
        } else {
            self.embed_hosts.clone()
        }
    }

    /// The master user's name, when this principal is one.
    #[must_use]
    pub fn master_user(&self) -> Option<&str> {
        self.credentials
            .iter()
            .find_map(|credential| match credential {
                Credential::MasterUser(user) => Some(user.username.as_str()),
                Credential::ClientSecret(_)
                | Credential::ClientCertificate(_)
                | Credential::WorkloadIdentity(_)
                | Credential::ManagedIdentity(_) => None,
            })
    }
}
