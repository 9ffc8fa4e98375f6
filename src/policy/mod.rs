//! Stage 2: what may this caller embed, and as whom? [`Policy::decide`] turns a [`Caller`] and an [`Ask`] into one
//! [`Grant`] an item, or a [`Denied`].
//!
//! Pure and synchronous: no I/O, no clock. Deny by default: the first rule that matches an item decides it, an error
//! on the way ends with a refusal, and nothing that the request says reaches an identity, a workspace, a principal or
//! a profile.
//!
//! A policy comes from its file (`file`, `tables`) through `compile` into the shape that is decided with (`model`); then
//! `decide` asks a `session`, which evaluates what there is to evaluate for one caller, and fills a `permit` and an
//! `identity` into a grant; `copies` keeps saved reports apart from those that are found by name. `cases`, `trace` and `survey` run the same decision.

mod cases;
mod compile;
mod copies;
mod decide;
mod file;
mod grant;
mod identity;
mod limits;
mod model;
mod permit;
mod session;
mod survey;
mod tables;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub use grant::{
    Access, Content, DatasetSetting, DatasourceIdentity, Grant, Identity, ItemWorkspace, Kind,
    Security, WorkspaceVersion, Xmla,
};
pub use survey::{Origin, Place, Probe, Sampled, Survey, SurveyedItem};
pub use trace::{PlaceTrace, RuleOutcome, RuleTrace, TableTrace, Trace};

use crate::authn::Caller;
use crate::config::Mistake;
use crate::expr::Reads;
use session::Session;

/// A loaded policy; immutable.
pub struct Policy {
    files: Vec<PathBuf>,
    blob_headers: Vec<String>,
    issuers: Vec<String>,
    principals: BTreeSet<String>,
    tables: Vec<tables::Table>,
    items: Vec<model::Item>,
    by_name: HashMap<Arc<str>, usize>,
    rules: Vec<model::Rule>,
    copies: copies::Copies,
    /// What its expressions read of the claims.
    claims: Reads,
    cases: Vec<model::Case>,
}

/// What the rest of the configuration tells the policy loader.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Configured names of the issuers, in order.
    pub issuers: Vec<String>,
    /// Those of them that accept several tenants.
    pub multi_tenant_issuers: Vec<String>,
    /// Configured principals, with whether each is a master user.
    pub principals: BTreeMap<String, bool>,
    /// Request headers that carry the caller's own token, in lower case; no blob may come from them.
    pub credential_headers: Vec<String>,
}

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Names of catalogue items, as sent (repeats are folded by [`Policy::decide`]).
    pub items: Vec<String>,
    /// The right asked for; `None`: the kind's default.
    pub access: Option<Access>,
    /// Whether "save a copy" is asked for.
    pub save_as: bool,
    /// Which report, for an item with `report: "*"`.
    pub target: Option<String>,
}

/// Why an ask was refused. In the order in which they are checked for the whole request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No rule permits an item, it does not exist, or something on the way failed: one answer for all.
    #[error("item `{item}` is not permitted: {cause}")]
    NotPermitted {
        /// The item.
        item: String,
        /// The rule that ended the search, if one did.
        rule: Option<Arc<str>>,
        /// For the audit record and the log, never for the caller.
        cause: String,
    },
    /// The request does not fit the item (`target`, `access`, `save_as`); 400.
    #[error("the request does not fit item `{item}`: {problem}")]
    Unfit {
        /// The item.
        item: String,
        /// What does not fit; may be shown to the caller, who may see the item.
        problem: String,
    },
    /// The items cannot stand under one token; 400.
    #[error("the items cannot be combined: {problem}")]
    NotCombinable {
        /// Why; may be shown to the caller.
        problem: String,
    },
    /// The rule's identity cannot be made for this caller; 422.
    #[error("rule `{rule}` gives no usable identity for item `{item}`: {cause}")]
    IdentityUnmappable {
        /// The item.
        item: String,
        /// The rule.
        rule: Arc<str>,
        /// Expression and cause, for log and audit record.
        cause: String,
    },
}

/// One line of the catalogue as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Name of the item.
    pub item: String,
    /// Title for menus.
    pub title: String,
    /// Kind of the item.
    pub kind: Kind,
    /// Rights that this caller may ask for.
    pub access: Vec<Access>,
    /// Whether the request must name a `target`.
    pub needs_target: bool,
}

/// Without rows and rules: a policy may hold a hundred thousand of them.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("files", &self.files)
            .field("items", &self.items.len())
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

impl Policy {
    /// Reads, compiles and checks the policy at `path`, its tables and its cases.
    ///
    /// # Errors
    /// Every mistake, with file, line and remedy. A syntax or shape error may hide others.
    pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Self, Vec<Mistake>> {
        let label = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Mistake::new(
                &label,
                format!("cannot read the policy: {error}"),
                "check `policy_file` in the configuration; the path is relative to that file",
            )]
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut policy = compile::compile(&text, &label, Some(folder), surroundings)?;
        policy.files.insert(0, path.to_owned());
        Ok(policy)
    }

    /// Compiles and checks a policy that is no file, and so has no `rows_file`s: for tests and tools.
    ///
    /// # Errors
    /// Every mistake, as [`load`](Self::load).
    pub fn parse(text: &str, surroundings: &Surroundings) -> Result<Self, Vec<Mistake>> {
        compile::compile(text, "policy", None, surroundings)
    }

    /// The JSON Schema of policy files.
    #[must_use]
    pub(crate) fn json_schema() -> Value {
        file::schema()
    }

    /// Every file that the policy at `path` is made of, as far as it can be read: for the watch after a load that
    /// failed, perhaps for the sake of a table that no former policy named.
    #[must_use]
    pub fn files_of(path: &Path) -> Vec<PathBuf> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let tables = file::read(&text, "").map_or_else(|_| Vec::new(), |file| file.tables.0);
        let rows = tables
            .into_iter()
            .filter_map(|(_, table)| table.value.rows_file);
        std::iter::once(path.to_owned())
            .chain(rows.map(|file| folder.join(&file.0)))
            .collect()
    }

    /// Every file that the policy was read from (itself and its tables), for the reload watch.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Request headers (lower case) that carry identity blobs; CORS and the request extractor must let them in.
    #[must_use]
    pub fn blob_headers(&self) -> &[String] {
        &self.blob_headers
    }

    /// Configured names of the issuers that it was loaded with, in order.
    #[must_use]
    pub fn issuers(&self) -> &[String] {
        &self.issuers
    }

    /// How many items the catalogue has.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// How many rules there are.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// How many cases it brings.
    #[must_use]
    pub fn case_count(&self) -> usize {
        self.cases.len()
    }

    /// Decides what `caller` may do with each item asked for. One grant an item, repeats folded, in the order asked.
    ///
    /// # Errors
    /// See [`Denied`]; one item refused refuses the request.
    pub fn decide(&self, caller: &Caller, ask: &Ask) -> Result<Vec<Grant>, Denied> {
        Session::new(self, caller).decide(ask)
    }

    /// What `caller` may do with an item with `report: "*"`, before a target is chosen: for listing the targets. The
    /// report of its content is empty, so nothing can be minted for it.
    ///
    /// # Errors
    /// [`Denied::NotPermitted`], [`Denied::IdentityUnmappable`], and [`Denied::Unfit`] for an item that takes no target.
    pub fn decide_targets(&self, caller: &Caller, item: &str) -> Result<Grant, Denied> {
        Session::new(self, caller).decide_targets(item)
    }

    /// The items that `caller` may embed, in catalogue order. Items that fail on the way are left out, as if they did
    /// not exist.
    #[must_use]
    pub fn catalogue(&self, caller: &Caller) -> Vec<CatalogueEntry> {
        let mut session = Session::new(self, caller);
        let entries = self.items.iter().filter_map(|item| {
            let permit = session.permit(&item.name).ok()?;
            let access = permit.rights();
            (!access.is_empty()).then(|| CatalogueEntry {
                item: item.name.to_string(),
                title: item.title.clone(),
                kind: item.kind,
                access,
                needs_target: item.needs_target(),
            })
        });
        entries.collect()
    }

    fn item(&self, name: &str) -> Option<&model::Item> {
        self.by_name.get(name).map(|&index| &self.items[index])
    }
}

// === grants for the tests of later stages ===

#[cfg(test)]
pub(crate) mod test_grant;
