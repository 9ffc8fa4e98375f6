//! `cache.redis`: its secrets, and what they must look like. Whoever re-reads one asks the same questions again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hex::FromHex as _;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::load::SecretReader;
use super::{Mistake, Redis, Secret, is_loopback};

/// Key paths of the keys, in their order.
const KEYS: [&str; 2] = ["cache.redis.key", "cache.redis.key_previous"];

const MAKE_A_KEY: &str = "make one with `openssl rand -hex 32`, the same for every replica";

impl Redis {
    /// The URL as it is now.
    ///
    /// # Errors
    /// What is wrong with it; never its text, which may hold a password.
    pub fn url(&self) -> Result<Url, &'static str> {
        let url =
            Url::parse(self.resolved_url.current().expose_secret()).map_err(|_| "is no URL")?;
        let encrypted = match url.scheme() {
            "rediss" | "valkeys" => true,
            "redis" | "valkey" => false,
            _ => return Err("is no redis:// or rediss:// URL"),
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err("names no host");
        }
        if url.query().is_some() || url.fragment().is_some() {
            // `#insecure` would switch the check of the certificate off.
            return Err("holds more than user, password, host, port and database");
        }
        let database = url.path().trim_matches('/');
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err("names a database that is no number");
        }
        if !encrypted && !self.allow_plaintext && !is_loopback(&host_as_http(&url)) {
            return Err("is not encrypted, and not to this machine");
        }
        Ok(url)
    }

    /// The 32 bytes of a key as it is now.
    #[must_use]
    pub fn key_bytes(key: &Secret) -> Option<[u8; 32]> {
        decode(&key.current())
    }

    /// Visits every secret with its key path.
    pub(super) fn visit_secrets(&mut self, visit: &mut impl FnMut(String, &mut Secret)) {
        visit("cache.redis.url".to_owned(), &mut self.resolved_url);
        for (place, key) in KEYS.into_iter().zip(&mut self.keys) {
            visit(place.to_owned(), key);
        }
    }

    pub(super) fn resolve(&mut self, reader: &mut SecretReader<'_>) {
        self.resolved_url = reader.required(
            "cache.redis.url",
            self.url.as_ref(),
            self.url_file.as_deref(),
            self.url_env.as_deref(),
        );
        let current = reader.required(
            "cache.redis.key",
            self.key.as_ref(),
            self.key_file.as_deref(),
            self.key_env.as_deref(),
        );
        let previous = reader.read(
            "cache.redis.key_previous",
            self.key_previous.as_ref(),
            self.key_previous_file.as_deref(),
            self.key_previous_env.as_deref(),
        );
        self.keys = std::iter::once(current).chain(previous).collect();
    }

    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut unless = |fine: bool, place: &str, problem: &str, remedy: &str| {
            if !fine {
                mistakes.push(Mistake::new(place, problem, remedy));
            }
        };
        let remedy = "write rediss://user:password@host:6380/0; redis:// is accepted to loopback hosts, or with \
                      allow_plaintext: true";
        let problem = self.url().err().unwrap_or_default();
        unless(problem.is_empty(), "cache.redis.url", problem, remedy);
        for (place, key) in KEYS.into_iter().zip(&self.keys) {
            let fine = Self::key_bytes(key).is_some();
            unless(fine, place, "is not 32 bytes as hex or base64", MAKE_A_KEY);
        }
        let printable = self.prefix.bytes().all(|b| b.is_ascii_graphic());
        unless(
            printable && (1..=64).contains(&self.prefix.len()),
            "cache.redis.prefix",
            "must be 1 to 64 printable ASCII characters",
            "name what shares it, such as embed-broker:production:",
        );
        unless(
            (Duration::from_millis(1)..=Duration::from_secs(5)).contains(&self.timeout),
            "cache.redis.timeout",
            "must be between 1ms and 5s",
            "a request waits that long before it does without: give what Redis needs on a bad day, such as 50ms",
        );
        unless(
            (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.lock_ttl),
            "cache.redis.lock_ttl",
            "must be between 100ms and 60s",
            "give what a slow mint takes, such as 5s",
        );
        mistakes
    }
}

/// `url` crate knows addresses as such in web schemes only.
fn host_as_http(url: &Url) -> Url {
    let host = url.host_str().unwrap_or_default();
    Url::parse(&format!("http://{host}/")).unwrap_or_else(|_| url.clone())
}

fn decode(text: &SecretString) -> Option<[u8; 32]> {
    let text = text.expose_secret().trim();
    if text.len() == 64 {
        return <[u8; 32]>::from_hex(text).ok();
    }
    let text = text.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text));
    bytes.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::Config;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    /// `cache.redis` with these settings, and what is wrong with it.
    fn read(settings: &str) -> (Option<Redis>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.yaml");
        std::fs::write(&path, format!("cache: {{ redis: {{ {settings} }} }}")).unwrap();
        let (config, mistakes) = Config::read(&path, Some(HashMap::new()));
        let ours = mistakes
            .iter()
            .filter(|m| m.place.starts_with("cache"))
            .map(|m| {
                assert!(!m.remedy.is_empty());
                format!("{} {}", m.place, m.problem)
            })
            .collect();
        (config.unwrap().cache.redis, ours)
    }

    #[test]
    fn urls_that_are_encrypted_or_stay_on_this_machine_are_accepted() {
        let mistakes = |url: &str, more: &str| {
            let (_, mistakes) = read(&format!("url: '{url}', key: '{KEY}' {more}"));
            mistakes.join("; ")
        };
        for good in [
            "rediss://redis.example.com",
            "rediss://user:p%40ss@redis.example.com:6380/3",
            "valkeys://valkey.example.com:6379",
            "redis://localhost:6379",
            "redis://:secret@127.0.0.1",
            "redis://[::1]:6379/0",
        ] {
            assert_eq!(mistakes(good, ""), "", "{good}");
        }
        for (bad, problem) in [
            ("redis://redis.example.com", "is not encrypted"),
            ("redis://127.0.0.1.example.com", "is not encrypted"),
            ("https://redis.example.com", "is no redis://"),
            ("redis.example.com:6379", "is no redis://"),
            ("unix:///run/redis.sock", "is no redis://"),
            ("rediss:///0", "names no host"),
            ("rediss://redis.example.com/#insecure", "holds more than"),
            ("rediss://redis.example.com/?protocol=resp3", "holds more"),
            ("rediss://redis.example.com/queue", "database"),
            ("secret", "is no URL"),
        ] {
            let said = mistakes(bad, "");
            assert!(
                said.starts_with("cache.redis.url ") && said.contains(problem),
                "{bad}: {said}"
            );
            assert!(!said.contains("secret"), "{said}");
        }
        assert_eq!(
            mistakes("redis://redis.example.com", ", allow_plaintext: true"),
            ""
        );
    }

    #[test]
    fn a_key_is_32_bytes_as_hex_or_base64() {
        let bytes = |key: &str| {
            let (redis, mistakes) = read(&format!("url: 'redis://localhost', key: '{key}'"));
            let key = Redis::key_bytes(&redis.unwrap().keys[0]);
            assert_eq!(
                key.is_none(),
                mistakes == ["cache.redis.key is not 32 bytes as hex or base64"]
            );
            key
        };
        let hex = bytes(KEY).unwrap();
        assert_eq!((hex[1], hex[31]), (0x11, 0xff));
        assert_eq!(
            bytes("ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8="),
            Some(hex)
        );
        assert_eq!(
            bytes("ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7v8"),
            Some(hex)
        );
        for bad in [
            &KEY[1..],
            &format!("{KEY}0"),
            &KEY.replace('0', "g"),
            "c2hvcnQ=",
            "password",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_key_path() {
        let (_, mistakes) = read("prefix: 'a b', timeout: 10s, lock_ttl: 1ms");
        assert_eq!(
            mistakes,
            [
                "cache.redis.url is missing",
                "cache.redis.key is missing",
                "cache.redis.prefix must be 1 to 64 printable ASCII characters",
                "cache.redis.timeout must be between 1ms and 5s",
                "cache.redis.lock_ttl must be between 100ms and 60s",
            ]
        );
        let url_and_key = format!("url: 'redis://localhost', key: '{KEY}'");
        let (_, mistakes) = read(&format!("{url_and_key}, key_previous: x"));
        let previous = "cache.redis.key_previous is not 32 bytes as hex or base64";
        assert_eq!(mistakes, [previous]);
        let (_, mistakes) = read("ttl: 5s");
        assert!(mistakes.concat().contains("unknown field"), "{mistakes:?}");
    }

    #[test]
    fn neither_url_nor_key_is_shown_by_debug() {
        let (redis, _) = read(&format!("url: 'redis://:s3cret@localhost', key: '{KEY}'"));
        let shown = format!("{redis:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("00112233"),
            "{shown}"
        );
    }

    #[test]
    fn null_is_no_shared_cache() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.yaml");
        std::fs::write(&path, "cache: { redis: null }").unwrap();
        let (config, _) = Config::read(&path, Some(HashMap::new()));
        assert_eq!(config.unwrap().cache.redis, None);
    }
}
