//! Secrets given as a value, a file or an environment variable.
//!
//! A [`Secret`] never shows its value in `Debug`. One that comes from a file is [read again](Secret::read_again) when
//! the file changes. Clones share their value: one that is [replaced](Secret::replace) is seen by all of them at their
//! next use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};

/// A secret that stands in the configuration itself.
#[derive(Clone)]
pub struct Plain(SecretString);

/// A resolved secret; clones share their value.
#[derive(Clone, Default)]
pub struct Secret(Arc<Cell>);

#[derive(Default)]
struct Cell {
    source: Source,
    value: ArcSwap<Value>,
}

#[derive(Clone, Default)]
enum Source {
    #[default]
    Unset,
    Inline(Plain),
    Env(String),
    File(PathBuf),
}

#[derive(Default)]
struct Value {
    text: SecretString,
    /// Counts the changes, so that what was derived from the secret can tell that it is out of date.
    version: u64,
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file or variable holds nothing.
    #[error("{0} is empty")]
    Empty(String),
    /// The environment variable is not set.
    #[error("environment variable {0} is not set")]
    MissingVariable(String),
}

impl Secret {
    /// A secret that stands in the configuration itself.
    #[must_use]
    pub fn inline(plain: &Plain) -> Self {
        Self::with(Source::Inline(plain.clone()), plain.0.clone())
    }

    /// A secret from an environment variable.
    ///
    /// # Errors
    /// When the variable is not set or empty.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the configuration is the one place that reads the environment"
        )]
        let text =
            std::env::var(name).map_err(|_| SecretError::MissingVariable(name.to_owned()))?;
        if text.is_empty() {
            return Err(SecretError::Empty(format!("environment variable {name}")));
        }
        Ok(Self::with(Source::Env(name.to_owned()), text.into()))
    }

    /// A secret from a file; one trailing line break is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        Ok(Self::with(Source::File(path.to_owned()), read(path)?))
    }

    fn with(source: Source, text: SecretString) -> Self {
        Self(Arc::new(Cell {
            source,
            value: ArcSwap::from_pointee(Value { text, version: 0 }),
        }))
    }

    /// The value as it is now.
    #[must_use]
    pub fn current(&self) -> SecretString {
        self.0.value.load().text.clone()
    }

    /// Grows with every change of the value.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.value.load().version
    }

    /// The file that it comes from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.0.source {
            Source::File(path) => Some(path),
            Source::Unset | Source::Inline(_) | Source::Env(_) => None,
        }
    }

    /// Whether both hold the same value.
    #[must_use]
    pub fn has_value_of(&self, other: &Self) -> bool {
        self.current().expose_secret() == other.current().expose_secret()
    }

    /// A secret of the same source with the value that its file holds now; those that share this one keep theirs.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub(super) fn read_again(&self) -> Result<Self, SecretError> {
        self.file()
            .map_or_else(|| Ok(self.clone()), Self::from_file)
    }

    /// Gives this secret, and all that share it, another value.
    pub(super) fn replace(&self, text: SecretString) {
        let version = self.version() + 1;
        self.0.value.store(Arc::new(Value { text, version }));
    }

    /// Takes the value that the file holds now; true when it is another one.
    #[cfg(test)]
    pub(crate) fn refresh(&self) -> Result<bool, SecretError> {
        let read = self.read_again()?;
        let changed = !self.has_value_of(&read);
        if changed {
            self.replace(read.current());
        }
        Ok(changed)
    }
}

fn read(path: &Path) -> Result<SecretString, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| {
        text.strip_suffix('\r').unwrap_or(text)
    });
    if text.is_empty() {
        return Err(SecretError::Empty(path.display().to_string()));
    }
    Ok(SecretString::from(text))
}

/// Equal when both come from the same source: a changed file is the same secret, rotated.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0.source, &other.0.source) {
            (Source::Unset, Source::Unset) => true,
            (Source::Inline(a), Source::Inline(b)) => a == b,
            (Source::Env(a), Source::Env(b)) => {
                a == b && self.current().expose_secret() == other.current().expose_secret()
            }
            (Source::File(a), Source::File(b)) => a == b,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.source {
            Source::Unset => f.write_str("Secret(unset)"),
            Source::Inline(_) => f.write_str("Secret([REDACTED])"),
            Source::Env(name) => write!(f, "Secret(from environment variable {name})"),
            Source::File(path) => write!(f, "Secret(from {})", path.display()),
        }
    }
}

impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Takes a string only: YAML turns an unquoted `1e5` or `007` into a number before anybody sees it, and a secret that
/// was changed on the way is worse than one that is refused.
impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Plain;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a secret as a string (put quotes around one that looks like a number)")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Plain, E> {
                if text.is_empty() {
                    return Err(E::custom("the secret is empty"));
                }
                Ok(Plain(text.into()))
            }
            // The default messages would print the value.
            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Plain, E> {
                Err(E::custom("a secret must be a string: put quotes around it"))
            }
            fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Plain, E> {
                Err(E::custom("a secret must be a string: put quotes around it"))
            }
            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Plain, E> {
                Err(E::custom("a secret must be a string: put quotes around it"))
            }
            fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Plain, E> {
                Err(E::custom("a secret must be a string: put quotes around it"))
            }
        }
        deserializer.deserialize_any(Text).map_err(D::Error::custom)
    }
}
