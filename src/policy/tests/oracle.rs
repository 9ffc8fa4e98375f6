//! Policies made up at random, decided twice: by the code, and by a plain reading of the contract below. A grant is
//! exactly what the first matching rule and the item say, and every refusal is the right one.

mod made_up;

use proptest::prelude::*;
use serde_json::{Map, json};
use time::OffsetDateTime;

use super::super::*;
use super::support::{outcome, policy};
use made_up::{ask, claims, item, rules};

/// The rows of the table `t`: key, and what stands in the row.
const ROWS: &str =
    "{ a: { w: wa, p: pa, m: default, open: true }, b: { w: wb, p: null, m: other, open: false } }";

/// Every report, by id: what is found by name beside saved copies has tests of its own.
const REPORT: &str = "00000000-0000-4000-8000-000000000001";

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Always,
    Flag,
    Group(&'static str),
    Missing,
    Row,
    /// Names the table and does not mind when there is no row.
    RowOrNot,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Literal(&'static str),
    Regions,
    Subject,
}

#[derive(Clone, Debug)]
struct Who {
    by_email: bool,
    roles: Vec<Role>,
    custom_data: bool,
}

#[expect(
    clippy::option_option,
    reason = "an identity of its own may be that there is none"
)]
#[derive(Clone, Debug)]
struct Gift {
    access: Access,
    save_as: bool,
    who: Option<Who>,
    /// Of the dataset `d`.
    own: Option<Option<Who>>,
    minutes: Option<u64>,
}

#[derive(Clone, Debug)]
struct Rule {
    items: Vec<usize>,
    when: When,
    /// `None`: it denies.
    gift: Option<Gift>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a key of the item")]
#[derive(Clone, Copy, Debug)]
struct Item {
    kind: Kind,
    target: bool,
    by_row: bool,
    profile: Option<bool>,
    principal: bool,
    dataset: bool,
}

// === the policy as text ===

impl Item {
    fn yaml(self, name: usize) -> String {
        let report = if self.target { "'*'" } else { REPORT };
        let shown = match self.kind {
            Kind::Report => format!("kind: report, report: {report}"),
            Kind::PaginatedReport => format!("kind: paginated_report, report: {report}"),
            Kind::Dashboard => "kind: dashboard, dashboard: B".to_owned(),
            Kind::Visual => format!("kind: visual, report: {REPORT}, page: P, visual: V"),
            Kind::Qna => "kind: qna, dataset: D".to_owned(),
            Kind::Tile => "kind: tile, dashboard: B, tile: T".to_owned(),
            Kind::CreateReport => "kind: create_report, dataset: D, target_workspace: T".to_owned(),
        };
        let workspace = if self.by_row { "{ cel: t.w }" } else { "W" };
        let profile = match self.profile {
            None => "",
            Some(true) => ", profile: { cel: t.p }",
            Some(false) => ", profile: P",
        };
        let principal = if self.principal {
            ", principal: { cel: t.m }"
        } else {
            ""
        };
        let dataset = if self.dataset {
            ", datasets: [{ dataset: d }]"
        } else {
            ""
        };
        format!("  i{name}: {{ {shown}, workspace: {workspace}{profile}{principal}{dataset} }}\n")
    }

    fn uses_row(self) -> bool {
        self.by_row || self.principal || self.profile == Some(true)
    }
}

impl Who {
    fn yaml(who: Option<&Self>) -> String {
        let Some(who) = who else {
            return "none".to_owned();
        };
        let name = if who.by_email {
            "{ cel: claims.email }"
        } else {
            "fixed"
        };
        let role = |role: &Role| match role {
            Role::Literal(role) => (*role).to_owned(),
            Role::Regions => "{ cel: claims.regions }".to_owned(),
            Role::Subject => "{ cel: \"'X ' + claims.sub\" }".to_owned(),
        };
        let roles: Vec<String> = who.roles.iter().map(role).collect();
        let data = if who.custom_data {
            ", custom_data: { cel: claims.tid }"
        } else {
            ""
        };
        format!(
            "{{ username: {name}, roles: [{}]{data} }}",
            roles.join(", ")
        )
    }
}

impl Rule {
    fn yaml(&self, name: usize) -> String {
        let items: Vec<String> = self.items.iter().map(|item| format!("i{item}")).collect();
        let when = match self.when {
            When::Always => String::new(),
            When::Flag => "when: has(claims.f) && claims.f, ".to_owned(),
            When::Group(group) => format!("when: \"'{group}' in claims.g\", "),
            When::Missing => "when: claims.missing == 1, ".to_owned(),
            When::Row => "when: t.open, ".to_owned(),
            When::RowOrNot => "when: t.open || true, ".to_owned(),
        };
        let gives = match &self.gift {
            None => "deny: true".to_owned(),
            Some(gift) => {
                let own = gift.own.as_ref().map_or(String::new(), |own| {
                    format!(", dataset_identities: {{ d: {} }}", Who::yaml(own.as_ref()))
                });
                let lifetime = gift
                    .minutes
                    .map_or(String::new(), |minutes| format!(", lifetime: {minutes}m"));
                format!(
                    "access: {}, save_as: {}, identity: {}{own}{lifetime}",
                    json!(gift.access).as_str().unwrap(),
                    gift.save_as,
                    Who::yaml(gift.who.as_ref()),
                )
            }
        };
        format!(
            "  - {{ name: r{name}, items: [{}], {when}{gives} }}\n",
            items.join(", ")
        )
    }
}

// === the contract, read plainly ===

struct World<'a> {
    items: &'a [Item],
    rules: &'a [Rule],
    claims: &'a Map<String, Value>,
}

impl World<'_> {
    /// The caller's row: workspace, profile, principal, `open`.
    fn row(&self) -> Option<(&str, Option<&str>, &str, bool)> {
        match self.claims.get("tid")?.as_str()? {
            "a" => Some(("wa", Some("pa"), "default", true)),
            "b" => Some(("wb", None, "other", false)),
            _ => None,
        }
    }

    fn matches(&self, when: When) -> Result<bool, ()> {
        match when {
            When::Always | When::RowOrNot => Ok(true),
            When::Flag => match self.claims.get("f") {
                None => Ok(false),
                Some(Value::Bool(flag)) => Ok(*flag),
                Some(_) => Err(()),
            },
            When::Group(group) => match self.claims.get("g") {
                Some(Value::Array(groups)) => Ok(groups.contains(&json!(group))),
                _ => Err(()),
            },
            When::Missing => Err(()),
            When::Row => self.row().map(|(_, _, _, open)| open).ok_or(()),
        }
    }

    fn who(&self, who: Option<&Who>) -> Result<Option<Identity>, ()> {
        let Some(who) = who else { return Ok(None) };
        let text = |claim: &str| match self.claims.get(claim) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(()),
        };
        let mut roles: Vec<String> = Vec::new();
        for role in &who.roles {
            let more = match role {
                Role::Literal(role) => vec![json!(role)],
                Role::Subject => {
                    let subject = self.claims.get("sub").and_then(Value::as_str);
                    vec![json!(format!("X {}", subject.ok_or(())?))]
                }
                Role::Regions => match self.claims.get("regions") {
                    Some(Value::Array(regions)) => regions.clone(),
                    Some(region @ Value::String(_)) => vec![region.clone()],
                    _ => return Err(()),
                },
            };
            for role in more {
                let role = role
                    .as_str()
                    .filter(|role| !role.is_empty())
                    .ok_or(())?
                    .to_owned();
                if !roles.contains(&role) {
                    roles.push(role);
                }
            }
        }
        Ok(Some(Identity {
            username: Some(if who.by_email {
                text("email")?
            } else {
                "fixed".to_owned()
            }),
            roles,
            custom_data: if who.custom_data {
                Some(text("tid")?)
            } else {
                None
            },
            ..Identity::default()
        }))
    }

    /// What must come of it, and, when it is a grant, every part of that.
    fn decide(&self, index: usize, ask: &Ask) -> (&'static str, Option<Value>) {
        let item = self.items[index];
        let mut matching = None;
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.items.contains(&index) {
                match self.matches(rule.when) {
                    Err(()) => return ("403", None),
                    Ok(true) => {
                        matching = Some((number, rule));
                        break;
                    }
                    Ok(false) => {}
                }
            }
        }
        let Some((
            number,
            Rule {
                when,
                gift: Some(gift),
                ..
            },
        )) = matching
        else {
            return ("403", None);
        };
        // No expression of an identity names the table; the condition and the item may.
        if (item.uses_row() || matches!(when, When::Row | When::RowOrNot)) && self.row().is_none() {
            return ("403", None);
        }
        let row = self.row().unwrap_or_default();
        if item.profile == Some(true) && row.1.is_none() {
            return ("403", None);
        }
        let possible: &[Access] = match item.kind {
            Kind::Report | Kind::Visual => &[Access::View, Access::Edit],
            Kind::CreateReport => &[Access::Create],
            Kind::PaginatedReport | Kind::Dashboard | Kind::Tile | Kind::Qna => &[Access::View],
        };
        let asked = ask
            .access
            .filter(|access| possible.contains(access))
            .unwrap_or(possible[0]);
        let copies = ask.save_as && item.kind == Kind::Report;
        if asked > gift.access || (copies && !gift.save_as) {
            return ("403", None);
        }
        let fits = ask.access.is_none_or(|access| possible.contains(&access))
            && (!ask.save_as || item.kind == Kind::Report)
            && ask.target.is_some() == item.target;
        if !fits {
            return ("unfit", None);
        }
        let own = gift.own.as_ref().unwrap_or(&gift.who);
        let (Ok(identity), Ok(own)) = (self.who(gift.who.as_ref()), self.who(own.as_ref())) else {
            return ("422", None);
        };
        let granted = json!({
            "rule": format!("r{number}"), "access": asked, "save_as": ask.save_as,
            "workspace": if item.by_row { row.0 } else { "W" },
            "profile": item.profile.map(|by_row| if by_row { row.1.unwrap_or_default() } else { "P" }),
            "principal": if item.principal { row.2 } else { "default" },
            "identity": identity, "own": own, "seconds": gift.minutes.map(|minutes| minutes * 60),
            "datasets": if item.dataset { vec!["d"] } else { vec![] },
            "report": match item.kind {
                Kind::Report | Kind::PaginatedReport if item.target => json!(ask.target),
                Kind::Report | Kind::PaginatedReport | Kind::Visual => json!(REPORT),
                Kind::Dashboard | Kind::Tile | Kind::Qna | Kind::CreateReport => Value::Null,
            },
        });
        ("granted", Some(granted))
    }
}

fn parts(grant: &Grant) -> Value {
    let datasets: Vec<&str> = grant
        .datasets()
        .iter()
        .map(|it| it.dataset.as_str())
        .collect();
    json!({
        "rule": grant.rule(), "access": grant.access(), "save_as": grant.save_as(),
        "workspace": grant.workspace(), "profile": grant.profile(), "principal": grant.principal(),
        "identity": grant.identity(), "own": grant.identity_for("d"),
        "seconds": grant.lifetime().map(|lifetime| lifetime.as_secs()), "datasets": datasets,
        "report": match grant.content() {
            Content::Report { report } | Content::PaginatedReport { report } | Content::Visual { report, .. } => json!(report),
            Content::Dashboard { .. } | Content::Tile { .. } | Content::Qna { .. } | Content::CreateReport { .. } => Value::Null,
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_first_matching_rule_decides_and_gives_exactly_what_it_says(
        items in prop::collection::vec(item(), 3), rules in rules(), claims in claims(), ask in ask(),
    ) {
        let mut text = format!("tables:\n  t: {{ key: claims.tid, rows: {ROWS} }}\nitems:\n");
        text.extend(items.iter().enumerate().map(|(name, item)| item.yaml(name)));
        text.push_str("rules:\n");
        text.extend(rules.iter().enumerate().map(|(name, rule)| rule.yaml(name)));
        let policy = policy(&text);
        let caller = Caller::assumed("login", claims.clone(), OffsetDateTime::UNIX_EPOCH);
        let world = World { items: &items, rules: &rules, claims: &claims };

        for index in 0..items.len() {
            let one = Ask { items: vec![format!("i{index}")], ..ask.clone() };
            let decision = policy.decide(&caller, &one);
            let (expected, granted) = world.decide(index, &ask);
            prop_assert_eq!(outcome(&decision), expected, "i{}: {:?} of\n{}", index, &decision, &text);
            prop_assert_eq!(decision.ok().map(|grants| parts(&grants[0])), granted, "i{} of\n{}", index, &text);
        }

        // Together they get what each gets alone, or nothing.
        let all = Ask { items: (0..items.len()).map(|index| format!("i{index}")).collect(), ..ask.clone() };
        if let Ok(grants) = policy.decide(&caller, &all) {
            let together: Vec<_> = grants.iter().map(|grant| Some(parts(grant))).collect();
            let alone: Vec<_> = (0..items.len()).map(|index| world.decide(index, &ask).1).collect();
            prop_assert_eq!(together, alone);
        }
    }
}
