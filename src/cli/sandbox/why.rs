//! The decision as JSON, for the demo page of the sandbox.

use serde_json::{Value, json};
use time::OffsetDateTime;

use embed_broker_sandbox::Question;

use crate::authn::Caller;
use crate::cli::explain::refusal;
use crate::policy::{Ask, Grant, Policy, RuleOutcome, RuleTrace, TableTrace};

/// How `policy` decides, for a caller of its first issuer.
pub(super) fn why(policy: &Policy, question: Question) -> Value {
    let issuer = policy.issuers().first().cloned().unwrap_or_default();
    let in_an_hour = OffsetDateTime::now_utc() + time::Duration::HOUR;
    let caller = Caller::assumed(&issuer, question.claims, in_an_hour);
    let access = question
        .access
        .and_then(|access| serde_json::from_value(Value::String(access)).ok());
    let ask = Ask {
        items: vec![question.item],
        access,
        ..Ask::default()
    };
    let traces = policy.explain(&caller, &ask).into_iter();
    let mut answers = traces.map(|trace| {
        let granted = trace.outcome.as_ref().ok();
        json!({
            "rules": trace.rules.iter().map(rule).collect::<Vec<_>>(),
            "tables": trace.tables.iter().map(table).collect::<Vec<_>>(),
            "access": granted.map(Grant::access),
            "refusal": trace.outcome.as_ref().err().map(refusal),
        })
    });
    answers.next().unwrap_or_default()
}

fn rule(trace: &RuleTrace) -> Value {
    let (outcome, cause) = match &trace.outcome {
        RuleOutcome::Matched => ("matched", None),
        RuleOutcome::ConditionFalse => ("condition_false", None),
        RuleOutcome::Failed(cause) => ("failed", Some(cause)),
        RuleOutcome::NotForThisItem => ("not_for_this_item", None),
        RuleOutcome::NotReached => ("not_reached", None),
    };
    json!({ "rule": trace.rule, "outcome": outcome, "cause": cause })
}

fn table(trace: &TableTrace) -> Value {
    json!({ "table": trace.table, "key": trace.key.as_ref().ok(), "row": trace.row })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Surroundings;

    const POLICY: &str = "
tables: { tenant: { key: claims.tid, rows: { contoso: { workspace: w1 } } } }
items: { sales: { kind: report, workspace: { cel: tenant.workspace }, report: Sales } }
rules:
  - { name: blocked, items: ['*'], when: \"has(claims.suspended)\", deny: true }
  - { name: viewers, items: [sales], when: \"claims.sub == 'ana'\", identity: none }
  - { name: others, items: [sales], identity: none }
";

    fn ask(claims: Value, item: &str) -> Value {
        let surroundings = Surroundings {
            issuers: vec!["login".into()],
            principals: [("default".to_owned(), false)].into(),
            ..Surroundings::default()
        };
        let policy = Policy::parse(POLICY, &surroundings).unwrap();
        let Value::Object(claims) = claims else {
            unreachable!("claims are an object")
        };
        let (item, access) = (item.to_owned(), Some("view".to_owned()));
        why(
            &policy,
            Question {
                claims,
                item,
                access,
            },
        )
    }

    #[test]
    fn a_decision_is_told_rule_by_rule() {
        let told = ask(json!({"sub": "ana", "tid": "contoso"}), "sales");
        let outcomes = ["condition_false", "matched", "not_reached"];
        for (index, outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(told["rules"][index]["outcome"], outcome, "{told:#}");
        }
        assert_eq!(told["tables"][0]["row"]["workspace"], "w1");
        assert_eq!(
            (&told["access"], &told["refusal"]),
            (&json!("view"), &Value::Null)
        );
    }

    #[test]
    fn a_refusal_is_told_with_its_cause() {
        let told = ask(json!({"sub": "ana", "suspended": true}), "sales");
        assert_eq!(told["rules"][0]["outcome"], "matched");
        assert_eq!(told["access"], Value::Null);
        let refusal = told["refusal"].as_str().unwrap();
        assert!(
            refusal.starts_with("403 not_permitted") && refusal.contains("denies"),
            "{refusal}"
        );
        let told = ask(json!({"sub": "ana"}), "no-such-item");
        assert!(told["refusal"].is_string(), "{told:#}");
    }
}
