//! GenerateToken: one call, and what is asked of its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::client::{CallKind, Client, Request};
use super::{EmbedToken, Error, Minted, reads, wire};
use crate::guid::is_guid;
use crate::plan::EmbedPlan;

/// An expiration may lie that much beyond what was asked for: clocks differ. More is not what was asked for.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// What a mint needs of a plan, so that it can outlive the request.
pub(super) struct Order {
    request: Request,
    lifetime: Duration,
    now: OffsetDateTime,
    placed: Instant,
}

/// What is said of a token. Times are in whole seconds.
pub(super) struct Claimed {
    /// A JSON string, or so it should be.
    pub(super) token: Box<RawValue>,
    pub(super) token_id: String,
    pub(super) expiration: OffsetDateTime,
    pub(super) minted_at: OffsetDateTime,
    pub(super) upstream_request_id: Option<String>,
}

impl Order {
    /// # Errors
    /// A path that leaves the place of the call, which no plan has.
    pub(super) fn new(
        client: &Client,
        plan: &EmbedPlan,
        now: OffsetDateTime,
    ) -> Result<Self, Error> {
        let segments: Vec<&str> = plan.path().split('/').collect();
        let url = client
            .url(&segments)
            .ok_or_else(|| Error::ItemUnavailable {
                what: "GenerateToken".into(),
                cause: "an id holds characters that no id has".into(),
            })?;
        Ok(Self {
            request: Request {
                kind: CallKind::Mint,
                url,
                profile: plan.profile_id().map(Arc::from),
                body: Some(Bytes::clone(plan.body())),
            },
            lifetime: plan.lifetime(),
            now,
            placed: Instant::now(),
        })
    }

    /// The time.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.now + self.placed.elapsed()
    }

    /// Mints. `min_remaining` decides the slack.
    pub(super) async fn carry_out(
        &self,
        client: &Client,
        min_remaining: Duration,
        deadline: Instant,
    ) -> Result<EmbedToken, Error> {
        let answer = client
            .call(&self.request, deadline, |body| {
                let reply: wire::EmbedToken = reads::parse(CallKind::Mint, body)?;
                self.check(reply, min_remaining).map_err(str::to_owned)
            })
            .await?;
        Ok(EmbedToken(Arc::new(Minted {
            upstream_request_id: answer.request_id,
            ..answer.value
        })))
    }

    /// A token that another replica says it got for an equal order. What Power BI may not answer, nobody may.
    pub(super) fn accept(
        &self,
        claimed: Claimed,
        min_remaining: Duration,
    ) -> Result<EmbedToken, &'static str> {
        if !is_guid(&claimed.token_id) {
            return Err("it holds no token id");
        }
        if claimed.minted_at > self.now() + SKEW {
            return Err("it was minted in the future");
        }
        let minted = self.keeps_to(claimed, min_remaining)?;
        Ok(EmbedToken(Arc::new(minted)))
    }

    fn check(
        &self,
        reply: wire::EmbedToken,
        min_remaining: Duration,
    ) -> Result<Minted, &'static str> {
        let token = reply
            .token
            .ok_or("the reply to GenerateToken holds no token")?;
        let token_id = reply
            .token_id
            .filter(|id| is_guid(id))
            .ok_or("the reply to GenerateToken holds no token id")?;
        let expiration = reply
            .expiration
            .and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
            .map(|time| time.to_offset(time::UtcOffset::UTC))
            .ok_or("the reply to GenerateToken holds no expiration")?;
        let claimed = Claimed {
            token,
            token_id,
            expiration: whole_seconds(expiration),
            minted_at: whole_seconds(self.now()),
            upstream_request_id: None,
        };
        self.keeps_to(claimed, min_remaining)
    }

    /// That it is a token, and the bounds of its life.
    fn keeps_to(&self, claimed: Claimed, min_remaining: Duration) -> Result<Minted, &'static str> {
        let (minted_at, expiration) = (claimed.minted_at, claimed.expiration);
        if expiration <= minted_at {
            return Err("the new embed token has already expired: check this host's clock");
        }
        if expiration > minted_at + self.lifetime + SKEW {
            return Err("the new embed token lives longer than was asked for");
        }
        let life = (expiration - minted_at).unsigned_abs();
        let sha256 = match serde_json::from_str::<String>(claimed.token.get()) {
            Ok(token) if !token.is_empty() => hex::encode(Sha256::digest(token)),
            Ok(_) | Err(_) => return Err("the embed token is empty, or no string"),
        };
        Ok(Minted {
            token: claimed.token,
            sha256,
            token_id: claimed.token_id,
            expiration,
            at: minted_at,
            slack: Duration::from_secs(min_remaining.min(life / 2).as_secs()),
            upstream_request_id: claimed.upstream_request_id,
        })
    }
}

fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time - Duration::from_nanos(u64::from(time.nanosecond()))
}
