//! Tests of the policy, a file for each subject.

mod cases;
mod decide;
mod explain;
mod identity;
mod load;
mod oracle;
mod property;
mod support;
mod tables;
