//! What may stand under one token. Checked before the plan itself, since it is the request that does not fit (400),
//! not policy or Power BI (422); what it says may therefore be shown to the caller.

use std::collections::BTreeMap;

use super::artifact::Artifact;
use super::item::{declared, is_v1};
use super::{Circumstances, Refusal};
use crate::policy::{Grant, Identity, Kind, Security};

/// Checks what grants and facts alone can tell.
pub(super) fn check(
    grants: &[Grant],
    artifacts: &[Artifact],
    circumstances: &Circumstances<'_>,
) -> Result<(), Refusal> {
    if grants.is_empty() || grants.len() != artifacts.len() {
        return refuse("there must be facts for each of at least one item");
    }
    let minter = circumstances.minter.name.as_str();
    if grants.iter().any(|grant| grant.principal() != minter) {
        return refuse("they belong to different principals");
    }
    if artifacts
        .iter()
        .any(|artifact| artifact.profile_id != artifacts[0].profile_id)
    {
        return refuse("they belong to different service principal profiles");
    }
    if let (Some(alone), [_, _, ..]) = (grants.iter().find(|grant| is_v1(grant)), grants) {
        return refuse(&format!("`{}` needs a token of its own", alone.item()));
    }
    copies_are_granted(grants)?;
    one_identity_a_dataset(grants, artifacts)
}

/// Rules that give one dataset different identities, or an identity and none, would leave it to Power BI which wins.
fn one_identity_a_dataset(grants: &[Grant], artifacts: &[Artifact]) -> Result<(), Refusal> {
    let mut given: BTreeMap<String, (&Grant, Option<&Identity>)> = BTreeMap::new();
    for (grant, artifact) in grants.iter().zip(artifacts) {
        for dataset in &artifact.datasets {
            let identity = match declared(grant, artifact, dataset).security {
                Security::None => None,
                Security::Auto
                | Security::CloudRls
                | Security::Rdl
                | Security::AsOnPremises
                | Security::AsAzure
                | Security::Sso
                | Security::SsoCloudRls => grant.identity_for(&dataset.id),
            };
            let (other, first) = *given
                .entry(dataset.id.to_ascii_lowercase())
                .or_insert((grant, identity));
            if first != identity {
                return refuse(&format!(
                    "`{}` and `{}` give one dataset different identities",
                    other.item(),
                    grant.item()
                ));
            }
        }
    }
    Ok(())
}

/// A target workspace lets its holder save a copy of any report under the same token (Power BI ties reports and
/// targets to the token, not to each other): what brings one never stands beside a report without that right.
fn copies_are_granted(grants: &[Grant]) -> Result<(), Refusal> {
    let target = grants
        .iter()
        .find(|grant| grant.kind() == Kind::CreateReport || grant.save_as());
    let guarded = grants.iter().find(|grant| match grant.kind() {
        Kind::Report => !grant.save_as(),
        Kind::Visual => true,
        Kind::PaginatedReport | Kind::Dashboard | Kind::Tile | Kind::Qna | Kind::CreateReport => {
            false
        }
    });
    if let (Some(target), Some(guarded)) = (target, guarded) {
        return refuse(&format!(
            "with `{}` a copy of `{}` could be saved",
            target.item(),
            guarded.item()
        ));
    }
    Ok(())
}

fn refuse<T>(problem: &str) -> Result<T, Refusal> {
    Err(Refusal::NotCombinable(problem.into()))
}
