//! The kinds of credential, and how each gets a token.
//!
//! Every fetch builds a new `azure_identity` credential: theirs cache a token to its last five minutes, which would
//! leave embed tokens of five minutes. Secrets are read when they are used, so that a rotated file counts at once.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as AzureSecret, TokenCredential};
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport as Pipe};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId,
};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::AccessToken;
use super::assertion::Rotating;
use super::codes::Class;
use super::failure::Failure;
use super::transport::{Destination, Transport, unwrap};
use crate::config::{self, Mistake, Secret};
use crate::outbound::Outbound;

/// The one identity that all credentials of a principal prove.
pub(super) struct Application {
    pub(super) tenant_id: String,
    pub(super) client_id: String,
    pub(super) scope: String,
    /// Where its tokens come from, and the audience of its assertions.
    pub(super) token_url: Url,
    pub(super) outbound: Outbound,
}

/// One way in which a principal proves itself.
pub(super) enum Credential {
    Secret {
        secret: Secret,
        expires: Option<OffsetDateTime>,
    },
    Certificate(Box<Rotating>),
    Federated(Option<PathBuf>),
    Managed(Option<String>),
    Password {
        username: String,
        password: Secret,
    },
}

impl Application {
    /// # Errors
    /// An authority that is no web address, or would carry secrets in the clear.
    pub(super) fn new(
        principal: &config::Principal,
        outbound: &Outbound,
        place: &str,
    ) -> Result<Self, Mistake> {
        let mut token_url = principal.authority();
        let mistake = |problem| {
            Mistake::new(
                format!("{place}.authority_url"),
                problem,
                "use https, as in https://login.microsoftonline.com/",
            )
        };
        if !config::secure_or_loopback(&token_url) {
            return Err(mistake(
                "secrets would travel in the clear: it is neither https nor on this machine",
            ));
        }
        token_url.set_query(None);
        token_url.set_fragment(None);
        token_url
            .path_segments_mut()
            .map_err(|()| mistake("it is not a web address"))?
            .pop_if_empty()
            .extend([principal.tenant_id.as_str(), "oauth2", "v2.0", "token"]);
        Ok(Self {
            tenant_id: principal.tenant_id.clone(),
            client_id: principal.client_id.clone(),
            scope: principal.scope(),
            token_url,
            outbound: outbound.clone(),
        })
    }

    fn entra(&self) -> Transport {
        Transport::new(&self.outbound, Destination::Entra(self.token_url.clone()))
    }
}

impl Credential {
    /// # Errors
    /// A certificate that cannot be used, or a date that is none.
    pub(super) fn new(credential: &config::Credential, place: &str) -> Result<Self, Mistake> {
        Ok(match credential {
            config::Credential::ClientSecret(c) => Self::Secret {
                secret: c.resolved.clone(),
                expires: parse_expiry(c.expires.as_deref(), place)?,
            },
            config::Credential::ClientCertificate(c) => {
                let rotating =
                    Rotating::new(&c.resolved, c.resolved_password.as_ref()).map_err(|error| {
                        let key = match (&c.certificate_file, &c.certificate_env) {
                            (Some(_), _) => "certificate_file",
                            (None, Some(_)) => "certificate_env",
                            (None, None) => "certificate",
                        };
                        let (problem, remedy) = error.split();
                        Mistake::new(format!("{place}.{key}"), problem, remedy)
                    })?;
                Self::Certificate(Box::new(rotating))
            }
            config::Credential::WorkloadIdentity(c) => {
                Self::Federated(c.token_file.clone().or_else(config::federated_token_file))
            }
            config::Credential::ManagedIdentity(c) => Self::Managed(c.client_id.clone()),
            config::Credential::MasterUser(c) => Self::Password {
                username: c.username.clone(),
                password: c.resolved.clone(),
            },
        })
    }

    /// The word that the configuration uses for it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "client_secret",
            Self::Certificate(_) => "client_certificate",
            Self::Federated(_) => "workload_identity",
            Self::Managed(_) => "managed_identity",
            Self::Password { .. } => "master_user",
        }
    }

    /// Grows with every change of its secret.
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Secret { secret, .. } => secret.version(),
            Self::Certificate(rotating) => rotating.version(),
            Self::Federated(_) | Self::Managed(_) => 0,
            Self::Password { password, .. } => password.version(),
        }
    }

    /// When it expires, as far as anybody knows.
    pub(super) fn expires_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Secret { expires, .. } => *expires,
            Self::Certificate(rotating) => Some(rotating.current().not_after()),
            Self::Federated(_) | Self::Managed(_) | Self::Password { .. } => None,
        }
    }

    /// A new token.
    pub(super) async fn fetch(&self, app: &Application) -> Result<AccessToken, Failure> {
        match self {
            Self::Secret { secret, .. } => {
                let secret = AzureSecret::new(secret.current().expose_secret().to_owned());
                let options = ClientSecretCredentialOptions {
                    client_options: client_options(app.entra()),
                };
                let credential = ClientSecretCredential::new(
                    &app.tenant_id,
                    app.client_id.clone(),
                    secret,
                    Some(options),
                );
                token_of(credential, &app.scope).await
            }
            Self::Certificate(rotating) => {
                let assertion = rotating
                    .current()
                    .assertion(
                        &app.client_id,
                        app.token_url.as_str(),
                        OffsetDateTime::now_utc(),
                    )
                    .map_err(|error| {
                        Failure::new(Class::Permanent, "certificate", error.to_string())
                    })?;
                by_assertion(app, assertion).await
            }
            Self::Federated(file) => by_assertion(app, federated_token(file.as_ref()).await?).await,
            Self::Managed(client_id) => by_machine(app, client_id.as_ref()).await,
            Self::Password { username, password } => by_password(app, username, password).await,
        }
    }
}

fn parse_expiry(expires: Option<&str>, place: &str) -> Result<Option<OffsetDateTime>, Mistake> {
    expires
        .map(|text| OffsetDateTime::parse(text, &Rfc3339))
        .transpose()
        .map_err(|_| {
            Mistake::new(
                format!("{place}.expires"),
                "it is not a date",
                "write it as in 2027-01-31T00:00:00Z",
            )
        })
}

/// Our transport, no retries of theirs (the store has its own), and an authority that no environment variable
/// replaces; the transport overrides it anyway.
fn client_options(transport: Transport) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = "https://authority.invalid/".into();
    ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Pipe::new(Arc::new(transport))),
        cloud: Some(Arc::new(CloudConfiguration::from(cloud))),
        ..ClientOptions::default()
    }
}

async fn token_of<C: TokenCredential>(
    credential: azure_core::Result<Arc<C>>,
    scope: &str,
) -> Result<AccessToken, Failure> {
    let credential = credential.map_err(|error| unwrap(&error))?;
    let token = credential
        .get_token(&[scope], None)
        .await
        .map_err(|error| unwrap(&error))?;
    Ok(AccessToken::new(
        token.token.secret().to_owned().into(),
        token.expires_on,
    ))
}

async fn by_assertion(app: &Application, assertion: SecretString) -> Result<AccessToken, Failure> {
    let options = ClientAssertionCredentialOptions {
        client_options: client_options(app.entra()),
    };
    let credential = ClientAssertionCredential::new(
        app.tenant_id.clone(),
        app.client_id.clone(),
        Assertion(assertion),
        Some(options),
    );
    token_of(credential, &app.scope).await
}

async fn by_machine(app: &Application, client_id: Option<&String>) -> Result<AccessToken, Failure> {
    let transport = Transport::new(&app.outbound, Destination::Machine);
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.cloned().map(UserAssignedId::ClientId),
        client_options: client_options(transport),
    };
    token_of(ManagedIdentityCredential::new(Some(options)), &app.scope).await
}

/// The resource owner password grant, which `azure_identity` does not have.
async fn by_password(
    app: &Application,
    username: &str,
    password: &Secret,
) -> Result<AccessToken, Failure> {
    let password = password.current();
    let form = [
        ("grant_type", "password"),
        ("client_id", app.client_id.as_str()),
        ("scope", app.scope.as_str()),
        ("username", username),
        ("password", password.expose_secret()),
    ];
    let reply = app.entra().post(&form).await?;
    Ok(AccessToken::new(reply.token, reply.expires_at))
}

/// The projected token, which Kubernetes renews: read anew for every fetch. Not by `azure_identity`'s own credential,
/// which would send a trailing line break along.
async fn federated_token(file: Option<&PathBuf>) -> Result<SecretString, Failure> {
    let unreadable =
        |remedy: String| Failure::new(Class::Permanent, "federated_token_file", remedy);
    let Some(path) = file else {
        return Err(unreadable(
            "set `token_file`, or label the pod azure.workload.identity/use: \"true\"".into(),
        ));
    };
    let text = tokio::fs::read_to_string(path).await.map_err(|error| {
        unreadable(format!(
            "cannot read {}: {error}: check the projected volume",
            path.display()
        ))
    })?;
    match text.trim() {
        "" => Err(unreadable(format!("{} is empty", path.display()))),
        token => Ok(token.into()),
    }
}

#[derive(Debug)]
struct Assertion(SecretString);

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.expose_secret().to_owned())
    }
}
