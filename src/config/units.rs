//! Durations (`30s`, `15m`) and sizes (`64MiB`) as people write them.

use std::time::Duration;

use serde::de::{Deserialize as _, Deserializer, Error as _};

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "`{text}` is no duration ({error}); write it like 30s, 15m or 1h"
        ))
    })
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|error| {
            D::Error::custom(format!(
                "`{text}` is no size ({error}); write it like 512KiB or 64MiB"
            ))
        })
}
