//! Tests of the policy, a file for each subject.

mod cases;
mod copies;
mod decide;
mod explain;
mod grants;
mod identity;
mod load;
mod oracle;
mod property;
mod support;
mod survey;
mod tables;
