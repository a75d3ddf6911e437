//! Mistakes up to a limit: a file with a million of them is not what it claims to be.

use crate::base::{Mistakes, Place};

/// So many mistakes are noted, errors and warnings each.
const MISTAKES_MAX: usize = 1000;

/// What is wrong with a zone, as far as anybody would read on.
#[derive(Default)]
pub(super) struct Notes {
    mistakes: Mistakes,
    errors: usize,
    warnings: usize,
}

impl Notes {
    /// Notes an error; with `help`, how to mend it. Past the limit it only counts.
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>, help: Option<String>) {
        self.errors += 1;
        if self.errors <= MISTAKES_MAX {
            self.mistakes.error(place, message).maybe_help(help);
        }
        if self.errors == MISTAKES_MAX {
            self.mistakes.error(place, "too many mistakes; the rest is not told");
        }
    }

    /// Notes something that loads but deserves a thought.
    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>, help: Option<String>) {
        self.warnings += 1;
        if self.warnings <= MISTAKES_MAX {
            self.mistakes.warn(place, message).maybe_help(help);
        }
        if self.warnings == MISTAKES_MAX {
            self.mistakes.warn(place, "too many warnings; the rest is not told");
        }
    }

    /// Whether reading on would be of no use to anybody.
    pub(super) fn are_enough(&self) -> bool {
        self.errors >= MISTAKES_MAX
    }

    /// Whether there is an error among them.
    pub(super) fn are_fatal(&self) -> bool {
        self.errors > 0
    }

    pub(super) fn into_mistakes(self) -> Mistakes {
        self.mistakes
    }
}
