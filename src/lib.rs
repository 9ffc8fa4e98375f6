//! embed-broker: from a signed-in caller to a Power BI embed token with the effective identity that policy gives.
//!
//! ```text
//!  POST /embed-token
//!        │ BearerToken
//!        ▼
//!     authn ── Caller ──► policy ── Grant ──► plan ── EmbedPlan ──► powerbi ── EmbedToken ──► answer
//!     (keys)              (rules)             ▲  (RLS matrix)         │   ▲
//!                                             └──── Artifact ─────────┘   └── entra (access tokens)
//! ```
//!
//! Each type can be made only by its stage, so whoever holds an `EmbedPlan` knows that verification, policy and
//! planning happened. Start reading in [`broker`].

pub mod app;
pub mod cli;
pub mod http;

pub mod broker;

// The request, in the order of its stages.
pub mod authn;
pub mod plan;
pub mod policy;
pub mod powerbi;

// What the stages stand on.
pub mod audit;
pub mod cached;
pub mod config;
pub mod entra;
pub mod expr;
mod guid;
pub mod metrics;
pub mod outbound;
pub mod shared_cache;
pub mod shared_task;
pub mod telemetry;
mod weight;
