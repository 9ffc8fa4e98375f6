//! `explain`: which rule decides for a caller, as which identity, and the exact GenerateToken request. No network.
//!
//! The claims are taken on trust and the facts about the item are assumed, or told by `--facts` and flags; decision and
//! plan are the very code that serves requests.

mod facts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use secrecy::SecretString;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Failure, block_on, print};
use crate::app;
use crate::authn::Caller;
use crate::config::Config;
use crate::plan::{Circumstances, EmbedPlan};
use crate::policy::{Access, Ask, Denied, Grant, Policy, RuleOutcome, Trace};

/// Stands in for an identity blob, which only a real request has.
const BLOB: &str = "<the header's value>";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON file with the claims of a caller's token.
    #[arg(long, value_name = "FILE")]
    claims: PathBuf,
    /// The item asked for.
    #[arg(long)]
    item: String,
    /// The issuer's configured name; default: the first.
    #[arg(long)]
    issuer: Option<String>,
    /// The right asked for.
    #[arg(long, value_enum)]
    access: Option<AccessArg>,
    /// Ask for "save a copy".
    #[arg(long)]
    save_as: bool,
    /// Which report, for an item with `report: "*"`.
    #[arg(long)]
    target: Option<String>,
    #[command(flatten)]
    facts: facts::Args,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AccessArg {
    View,
    Edit,
    Create,
}

pub(super) fn run(file: &Path, args: &Args) -> Result<(), Failure> {
    let config = super::check::load(file)?;
    let (policy, minters) = block_on(async { Ok(app::policy(&config).await?) })?;
    let caller = caller(&config, args)?;
    let ask = Ask {
        items: vec![args.item.clone()],
        access: args.access.map(AccessArg::into),
        save_as: args.save_as,
        target: args.target.clone(),
    };
    let mut text = String::new();
    for trace in policy.explain(&caller, &ask) {
        let _ = decision(&mut text, &caller, &trace);
        match &trace.outcome {
            Err(denied) => {
                let _ = writeln!(text, "\nanswer       {}", refusal(denied));
            }
            Ok(grant) => {
                let minter = minters.get(grant.principal()).ok_or_else(|| {
                    anyhow!("principal `{}` is not configured", grant.principal())
                })?;
                let blobs = blobs(&policy);
                let circumstances = Circumstances {
                    minter,
                    lifetime: config.tokens.lifetime,
                    session_ends: config
                        .tokens
                        .bind_to_caller_session
                        .then(|| caller.expires_at()),
                    blobs: &blobs,
                    now: OffsetDateTime::now_utc(),
                };
                let _ = plan(&mut text, grant, &args.facts, &circumstances)?;
            }
        }
    }
    print(text.trim_end());
    Ok(())
}

fn caller(config: &Config, args: &Args) -> anyhow::Result<Caller> {
    let file = args.claims.display();
    let text =
        std::fs::read_to_string(&args.claims).with_context(|| format!("cannot read {file}"))?;
    let claims: Map<String, Value> = serde_json::from_str(&text)
        .with_context(|| format!("{file} is no JSON object of claims"))?;
    let names: Vec<String> = config
        .authn
        .issuers
        .iter()
        .map(crate::config::Issuer::name)
        .collect();
    let issuer = match &args.issuer {
        Some(name) if names.contains(name) => name.clone(),
        Some(name) => {
            return Err(anyhow!(
                "issuer `{name}` is not configured; there are: {}",
                names.join(", ")
            ));
        }
        None => names.into_iter().next().unwrap_or_default(),
    };
    let exp = claims.get("exp").and_then(Value::as_i64);
    let expires_at = exp.and_then(|exp| OffsetDateTime::from_unix_timestamp(exp).ok());
    let in_an_hour = OffsetDateTime::now_utc() + time::Duration::HOUR;
    Ok(Caller::assumed(
        &issuer,
        claims,
        expires_at.unwrap_or(in_an_hour),
    ))
}

fn blobs(policy: &Policy) -> BTreeMap<String, SecretString> {
    policy
        .blob_headers()
        .iter()
        .map(|name| (name.clone(), SecretString::from(BLOB)))
        .collect()
}

fn decision(text: &mut String, caller: &Caller, trace: &Trace) -> std::fmt::Result {
    writeln!(text, "item         {}", trace.item)?;
    writeln!(
        text,
        "caller       {} of issuer {}",
        caller.subject(),
        caller.issuer()
    )?;
    writeln!(text, "\nrules, first match wins")?;
    for rule in &trace.rules {
        let outcome = match &rule.outcome {
            RuleOutcome::Matched => "MATCHED".to_owned(),
            RuleOutcome::ConditionFalse => "when is false".to_owned(),
            RuleOutcome::Failed(cause) => format!("when FAILED, which denies: {cause}"),
            RuleOutcome::NotForThisItem => "not for this item".to_owned(),
            RuleOutcome::NotReached => "not reached".to_owned(),
        };
        writeln!(text, "  {:24} {outcome}", rule.rule)?;
    }
    for table in &trace.tables {
        let key = table.key.as_ref().map_or_else(
            |cause| format!("no key: {cause}"),
            |key| format!("key `{key}`"),
        );
        let row = table
            .row
            .as_ref()
            .map_or_else(|| "no row".to_owned(), Value::to_string);
        writeln!(text, "table        {}: {key}: {row}", table.table)?;
    }
    if let Some(place) = &trace.place {
        writeln!(text, "workspace    {}", place.workspace)?;
        writeln!(text, "principal    {}", place.principal)?;
        writeln!(
            text,
            "profile      {}",
            place.profile.as_deref().unwrap_or("none")
        )?;
    }
    Ok(())
}

pub(super) fn refusal(denied: &Denied) -> String {
    let status = match denied {
        Denied::NotPermitted { .. } => "403 not_permitted",
        Denied::Unfit { .. } => "400 invalid_request",
        Denied::NotCombinable { .. } => "400 items_not_combinable",
        Denied::IdentityUnmappable { .. } => "422 identity_unmappable",
    };
    format!("{status}: {denied}")
}

fn plan(
    text: &mut String,
    grant: &Grant,
    facts: &facts::Args,
    circumstances: &Circumstances<'_>,
) -> anyhow::Result<std::fmt::Result> {
    let identity = serde_json::to_string_pretty(&grant.identity())?;
    let (artifact, told) = facts.artifact(grant)?;
    let _ = writeln!(
        text,
        "right        {}",
        serde_json::to_string(&grant.access())?.trim_matches('"')
    );
    let _ = writeln!(
        text,
        "\nidentity that the rule gives\n{}",
        indent(&identity)
    );
    let _ = writeln!(
        text,
        "\nfacts{}\n{}",
        if told {
            ""
        } else {
            " (assumed: tell others by --facts FILE)"
        },
        facts::show(&artifact)
    );
    Ok(
        match EmbedPlan::build(std::slice::from_ref(grant), &[artifact], circumstances) {
            Err(refusal) => writeln!(
                text,
                "\nanswer       refused, nothing would be minted: {refusal}"
            ),
            Ok(plan) => {
                let body: Value = serde_json::from_slice(plan.body())?;
                writeln!(
                    text,
                    "\nPOST v1.0/myorg/{}\n{}",
                    plan.path(),
                    indent(&serde_json::to_string_pretty(&body)?)
                )
            }
        },
    )
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl From<AccessArg> for Access {
    fn from(access: AccessArg) -> Self {
        match access {
            AccessArg::View => Self::View,
            AccessArg::Edit => Self::Edit,
            AccessArg::Create => Self::Create,
        }
    }
}
