//! Verification against a loopback identity provider.

mod support;

mod attacks;
mod issuers;
mod rotation;
