//! The audit record of one request while the request is under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{Audit, AuditRecord, Unavailable};
use crate::authn::Caller;
use crate::plan::EmbedPlan;
use crate::policy::{Access, Denied, Grant};
use crate::powerbi::{self, EmbedToken, Provenance};

/// Longest text of a caller's that a record keeps.
const MAX_TEXT: usize = 256;

/// Code of a record whose caller hung up before the answer.
const ABANDONED: &str = "abandoned";

/// The record of one request; filled by the stages, written once when the answer is known (or the caller gone).
#[derive(Clone)]
pub struct Recording(Arc<Draft>);

struct Draft {
    audit: Arc<Audit>,
    record: Mutex<Option<AuditRecord>>,
}

impl Recording {
    pub(super) fn new(audit: Arc<Audit>, record: AuditRecord) -> Self {
        Self(Arc::new(Draft {
            audit,
            record: Mutex::new(Some(record)),
        }))
    }

    /// Writes the record; `code` is `ok` or the problem's code.
    ///
    /// # Errors
    /// When records are required and the sink did not take this one: then no token may leave.
    pub async fn finish(&self, code: &'static str) -> Result<(), Unavailable> {
        let record = self.0.record().take();
        match record {
            Some(record) => self.0.audit.write(AuditRecord { code, ..record }).await,
            None => Ok(()),
        }
    }

    /// Why the request was refused, in the operator's words.
    pub fn reason(&self, reason: &impl ToString) {
        self.note(|record| record.reason = Some(reason.to_string()));
    }

    /// What an admitted caller asks for.
    pub(super) fn admitted(&self, items: &[String], target: Option<&str>) {
        self.note(|record| {
            record.admitted = true;
            record.items = items.iter().map(|item| clip(item)).collect();
            record.target = target.map(clip);
        });
    }

    pub(super) fn caller(&self, caller: &Caller) {
        self.note(|record| {
            record.issuer = Some(caller.issuer().to_owned());
            record.tid = caller.tenant().map(str::to_owned);
            record.sub = Some(caller.subject().to_owned());
        });
    }

    pub(super) fn granted(&self, grants: &[Grant]) {
        self.note(|record| {
            record.rule = rules(grants);
            record.access = grants.iter().map(Grant::access).max().map(access);
            record.principal = grants.first().map(|grant| grant.principal().to_owned());
            record.profile = grants.first().and_then(Grant::profile).map(str::to_owned);
        });
    }

    /// The rule that refused, where one did.
    pub(super) fn refused_by(&self, rule: &str) {
        self.note(|record| record.rule = Some(rule.into()));
    }

    pub(super) fn planned(&self, plan: &EmbedPlan) {
        self.note(|record| {
            record.identity = Some(Arc::clone(plan.identities()));
            if let Some(profile) = plan.profile_id() {
                record.profile = Some(profile.to_owned());
            }
        });
    }

    pub(super) fn issued(&self, token: &EmbedToken, provenance: Provenance) {
        self.note(|record| {
            record.token_id = Some(token.token_id().to_owned());
            record.token_sha256 = Some(token.sha256().to_owned());
            record.expiration = Some(token.expiration());
            record.source = Some(source(provenance));
            record.upstream_request_id = token.upstream_request_id().map(str::to_owned);
        });
    }

    /// Which call to Power BI failed.
    pub(super) fn failed_upstream(&self, error: &powerbi::Error) {
        if let Some(id) = error.upstream_request_id() {
            self.note(|record| record.upstream_request_id = Some(id.to_owned()));
        }
    }

    fn note(&self, change: impl FnOnce(&mut AuditRecord)) {
        if let Some(record) = self.0.record().as_mut() {
            change(record);
        }
    }
}

impl Draft {
    fn record(&self) -> MutexGuard<'_, Option<AuditRecord>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was dropped on the way (its caller hung up) has its record all the same.
impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(record) = self.record().take() {
            self.audit.write_detached(AuditRecord {
                code: ABANDONED,
                ..record
            });
        }
    }
}

/// Notes the rule that refused, where one did.
pub(super) fn note_refusal<T>(
    decided: Result<T, Denied>,
    recording: &Recording,
) -> Result<T, Denied> {
    decided.inspect_err(|denied| match denied {
        Denied::NotPermitted {
            rule: Some(rule), ..
        }
        | Denied::IdentityUnmappable { rule, .. } => {
            recording.refused_by(rule);
        }
        Denied::NotPermitted { rule: None, .. }
        | Denied::Unfit { .. }
        | Denied::NotCombinable { .. } => {}
    })
}

/// The rules that decided, without repeats.
fn rules(grants: &[Grant]) -> Option<Arc<str>> {
    let (first, others) = grants.split_first()?;
    let mut rules = vec![first.rule()];
    for grant in others {
        if !rules.contains(&grant.rule()) {
            rules.push(grant.rule());
        }
    }
    Some(match rules[..] {
        [only] => Arc::clone(only),
        _ => rules
            .iter()
            .map(|rule| &***rule)
            .collect::<Vec<_>>()
            .join(", ")
            .into(),
    })
}

/// Where a token came from.
pub(super) fn source(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Cached => "cached",
        Provenance::Minted => "minted",
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::View => "view",
        Access::Edit => "edit",
        Access::Create => "create",
    }
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
