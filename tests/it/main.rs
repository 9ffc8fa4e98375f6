//! The broker as its users meet it: real router, real clients, simulated services over loopback.
//!
//! ONE binary, so that it links once. A file is named after the module whose promises it keeps.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attacks;
mod audit;
mod catalogue;
mod contract_cli;
mod contract_config;
mod contract_http;
mod copies;
mod credentials;
mod deploy;
mod doctor;
mod faults;
mod http;
mod kinds;
mod observability;
mod openapi;
mod overload;
mod pipeline;
mod principals;
mod redis;
mod reload;
mod samples;
mod shutdown;
mod support;
mod withdrawal;
