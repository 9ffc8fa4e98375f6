//! How each part of a generation is built from its section of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::generation::Generation;
use crate::audit::Audit;
use crate::authn::Verifier;
use crate::broker::RateLimit;
use crate::config::{AuditSink, Config, Issuer, Mistake, Mistakes, Principal};
use crate::entra::AccessTokens;
use crate::http::Edge;
use crate::outbound::Outbound;
use crate::plan::{Minter, MinterKind};
use crate::policy::{Policy, Surroundings};
use crate::powerbi::PowerBi;
use crate::shared_cache::SharedCache;

/// What the HTTP edge goes by.
pub(super) fn edge(config: &Config, policy: &Policy) -> Edge {
    Edge::new(
        &config.cors.allowed_origins,
        config.authn.token_header.as_deref(),
        config.authn.cookie.as_deref(),
        policy.blob_headers(),
    )
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

/// What callers are verified by: the former, when its section and the secrets that it names are unchanged.
pub(super) fn verifier(
    config: &Config,
    outbound: &Outbound,
    kept: Option<&Generation>,
) -> Result<Arc<Verifier>, Vec<Mistake>> {
    let former = kept.map(|kept| &kept.broker().verifier);
    let is_same =
        |former: &Config| former.authn == config.authn && config.verifies_by_secrets_of(former);
    match former {
        Some(former) if kept.is_some_and(|kept| is_same(&kept.config)) => Ok(Arc::clone(former)),
        _ => Verifier::new(&config.authn, outbound, former.map(|it| &**it)).map(Arc::new),
    }
}

/// Why a policy without cases does not take the place of one with some by itself. Cases stand at the end of the file: one
/// that somebody has begun to write, and has not finished, may lack them, and with them rules and conditions.
pub(super) fn refuse_loss_of_cases(policy: &Policy, former: &Policy) -> Option<Mistake> {
    let lost = policy.case_count() == 0 && former.case_count() > 0;
    lost.then(|| {
        let file = policy.files().first();
        let file = file.map_or_else(String::new, |file| format!("{} ", file.display()));
        let count = former.case_count();
        Mistake::new(
            format!("{file}cases"),
            format!("there are none any more, and the policy in force has {count}"),
            "write the cases, or send SIGHUP (or restart) to load the policy without any",
        )
    })
}

pub(super) fn outbound(config: &Config) -> Result<Outbound, Mistakes> {
    Outbound::new(&config.tls).map_err(|error| {
        let remedy = "name a PEM file that the broker's user may read";
        Mistakes(vec![Mistake::new(
            "tls.extra_ca_file",
            format!("{error:#}"),
            remedy,
        )])
    })
}

/// The way to Power BI. What a change of the configuration does not touch goes on with its tokens.
pub(super) fn upstream(
    config: &Config,
    outbound: &Outbound,
    shared: Option<Arc<SharedCache>>,
    kept: Option<&Generation>,
) -> Result<(Arc<AccessTokens>, Arc<PowerBi>), Vec<Mistake>> {
    let min_lifetime = config.tokens.min_lifetime;
    let kept = kept.filter(|p| {
        p.config.principals == config.principals && p.config.tokens.min_lifetime == min_lifetime
    });
    let tokens = match kept {
        Some(kept) => Arc::clone(&kept.access_tokens),
        None => Arc::new(AccessTokens::new(
            &config.principals,
            min_lifetime,
            outbound,
        )?),
    };
    let kept = kept.filter(|p| p.config.tokens == config.tokens && p.config.cache == config.cache);
    if let Some(kept) = kept {
        return Ok((tokens, Arc::clone(&kept.broker().powerbi)));
    }
    let powerbi = PowerBi::new(
        &config.principals,
        &config.cache,
        &config.tokens,
        Arc::clone(&tokens),
        outbound,
    );
    let powerbi = match shared {
        Some(shared) => powerbi.with_shared_cache(shared),
        None => powerbi,
    };
    Ok((tokens, Arc::new(powerbi)))
}

/// What replicas share, if they do: the former when its section and the trust are unchanged.
pub(super) fn shared_cache(
    config: &Config,
    previous: Option<&Generation>,
) -> Result<Option<Arc<SharedCache>>, Vec<Mistake>> {
    match (&config.cache.redis, previous) {
        (_, Some(previous)) if has_same_redis(config, previous) => {
            Ok(previous.shared_cache.clone())
        }
        (Some(redis), _) => SharedCache::new(redis, &config.tls).map(Arc::new).map(Some),
        (None, _) => Ok(None),
    }
}

fn has_same_redis(config: &Config, previous: &Generation) -> bool {
    let previous = &previous.config;
    previous.cache.redis == config.cache.redis && previous.tls == config.tls
}

/// The rate limit: the former, with its counts, when its section is unchanged and they are kept in the same place.
pub(super) fn rate(
    config: &Config,
    shared: Option<Arc<SharedCache>>,
    previous: Option<&Generation>,
) -> Arc<RateLimit> {
    let is_same = |previous: &&Generation| {
        has_same_redis(config, previous) && previous.config.rate_limit == config.rate_limit
    };
    match previous.filter(is_same) {
        Some(previous) => Arc::clone(&previous.broker().rate),
        None => Arc::new(RateLimit::new(&config.rate_limit).with_shared_cache(shared)),
    }
}

/// The audit trail: the former when its section is unchanged.
pub(super) fn audit(
    config: &Config,
    previous: Option<&Generation>,
) -> Result<Arc<Audit>, Vec<Mistake>> {
    if let Some(previous) = previous.filter(|it| it.config.audit == config.audit) {
        return Ok(Arc::clone(&previous.broker().audit));
    }
    let previous = previous.map(|previous| &*previous.broker().audit);
    Audit::open(&config.audit, previous).map_err(|error| {
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

/// The part, or what is wrong with it beside the other mistakes.
pub(super) fn collect<T>(
    result: Result<T, Vec<Mistake>>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    result.map_err(|more| mistakes.extend(more)).ok()
}
