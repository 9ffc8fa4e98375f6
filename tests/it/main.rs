//! The broker as its users meet it: real router, real clients, simulated services over loopback.
//!
//! ONE binary, so that it links once. A file is named after the module whose promises it keeps.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod audit;
mod catalogue;
mod credentials;
mod faults;
mod http;
mod layers;
mod observability;
mod openapi;
mod overload;
mod pipeline;
mod reload;
mod shutdown;
mod support;
mod withdrawal;
