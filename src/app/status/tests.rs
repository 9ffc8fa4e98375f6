//! What is measured apart from requests.

use super::*;
use crate::config::Config;
use embed_broker_sandbox::{Addresses, Options, Upstream, unpack};

async fn generation(upstream: &Upstream, folder: &std::path::Path) -> Generation {
    let free = "127.0.0.1:0".parse().unwrap();
    let addresses = Addresses {
        listen: free,
        ops_listen: free,
        upstream: upstream.url().to_owned(),
    };
    let files = unpack(folder, &addresses).unwrap();
    let config = Config::load(&files.config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let built = Generation::build(config, None).await;
    built.unwrap_or_else(|mistakes| panic!("{mistakes}")).0
}

async fn set_usage(upstream: &Upstream, percent: u32) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/sandbox/power_bi", upstream.url());
    let change = serde_json::json!({ "trial_usage": percent });
    let answer = client.put(url).json(&change).send().await.unwrap();
    assert!(answer.status().is_success());
}

#[tokio::test]
async fn the_trial_allowance_of_every_principal_is_asked_for() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let (generation, trial) = (generation(&upstream, folder.path()).await, Trial::default());
    for percent in [65, 80] {
        set_usage(&upstream, percent).await;
        ask_trial_usage(&generation, &trial).await;
        let names = generation.config.principals.keys().cloned();
        let expected: BTreeMap<_, _> = names.map(|name| (name, f64::from(percent))).collect();
        assert!(expected.len() > 1);
        assert_eq!(*trial.percents(), expected);
    }
}

#[tokio::test]
async fn an_allowance_that_cannot_be_asked_for_is_not_made_up() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let (generation, trial) = (generation(&upstream, folder.path()).await, Trial::default());
    ask_trial_usage(&generation, &trial).await;
    assert_eq!(trial.percents().len(), generation.config.principals.len());
    upstream.stop().await;
    ask_trial_usage(&generation, &trial).await;
    assert_eq!(*trial.percents(), BTreeMap::new());
}
