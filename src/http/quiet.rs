//! Keeps a flood of refused requests from filling the log.
//!
//! Refusals are cheap to provoke, and each has its line. Beyond [`LINES`] a second of one code they are held back and
//! counted; the next line of that code tells how many. Each code has its own allowance, so that a flood of one kind
//! hides no other.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::Code;
use crate::metrics;

/// Lines a second and code.
const LINES: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// What was logged lately, by code.
#[derive(Debug)]
pub(super) struct Quiet([Mutex<Window>; Code::ALL.len()]);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    held_back: u64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Quiet {
    /// Whether a line about `code` may be written at `now`, and how many were held back before it.
    pub(super) fn admit(&self, code: Code, now: Instant) -> Option<u64> {
        let mut window = self
            .0
            .get(code as usize)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now - began >= SECOND) {
            (window.began, window.lines) = (Some(now), 0);
        }
        if window.lines >= LINES {
            window.held_back += 1;
            metrics::log_line_held_back();
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_code_has_ten_lines_a_second_and_the_next_line_counts_the_rest() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        let lines = (0..1000).filter(|_| quiet.admit(Code::InvalidToken, now).is_some());
        assert_eq!(lines.count(), 10);
        let later = now + SECOND;
        assert_eq!(quiet.admit(Code::InvalidToken, later), Some(990));
        assert_eq!(quiet.admit(Code::InvalidToken, later), Some(0));
    }

    #[test]
    fn a_flood_of_one_code_hides_no_other() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        for _ in 0..1000 {
            quiet.admit(Code::InvalidToken, now);
        }
        for &code in Code::ALL {
            assert_eq!(
                quiet.admit(code, now).is_some(),
                code != Code::InvalidToken,
                "{code:?}"
            );
        }
    }
}
