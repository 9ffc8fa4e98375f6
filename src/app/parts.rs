//! Everything that a configuration builds. A rebuild keeps each part whose section is unchanged, with its caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::Audit;
use crate::authn::Verifier;
use crate::broker::{RateLimit, Remembered, Stages};
use crate::config::{AuditSink, Config, Issuer, Mistake, Mistakes, Principal};
use crate::entra::AccessTokens;
use crate::http::Edge;
use crate::metrics;
use crate::outbound::{Outbound, Purpose};
use crate::plan::{Minter, MinterKind};
use crate::policy::{Policy, Surroundings};
use crate::powerbi::PowerBi;
use crate::shared_cache::SharedCache;

/// What one configuration built.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) outbound: Outbound,
    /// Content of `tls.extra_ca_file`: a changed file is a changed trust, under the same name.
    extra_ca: Option<Vec<u8>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) shared: Option<Arc<SharedCache>>,
    pub(super) rate: Arc<RateLimit>,
    pub(super) policy: Arc<Policy>,
    pub(super) access_tokens: Arc<AccessTokens>,
    pub(super) powerbi: Arc<PowerBi>,
    pub(super) audit: Arc<Audit>,
}

impl Parts {
    /// Builds the parts of `config`, keeping those of `previous` that it does not change. The policy is read anew.
    ///
    /// # Errors
    /// Every mistake of every part.
    pub(super) async fn build(
        mut config: Config,
        previous: Option<&Self>,
    ) -> Result<Self, Mistakes> {
        if let Some(previous) = previous {
            config.keep_secrets_of(&previous.config);
        }
        // One that cannot be read is told of by whoever uses it.
        let extra_ca = config
            .tls
            .extra_ca_file
            .as_ref()
            .and_then(|file| std::fs::read(file).ok());
        let kept = previous.filter(|p| p.config.tls == config.tls && p.extra_ca == extra_ca);
        let outbound = match kept {
            Some(parts) => parts.outbound.clone(),
            None => outbound(&config)?,
        };
        let mut mistakes = Vec::new();
        let verifier = match kept.filter(|p| p.config.authn == config.authn) {
            Some(parts) => Some(Arc::clone(&parts.verifier)),
            None => collect(
                Verifier::new(&config.authn, &outbound, kept.map(|p| &*p.verifier)).map(Arc::new),
                &mut mistakes,
            ),
        };
        let same_redis =
            |p: &&Self| p.config.cache.redis == config.cache.redis && p.config.tls == config.tls;
        let shared = match (&config.cache.redis, previous.filter(same_redis)) {
            (_, Some(parts)) => parts.shared.clone(),
            (Some(redis), None) => {
                let shared = SharedCache::new(redis, &config.tls).map(Arc::new);
                collect(shared, &mut mistakes)
            }
            (None, None) => None,
        };
        let upstream = collect(
            upstream(&config, &outbound, shared.clone(), kept),
            &mut mistakes,
        );
        let policy = collect(load_policy(&config).await, &mut mistakes);
        let audit = match previous.filter(|p| p.config.audit == config.audit) {
            Some(parts) => Some(Arc::clone(&parts.audit)),
            None => collect(open_audit(&config, previous), &mut mistakes),
        };
        let same_rate = |p: &&Self| same_redis(p) && p.config.rate_limit == config.rate_limit;
        let rate = match previous.filter(same_rate) {
            Some(parts) => Arc::clone(&parts.rate),
            None => Arc::new(RateLimit::new(&config.rate_limit).with_shared_cache(shared.clone())),
        };
        let (Some(verifier), Some((access_tokens, powerbi)), Some(policy), Some(audit)) =
            (verifier, upstream, policy, audit)
        else {
            return Err(Mistakes(mistakes));
        };
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        Ok(Self {
            config,
            outbound,
            extra_ca,
            verifier,
            shared,
            rate,
            policy,
            access_tokens,
            powerbi,
            audit,
        })
    }

    /// What the broker's requests go through.
    pub(super) fn stages(&self) -> Stages {
        Stages {
            verifier: Arc::clone(&self.verifier),
            rate: Arc::clone(&self.rate),
            policy: Arc::clone(&self.policy),
            powerbi: Arc::clone(&self.powerbi),
            minters: minters(&self.config.principals),
            tokens: self.config.tokens.clone(),
            audit: Arc::clone(&self.audit),
            remembered: Remembered::default(),
        }
    }

    /// What the HTTP edge goes by.
    pub(super) fn edge(&self) -> Edge {
        Edge::new(
            &self.config.cors.allowed_origins,
            self.config.authn.token_header.as_deref(),
            self.config.authn.cookie.as_deref(),
            self.policy.blob_headers(),
        )
    }
}

/// What the policy loader must know of the rest of the configuration.
#[must_use]
pub fn surroundings(config: &Config) -> Surroundings {
    let token_header = config
        .authn
        .token_header
        .iter()
        .map(|name| name.to_ascii_lowercase());
    let issuers = &config.authn.issuers;
    Surroundings {
        issuers: issuers.iter().map(Issuer::name).collect(),
        multi_tenant_issuers: issuers
            .iter()
            .filter(|issuer| issuer.is_multi_tenant())
            .map(Issuer::name)
            .collect(),
        principals: config
            .principals
            .iter()
            .map(|(name, principal)| (name.clone(), principal.master_user().is_some()))
            .collect(),
        credential_headers: ["authorization".to_owned(), "cookie".to_owned()]
            .into_iter()
            .chain(token_header)
            .collect(),
    }
}

/// Reads and compiles off the runtime: a table may have a hundred thousand rows.
pub(super) async fn load_policy(config: &Config) -> Result<Arc<Policy>, Vec<Mistake>> {
    let (file, surroundings) = (config.policy_file.clone(), surroundings(config));
    let loaded = tokio::task::spawn_blocking(move || Policy::load(&file, &surroundings)).await;
    loaded
        .unwrap_or_else(|error| {
            let remedy = "report this as a bug, with the policy";
            Err(vec![Mistake::new(
                "policy_file",
                format!("the loader failed: {error}"),
                remedy,
            )])
        })
        .map(Arc::new)
}

fn outbound(config: &Config) -> Result<Outbound, Mistakes> {
    let outbound = Outbound::new(&config.tls).map_err(|error| {
        let remedy = "name a PEM file that the broker's user may read";
        Mistakes(vec![Mistake::new(
            "tls.extra_ca_file",
            format!("{error:#}"),
            remedy,
        )])
    })?;
    Ok(outbound.with_observer(Arc::new(|call| match call.purpose {
        Purpose::AccessToken(principal) => {
            metrics::entra(principal, call.outcome, call.duration);
        }
        Purpose::SigningKeys(issuer) => metrics::issuer(issuer, call.outcome, call.duration),
    })))
}

/// The way to Power BI. What a change of the configuration does not touch goes on with its tokens.
fn upstream(
    config: &Config,
    outbound: &Outbound,
    shared: Option<Arc<SharedCache>>,
    kept: Option<&Parts>,
) -> Result<(Arc<AccessTokens>, Arc<PowerBi>), Vec<Mistake>> {
    let min_lifetime = config.tokens.min_lifetime;
    let kept = kept.filter(|p| {
        p.config.principals == config.principals && p.config.tokens.min_lifetime == min_lifetime
    });
    let tokens = match kept {
        Some(parts) => Arc::clone(&parts.access_tokens),
        None => Arc::new(AccessTokens::new(
            &config.principals,
            min_lifetime,
            outbound,
        )?),
    };
    let kept = kept.filter(|p| p.config.tokens == config.tokens && p.config.cache == config.cache);
    if let Some(parts) = kept {
        return Ok((tokens, Arc::clone(&parts.powerbi)));
    }
    let powerbi = PowerBi::new(
        &config.principals,
        &config.cache,
        &config.tokens,
        Arc::clone(&tokens),
        outbound,
    )
    .with_observer(Arc::new(|call| {
        metrics::upstream(
            call.principal,
            call.kind.as_str(),
            call.outcome.as_str(),
            call.again,
            call.duration,
        );
    }));
    let powerbi = match shared {
        Some(shared) => powerbi.with_shared_cache(shared),
        None => powerbi,
    };
    Ok((tokens, Arc::new(powerbi)))
}

fn open_audit(config: &Config, previous: Option<&Parts>) -> Result<Arc<Audit>, Vec<Mistake>> {
    Audit::open(&config.audit, previous.map(|parts| &*parts.audit)).map_err(|error| {
        let place = match config.audit.sink {
            AuditSink::File => "audit.file",
            AuditSink::Stdout => "audit.sink",
        };
        vec![Mistake::new(
            place,
            format!("cannot be opened: {error}"),
            "let the broker's user write there",
        )]
    })
}

pub(super) fn minters(principals: &BTreeMap<String, Principal>) -> BTreeMap<String, Minter> {
    let minter = |(name, principal): (&String, &Principal)| {
        let kind = match principal.master_user() {
            Some(username) => MinterKind::MasterUser {
                username: username.to_owned(),
            },
            None => MinterKind::ServicePrincipal {
                object_id: principal.object_id.clone(),
            },
        };
        (
            name.clone(),
            Minter {
                name: name.clone(),
                tenant_id: principal.tenant_id.clone(),
                client_id: principal.client_id.clone(),
                api_root: principal.api_root().into(),
                kind,
            },
        )
    };
    principals.iter().map(minter).collect()
}

fn collect<T>(result: Result<T, Vec<Mistake>>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    result.map_err(|more| mistakes.extend(more)).ok()
}
