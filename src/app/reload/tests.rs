//! The reloader step by step: each check is a call here, so that no test depends on time.

use secrecy::ExposeSecret as _;

use super::super::tests::{AUDITORS, Folder, HEAD, ONLY, VIEWERS, ben, policy};
use super::super::watch::UNCHANGED_CHECKS;
use super::*;

struct Broker {
    folder: Folder,
    reloader: Reloader,
}

impl Broker {
    /// A broker that has been running for a while.
    async fn start() -> Self {
        let folder = Folder::new();
        let (generation, watch) = folder.load().await.unwrap();
        let process = Arc::new(ProcessState::new(generation));
        let reloader = Reloader::new(process, folder.path("broker.yaml"), watch);
        let mut broker = Self { folder, reloader };
        broker.settle().await;
        assert_eq!(broker.number(), 1, "nothing has changed");
        broker
    }

    /// One check more than this loads what has changed before them.
    async fn checks(&mut self, number: u32) {
        for _ in 0..number {
            self.reloader.watch.check();
            self.reloader.load_what_is_due(false).await;
            self.reloader.report_file_that_keeps_changing();
        }
    }

    /// Enough checks for what has changed before them.
    async fn settle(&mut self) {
        self.checks(UNCHANGED_CHECKS + 1).await;
    }

    /// SIGHUP.
    async fn sighup(&mut self) {
        self.reloader.full_reload = Some(FullReload::default());
        self.reloader.load_what_is_due(true).await;
    }

    fn current(&self) -> Arc<Generation> {
        self.reloader.process.current()
    }

    fn number(&self) -> u64 {
        self.current().number
    }

    fn role(&self) -> String {
        ben(&self.current()).1.concat()
    }

    fn refused(&self) -> [String; 2] {
        let reloads = self.reloader.process.reloads();
        [&reloads.refused, &reloads.refused_policy].map(|it| it.clone().unwrap_or_default())
    }
}

fn secret(generation: &Generation, key: &str) -> String {
    let (_, secret) = generation.config.secrets().find(|it| it.0 == key).unwrap();
    secret.current().expose_secret().to_owned()
}

const CREDENTIAL: &str = "principals.default.credentials[0].secret";
const HMAC: &str = "authn.issuers[0].hmac_secret";

/// The same rights for ben, by another rule.
fn renamed() -> String {
    policy().replace("viewers", "regional")
}

#[tokio::test]
async fn half_of_a_policy_is_never_in_force_however_slowly_it_is_written() {
    let mut broker = Broker::start().await;
    let blocks = [&[HEAD, AUDITORS].concat(), ONLY, VIEWERS, "# end\n"];
    broker.folder.write("policy.yaml", "");
    for block in blocks {
        broker.folder.append("policy.yaml", block);
        broker.checks(UNCHANGED_CHECKS).await;
        assert_eq!((broker.role(), broker.number()), ("AMER".into(), 1));
    }
    broker.checks(1).await;
    assert_eq!((broker.role(), broker.number()), ("AMER".into(), 2));
    // What the first block alone would have given.
    broker.folder.write("policy.yaml", blocks[0]);
    broker.settle().await;
    assert_eq!(broker.role(), "Everything");
}

#[tokio::test]
async fn a_load_whose_files_change_while_they_are_read_starts_over() {
    let mut broker = Broker::start().await;
    broker.folder.write("policy.yaml", &renamed());
    for _ in 0..=UNCHANGED_CHECKS {
        broker.reloader.watch.check();
    }
    let what = Reread {
        policy: true,
        secrets: false,
    };
    let changes = broker.current().reread(what).await;
    assert!(changes.generation.is_some());
    // After the policy was read; whether the rows were read before or after, nobody knows.
    broker
        .folder
        .write("rows.yaml", "ben: { role: EMEA }\n# more\n");
    broker.reloader.take_changes(what, changes).await;
    assert_eq!(
        ben(&broker.current()),
        ("viewers".into(), vec!["AMER".into()])
    );
    broker.checks(UNCHANGED_CHECKS - 1).await;
    assert_eq!(broker.number(), 1);
    broker.settle().await;
    assert_eq!(
        ben(&broker.current()),
        ("regional".into(), vec!["EMEA".into()])
    );
    assert_eq!(broker.number(), 2);
}

#[tokio::test]
async fn a_sighup_whose_files_change_while_they_are_read_starts_over() {
    let mut broker = Broker::start().await;
    let current = broker.current();
    broker.reloader.full_reload = Some(FullReload::default());
    let file = broker.folder.path("broker.yaml");
    let reading = Generation::read(&file, Some(&current), &broker.reloader.files).await;
    broker.folder.append("secret", "-and-more");
    assert!(!broker.reloader.take_everything(reading).await);
    assert_eq!(broker.number(), 1);
    broker.settle().await;
    assert_eq!(broker.number(), 2);
    assert_eq!(
        secret(&broker.current(), CREDENTIAL),
        "first-secret-and-more"
    );
    broker.settle().await;
    assert_eq!(broker.number(), 2, "once only");
}

#[tokio::test]
async fn a_sighup_does_not_load_what_is_being_written() {
    let mut broker = Broker::start().await;
    broker.sighup().await;
    assert_eq!(broker.number(), 2, "at once, as nothing is being written");
    broker
        .folder
        .write("policy.yaml", &[HEAD, AUDITORS].concat());
    broker.sighup().await;
    broker.checks(UNCHANGED_CHECKS).await;
    // SIGHUPs do not make the checks come sooner.
    for _ in 0..10 {
        broker.sighup().await;
    }
    assert_eq!((broker.role(), broker.number()), ("AMER".into(), 2));
    broker
        .folder
        .append("policy.yaml", &[ONLY, VIEWERS].concat());
    broker.settle().await;
    assert_eq!((broker.role(), broker.number()), ("AMER".into(), 3));
}

#[tokio::test]
async fn rows_that_only_the_new_policy_names_must_be_settled_as_well() {
    let mut broker = Broker::start().await;
    broker.folder.write("new.yaml", "ben: { role: E }\n");
    let policy = renamed().replace("rows.yaml", "new.yaml");
    broker.folder.write("policy.yaml", &policy);
    for _ in 0..3 * UNCHANGED_CHECKS {
        broker.folder.append("new.yaml", "# still being written\n");
        broker.checks(1).await;
        assert_eq!(broker.number(), 1);
    }
    broker.settle().await;
    assert_eq!((broker.role(), broker.number()), ("E".into(), 2));
    // And from now on they are watched, and the former ones are not.
    broker.folder.write("new.yaml", "ben: { role: EMEA }\n");
    broker.folder.write("rows.yaml", "");
    broker.settle().await;
    assert_eq!((broker.role(), broker.number()), ("EMEA".into(), 3));
}

#[tokio::test]
async fn a_policy_that_has_lost_all_cases_is_loaded_on_sighup_only() {
    let mut broker = Broker::start().await;
    let (before, after) = HEAD.split_once("cases:").unwrap();
    let rules = after.split_once("rules:").unwrap().1;
    let without = [before, "rules:", rules, AUDITORS].concat();
    broker.folder.write("policy.yaml", &without);
    broker.settle().await;
    assert_eq!((broker.role(), broker.number()), ("AMER".into(), 1));
    let [_, refused] = broker.refused();
    for part in ["policy.yaml cases", "none any more", "has 1", "SIGHUP"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    broker.sighup().await;
    assert_eq!((broker.role(), broker.number()), ("Everything".into(), 2));
    assert_eq!(broker.refused(), ["", ""]);
    // One that never had any may go on without.
    let again = without.replace("Everything", "Nearly everything");
    broker.folder.write("policy.yaml", &again);
    broker.settle().await;
    assert_eq!(broker.role(), "Nearly everything");
}

#[tokio::test]
async fn a_refused_sighup_does_not_allow_a_policy_to_lose_its_cases_later() {
    let mut broker = Broker::start().await;
    broker.folder.append("broker.yaml", "nonsense: true\n");
    broker.sighup().await;
    broker.settle().await;
    assert!(broker.refused()[0].contains("nonsense"));
    let (before, _) = HEAD.split_once("cases:").unwrap();
    broker
        .folder
        .write("policy.yaml", &[before, "rules:\n", AUDITORS].concat());
    broker.settle().await;
    assert!(broker.refused()[1].contains("SIGHUP"));
    let text = std::fs::read_to_string(broker.folder.path("broker.yaml")).unwrap();
    broker
        .folder
        .write("broker.yaml", &text.replace("nonsense: true\n", ""));
    broker.settle().await;
    assert!(broker.refused()[0].contains("SIGHUP"));
    assert_eq!((broker.role(), broker.number()), ("AMER".into(), 1));
    broker.sighup().await;
    assert_eq!((broker.role(), broker.number()), ("Everything".into(), 2));
}

#[tokio::test]
async fn a_refused_configuration_keeps_out_neither_policy_nor_secrets() {
    let mut broker = Broker::start().await;
    broker.folder.append("broker.yaml", "nonsense: true\n");
    broker.sighup().await;
    broker.settle().await;
    broker.folder.write("rows.yaml", "ben: { role: EMEA }\n");
    broker.folder.write("secret", "second-secret");
    broker.settle().await;
    assert_eq!((broker.role(), broker.number()), ("EMEA".into(), 2));
    assert_eq!(secret(&broker.current(), CREDENTIAL), "second-secret");
    assert!(broker.refused()[0].contains("nonsense"));
}

#[tokio::test]
async fn half_of_a_secret_is_never_used() {
    let mut broker = Broker::start().await;
    let value = |broker: &Broker| secret(&broker.current(), CREDENTIAL);
    broker.folder.write("secret", "second");
    broker.checks(UNCHANGED_CHECKS).await;
    assert_eq!(value(&broker), "first-secret");
    broker.folder.append("secret", "-secret");
    broker.checks(UNCHANGED_CHECKS).await;
    assert_eq!(value(&broker), "first-secret");
    broker.checks(1).await;
    assert_eq!(value(&broker), "second-secret");
    // While a refused policy lies there, and while one is being written.
    broker.folder.write("policy.yaml", "nonsense");
    broker.settle().await;
    for number in 0..=UNCHANGED_CHECKS {
        broker
            .folder
            .append("policy.yaml", "# still being written\n");
        if number == 0 {
            broker.folder.write("secret", "third-secret!");
        }
        broker.checks(1).await;
    }
    assert_eq!(value(&broker), "third-secret!");
    assert_eq!(broker.number(), 1, "replaced in place");
}

#[tokio::test]
async fn what_callers_are_verified_by_changes_together_with_the_policy() {
    let mut broker = Broker::start().await;
    let before = broker.current();
    broker.folder.write("hmac", &"n".repeat(33));
    broker.folder.write("secret", "second-secret");
    broker.folder.write("policy.yaml", &renamed());
    broker.checks(UNCHANGED_CHECKS).await;
    assert_eq!(broker.number(), 1);
    broker.checks(1).await;
    let after = broker.current();
    assert_eq!(after.number, 2, "one step");
    assert_eq!(ben(&after).0, "regional");
    assert_eq!(secret(&after, HMAC), "n".repeat(33));
    // A request under way goes on with the keys that it began with; credentials are the same for all.
    assert_eq!(secret(&before, HMAC), "h".repeat(32));
    assert!(!Arc::ptr_eq(
        &before.broker().verifier,
        &after.broker().verifier
    ));
    assert_eq!(secret(&before, CREDENTIAL), "second-secret");
    assert!(Arc::ptr_eq(&before.access_tokens, &after.access_tokens));
    assert!(Arc::ptr_eq(
        &before.broker().powerbi,
        &after.broker().powerbi
    ));
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_reported_and_keep_nothing_else_out() {
    let mut broker = Broker::start().await;
    let before = broker.current();
    broker.folder.write("hmac", "tiny-secret");
    broker.folder.write("policy.yaml", &renamed());
    broker.settle().await;
    let after = broker.current();
    assert_eq!(ben(&after).0, "regional");
    assert_eq!(secret(&after, HMAC), "h".repeat(32));
    assert!(Arc::ptr_eq(
        &before.broker().verifier,
        &after.broker().verifier
    ));
    let faulty = broker.reloader.process.reloads().faulty_secrets.clone();
    assert!(faulty[HMAC].contains("32"), "{faulty:?}");
    assert!(!format!("{faulty:?}").contains("tiny-secret"));
    broker.folder.write("hmac", &"n".repeat(32));
    broker.settle().await;
    assert_eq!(secret(&broker.current(), HMAC), "n".repeat(32));
    assert!(broker.reloader.process.reloads().faulty_secrets.is_empty());
}

#[tokio::test]
async fn a_file_that_keeps_changing_is_reported() {
    let mut broker = Broker::start().await;
    let reported = |broker: &Broker| broker.reloader.process.reloads().keeps_changing.clone();
    for _ in 0..200 {
        broker
            .folder
            .append("policy.yaml", "# still being written\n");
        broker.checks(1).await;
    }
    assert_eq!(reported(&broker), Some(broker.folder.path("policy.yaml")));
    assert_eq!(broker.number(), 1);
    broker.settle().await;
    assert_eq!(reported(&broker), None);
    assert_eq!(broker.number(), 2);
}
