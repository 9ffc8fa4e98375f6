//! Names and secrecy: everything that stands in Redis is named and encrypted with keys derived from the shared one.
//!
//! A value is `1 | nonce | AES-256-GCM(value)`, with its name and its plan as associated data: it opens under its own
//! plan, in its own place, and nowhere else. Names are HMACs, so that neither plans nor callers can be guessed from
//! them. Nonces are random: past 2^32 values (a hundred a second for a year and four months) a key should be changed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::{Redis, Secret};

/// Goes into every derivation and before every value: what a later format writes, this one does not read.
const FORMAT: u8 = 1;
const LABEL: &[u8] = b"embed-broker shared cache 1";

/// The keys in use.
pub(super) struct Keys {
    /// Stores and names.
    pub(super) current: Key,
    /// Reads as well, during rotation.
    previous: Option<Key>,
    /// Of the secrets that they were derived from.
    versions: Vec<u64>,
}

/// What is derived from one shared key.
pub(super) struct Key {
    cipher: RandomizedNonceKey,
    names: hmac::Key,
    fingerprint: String,
}

/// What a name is for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Token,
    Lock,
    Rate,
}

impl Keys {
    /// Derives from the current value of `secrets`: the key, then the one of the rotation.
    pub(super) fn of(secrets: &[Secret]) -> Result<Self, &'static str> {
        // Before the values: a change in between is then seen at the next look.
        let versions = versions(secrets);
        let mut keys = secrets.iter().map(|secret| {
            let bytes = Redis::key_bytes(secret).ok_or("is not 32 bytes as hex or base64")?;
            Key::derive(&bytes).ok_or("cannot be used")
        });
        Ok(Self {
            current: keys.next().ok_or("is missing")??,
            previous: keys.next().transpose()?,
            versions,
        })
    }

    /// Whether they are what `secrets` hold now.
    pub(super) fn are_current(&self, secrets: &[Secret]) -> bool {
        self.versions == versions(secrets)
    }

    /// The current one first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

fn versions(secrets: &[Secret]) -> Vec<u64> {
    secrets.iter().map(Secret::version).collect()
}

impl Key {
    /// Of a [`fingerprint`](Self::fingerprint): the HMAC as base64.
    pub(super) const FINGERPRINT_LENGTH: usize = 43;

    fn derive(shared: &[u8; 32]) -> Option<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(shared);
        let part = |purpose: &'static [u8]| {
            let mut bytes = [0; 32];
            let purposes = [purpose];
            let okm = root.expand(&purposes, hkdf::HKDF_SHA256).ok()?;
            okm.fill(&mut bytes).ok()?;
            Some(bytes)
        };
        let names = hmac::Key::new(hmac::HMAC_SHA256, &part(b"names")?);
        Some(Self {
            cipher: RandomizedNonceKey::new(&AES_256_GCM, &part(b"values")?).ok()?,
            fingerprint: encode(&hmac::sign(&names, b"fingerprint")),
            names,
        })
    }

    /// Tells keys apart without telling anything about them.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The name of what is kept for `parts`.
    pub(super) fn name(&self, prefix: &str, kind: Kind, parts: &[&[u8]]) -> String {
        let kind = match kind {
            Kind::Token => "token",
            Kind::Lock => "lock",
            Kind::Rate => "rate",
        };
        let mut hash = hmac::Context::with_key(&self.names);
        for part in std::iter::once(&kind.as_bytes()).chain(parts) {
            // Length first, so that no two lists of parts give the same bytes.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("{prefix}{kind}:{}", encode(&hash.sign()))
    }

    pub(super) fn seal(&self, name: &str, plan: &[u8; 32], value: &[u8]) -> Option<Vec<u8>> {
        let mut ciphertext = value.to_vec();
        let nonce = self
            .cipher
            .seal_in_place_append_tag(associated(name, plan), &mut ciphertext)
            .ok()?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + ciphertext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&ciphertext);
        Some(sealed)
    }

    /// The value, if it was sealed with this key for this name and plan.
    pub(super) fn open(&self, name: &str, plan: &[u8; 32], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (&mut format, rest) = sealed.split_first_mut()?;
        let (nonce, ciphertext) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        if format != FORMAT {
            return None;
        }
        let nonce = Nonce::from(&*nonce);
        let value = self
            .cipher
            .open_in_place(nonce, associated(name, plan), ciphertext)
            .ok()?;
        Some(value.to_vec())
    }
}

/// What a value is bound to. The name has no length before it, but the plan after it always has the same.
fn associated(name: &str, plan: &[u8; 32]) -> Aad<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(plan);
    Aad::from(bytes)
}

fn encode(tag: &hmac::Tag) -> String {
    URL_SAFE_NO_PAD.encode(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];

    fn key() -> Key {
        Key::derive(&A).unwrap()
    }

    #[test]
    fn a_value_opens_under_its_own_name_plan_and_key_only() {
        let sealed = key().seal("name", &A, b"value").unwrap();
        let open = |key: &Key, name, plan, sealed: &[u8]| key.open(name, plan, sealed.to_vec());
        let value = open(&key(), "name", &A, &sealed);
        assert_eq!(value.as_deref(), Some(b"value".as_slice()));
        assert_eq!(open(&key(), "other", &A, &sealed), None, "name");
        assert_eq!(open(&key(), "name", &B, &sealed), None, "plan");
        let other = Key::derive(&B).unwrap();
        assert_eq!(open(&other, "name", &A, &sealed), None, "key");
    }

    /// Replicas of different releases share values during a rolling update. Made by Node's `crypto`.
    #[test]
    fn names_and_values_have_the_form_that_other_releases_read() {
        let name = key().name("p:", Kind::Token, &[&A]);
        assert_eq!(name, "p:token:wx8186SClRDOPU1tz1ld1L60zQE6xzTtCeADIkBmT6M");
        let fingerprint = "5RHN7rg6_cBfhx3hR1I1x9gF6t4RrYudXzCgnehi7Rg";
        assert_eq!(key().fingerprint(), fingerprint);
        let sealed = "AQABAgMEBQYHCAkKCzqGkCe0P_juYkaZOCrVRn3YhJvUpA";
        let sealed = URL_SAFE_NO_PAD.decode(sealed).unwrap();
        let value = key().open(&name, &A, sealed);
        assert_eq!(value.as_deref(), Some(b"value".as_slice()));
    }

    #[test]
    fn a_rotation_while_keys_are_derived_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let write = |round: u32| std::fs::write(&path, format!("{round:064x}")).unwrap();
        write(0);
        let secrets = [Secret::from_file(&path).unwrap()];
        for round in 1..=2_000 {
            write(round);
            let start = std::sync::Barrier::new(2);
            let keys = std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    secrets[0].refresh().unwrap()
                });
                start.wait();
                Keys::of(&secrets).unwrap_or_else(|problem| panic!("{problem}"))
            });
            if keys.are_current(&secrets) {
                let newest = Keys::of(&secrets).unwrap_or_else(|problem| panic!("{problem}"));
                assert_eq!(keys.current.fingerprint(), newest.current.fingerprint());
            }
        }
    }

    #[test]
    fn a_value_with_any_bit_changed_or_missing_does_not_open() {
        let sealed = key().seal("name", &A, b"value").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key().open("name", &A, changed), None, "byte {at}");
            assert_eq!(key().open("name", &A, sealed[..at].to_vec()), None, "{at}");
        }
    }

    #[test]
    fn two_seals_of_one_value_differ_and_show_nothing_of_it() {
        let value = [7; 64];
        let (first, second) = (key().seal("n", &A, &value), key().seal("n", &A, &value));
        assert_ne!(first, second);
        assert!(!first.unwrap().windows(4).any(|part| part == [7; 4]));
    }

    #[test]
    fn names_differ_by_kind_parts_and_key_and_repeat_otherwise() {
        let name = |kind, parts: &[&[u8]]| key().name("p:", kind, parts);
        let one = name(Kind::Rate, &[b"ab", b"c"]);
        assert_eq!(one, name(Kind::Rate, &[b"ab", b"c"]));
        assert!(one.starts_with("p:rate:") && one.len() == 7 + 43, "{one}");
        assert_ne!(one, name(Kind::Rate, &[b"a", b"bc"]));
        let hash = |name: &str| name.rsplit(':').next().unwrap().to_owned();
        let lock = name(Kind::Lock, &[b"ab", b"c"]);
        assert_ne!(hash(&one), hash(&lock), "kinds do not share hashes");
        let other = Key::derive(&B).unwrap();
        assert_ne!(one, other.name("p:", Kind::Rate, &[b"ab", b"c"]));
    }
}
