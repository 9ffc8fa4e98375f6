//! A broker and its simulated upstream services, started for one test and gone with it.

pub(crate) mod contract;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod redis_server;
pub(crate) mod response;
pub(crate) mod test_app;
pub(crate) mod tokens;

pub(crate) use process::Process;
pub(crate) use response::Answer;
pub(crate) use test_app::Setup;
pub(crate) use test_app::{TestApp, eventually};
