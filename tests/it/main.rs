//! The broker as its users meet it: real router, real clients, simulated services over loopback.
//!
//! ONE binary, so that it links once. A file is named after the module whose promises it keeps.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod catalogue;
mod credentials;
mod http;
mod layers;
mod openapi;
mod pipeline;
mod support;
mod withdrawal;
