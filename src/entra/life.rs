//! Is a token long enough to mint from?
//!
//! An embed token lives no longer than the Entra token that mints it ("Generate an embed token", powerbi-docs), so an
//! Entra token is old long before it expires: below `tokens.min_lifetime` it is renewed first, shortly above in the
//! background. One that is young is kept as it is: whoever issued it has nothing better at the moment.

use std::time::Duration;

use time::OffsetDateTime;

use crate::cached::Need;

/// Too short to do anything with.
pub(super) const SPENT: Duration = Duration::from_secs(5);

/// While a token is this young, another one would be no better: a tenant's own short policy, or a managed identity's
/// platform, which gives out the same ageing token again.
pub(super) const YOUNG: Duration = Duration::from_secs(60);

/// Before the minimum is reached, how much earlier is renewed in the background, at most.
pub(super) fn margin(min_lifetime: Duration) -> Duration {
    (min_lifetime / 10).min(Duration::from_secs(5 * 60))
}

/// What is left of a token.
pub(super) fn left(expires_at: OffsetDateTime) -> Duration {
    (expires_at - OffsetDateTime::now_utc())
        .try_into()
        .unwrap_or(Duration::ZERO)
}

/// What a token with `left` needs, `age` after it was fetched.
pub(super) fn need(left: Duration, age: Duration, min: Duration, margin: Duration) -> Need {
    if left <= SPENT {
        Need::Replacement
    } else if age < YOUNG {
        Need::Nothing
    } else if left < min {
        Need::Newer
    } else if left < min + margin {
        Need::Renewal
    } else {
        Need::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn need_follows_life_and_age() {
        let s = Duration::from_secs;
        for (left, age, expected) in [
            (3600, 0, Need::Nothing),
            (3600, 600, Need::Nothing),
            (1981, 600, Need::Nothing),
            (1979, 600, Need::Renewal),
            (1800, 600, Need::Renewal),
            (1799, 600, Need::Newer),
            (6, 600, Need::Newer),
            (5, 600, Need::Replacement),
            (0, 0, Need::Replacement),
            // Fresh and short: used as it is, and tried again only after a while.
            (600, 0, Need::Nothing),
            (600, 59, Need::Nothing),
            (600, 60, Need::Newer),
        ] {
            assert_eq!(
                need(s(left), s(age), s(1800), s(180)),
                expected,
                "{left} s left, {age} s old"
            );
        }
    }

    #[test]
    fn the_margin_is_a_tenth_and_at_most_five_minutes() {
        assert_eq!(
            margin(Duration::from_secs(30 * 60)),
            Duration::from_secs(180)
        );
        assert_eq!(
            margin(Duration::from_secs(90 * 60)),
            Duration::from_secs(300)
        );
    }
}
