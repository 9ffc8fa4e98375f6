//! Findings, one line each: how bad, about what, where, what was found, and what to do about it.

use std::fmt;

use crate::cli::print;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should know.
    Warning,
    /// It does not work.
    Failed,
}

/// What was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Issuer,
    Credential,
    Principal,
    Workspace,
    Item,
    Rule,
    Gateway,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) subject: Subject,
    /// Where: names and ids.
    pub(super) place: String,
    pub(super) cause: String,
    /// What to do; empty where all is well.
    pub(super) remedy: String,
}

/// Counts the findings and prints each as it comes.
#[derive(Default)]
pub(super) struct Report {
    ok: usize,
    warnings: usize,
    failed: usize,
}

impl Finding {
    pub(super) fn ok(subject: Subject, place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            subject,
            place: place.into(),
            cause: cause.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn warning(
        subject: Subject,
        place: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            remedy: remedy.into(),
            ..Self::ok(subject, place, cause)
        }
    }

    pub(super) fn failed(
        subject: Subject,
        place: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Failed,
            ..Self::warning(subject, place, cause, remedy)
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, finding: &Finding) {
        match finding.level {
            Level::Ok => self.ok += 1,
            Level::Warning => self.warnings += 1,
            Level::Failed => self.failed += 1,
        }
        print(&finding.to_string());
    }

    pub(super) fn add_all(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.add(finding);
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.warnings == 1 { "" } else { "s" };
        write!(
            f,
            "{} ok, {} warning{s}, {} FAILED",
            self.ok, self.warnings, self.failed
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!(
            "{:<8}{:<11}{}: {}",
            self.level.word(),
            self.subject.word(),
            self.place,
            self.cause
        );
        if !self.remedy.is_empty() {
            line = format!("{line}. Remedy: {}", self.remedy);
        }
        // Names come from elsewhere: a finding is one line whatever is in them.
        f.write_str(&line.replace(char::is_control, " "))
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

impl Subject {
    fn word(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Credential => "credential",
            Self::Principal => "principal",
            Self::Workspace => "workspace",
            Self::Item => "item",
            Self::Rule => "rule",
            Self::Gateway => "gateway",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Subject};

    #[test]
    fn a_finding_is_one_line_whatever_is_in_a_name() {
        let finding = Finding::failed(Subject::Workspace, "a\nb\u{1b}[2J", "gone", "look");
        assert_eq!(
            finding.to_string(),
            "FAILED  workspace  a b [2J: gone. Remedy: look"
        );
    }
}
