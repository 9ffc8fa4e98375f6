//! `doctor`: asks the configured services whether what `check` found in order also works.
//!
//! In the order of a request: issuers, credentials, Power BI's doors, workspaces, items, and what each rule gives against
//! the security that it meets. Nothing is changed, no embed token leaves the process, and what can be known only of a
//! caller is not guessed. One line a finding; exit code 1 when any failed.

mod causes;
mod gateways;
mod items;
mod principals;
mod report;
mod workspaces;

use std::path::Path;

use anyhow::anyhow;
use futures_util::stream::{self, StreamExt as _};

use super::{Failure, block_on, check, print};
use crate::app::{self, Services};
use crate::policy::Survey;
use crate::telemetry;
use report::{Finding, Report, Subject};

/// Workspaces or items under examination at once.
const AT_ONCE: usize = 4;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many rows of each look-up table are looked at, spread over the table.
    #[arg(long, value_name = "N", default_value_t = 10)]
    rows: usize,
    /// Also log, as the configuration's `telemetry` says: at level debug with Power BI's own words.
    #[arg(long)]
    log: bool,
}

pub(super) fn run(file: &Path, args: &Args) -> Result<(), Failure> {
    let config = check::load(file)?;
    if args.log {
        telemetry::start(&config.telemetry);
    }
    block_on(async {
        let services = app::services(config).await?;
        let survey = services.policy.survey(args.rows);
        let report = examine(&services, &survey).await;
        print(&format!("\n{report}; {}", looked_at(&survey)));
        match report.failed() {
            0 => Ok(()),
            1 => Err(anyhow!("1 finding FAILED").into()),
            failed => Err(anyhow!("{failed} findings FAILED").into()),
        }
    })
}

async fn examine(services: &Services, survey: &Survey) -> Report {
    let mut report = Report::default();
    principals::issuers(services, &mut report).await;
    let working = principals::principals(services, &mut report).await;
    let fit = workspaces::examine(services, survey, &working, &mut report).await;
    let items = survey
        .items
        .iter()
        .map(|item| items::examine(services, item, &fit));
    let mut items = stream::iter(items).buffered(AT_ONCE);
    while let Some(findings) = items.next().await {
        report.add_all(&findings);
    }
    for rule in &survey.idle_rules {
        report.add(&Finding::warning(
            Subject::Rule,
            &**rule,
            "it decides nothing: for each of its items an earlier rule always does",
            "move it up, or remove it",
        ));
    }
    report
}

/// How much of what depends on the caller was looked at.
fn looked_at(survey: &Survey) -> String {
    let mut parts: Vec<String> = survey
        .tables
        .iter()
        .map(|table| {
            format!(
                "{} of {} rows of table {}",
                table.rows, table.of, table.table
            )
        })
        .collect();
    parts.push(format!(
        "{} of {} cases led to a place",
        survey.cases_used, survey.cases
    ));
    format!("{} items; {}", survey.items.len(), parts.join("; "))
}
