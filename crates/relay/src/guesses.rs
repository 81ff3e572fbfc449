//! Slows down whoever guesses labels, credentials or passwords.
//!
//! Budgets are for what was wrong only: right credentials always open, so that no stranger can lock an owner's app
//! out. A guess over budget is not answered with the truth but with 600 and a time to wait.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::Label;

use crate::budgets::{Budgets, Origin, Rate};

/// Wrong guesses of 160-bit secrets that one address may make at once, and how fast more become possible. Generous,
/// because a household or a phone network shares an address.
const SECRETS: Rate = Rate { burst: 100.0, per_second: 1.0 };
/// Tries at one connection's password from one address.
const PASSWORDS: Rate = Rate { burst: 10.0, per_second: 1.0 / 30.0 };
/// Tries at one connection's password from anywhere, after which each waits a little.
const PASSWORDS_OF_LABEL: Rate = Rate { burst: 50.0, per_second: 1.0 };
/// How long such a try waits. Long enough to make a dictionary useless, short enough for the owner's own first visit.
const LABEL_DELAY: Duration = Duration::from_secs(1);

/// Budgets of all guessers.
pub(crate) struct Guesses {
    secrets: Budgets<Origin>,
    passwords: Budgets<(Label, Origin)>,
    passwords_of_label: Budgets<Label>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            secrets: Budgets::new(SECRETS),
            passwords: Budgets::new(PASSWORDS),
            passwords_of_label: Budgets::new(PASSWORDS_OF_LABEL),
        }
    }
}

impl Guesses {
    /// A label or secret from `address` was wrong.
    ///
    /// # Errors
    /// Seconds to wait, if the address has guessed too often to be told so.
    pub(crate) fn handle_wrong_secret(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        self.secrets.spend(Origin::of(address), now)
    }

    /// A password is about to be tried. Returns how long to wait before it is looked at.
    ///
    /// # Errors
    /// Seconds to wait, if it must not be looked at.
    pub(crate) fn try_password(&self, label: &Label, address: IpAddr, now: Instant) -> Result<Duration, u32> {
        self.passwords.spend((label.clone(), Origin::of(address)), now)?;
        let crowded = self.passwords_of_label.spend(label.clone(), now).is_err();
        Ok(if crowded { LABEL_DELAY } else { Duration::ZERO })
    }

    /// A password was right: it was no guess.
    pub(crate) fn handle_right_password(&self, label: &Label, address: IpAddr) {
        self.passwords.forget(&(label.clone(), Origin::of(address)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("test addresses are valid")
    }

    #[test]
    fn one_guesser_does_not_spend_anothers_budget() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let refused = (0..1000).filter(|_| guesses.handle_wrong_secret(address("192.0.2.1"), now).is_err()).count();
        assert_eq!(refused, 900);
        assert_eq!(guesses.handle_wrong_secret(address("192.0.2.2"), now), Ok(()));
        assert_eq!(guesses.handle_wrong_secret(address("192.0.2.1"), now + Duration::from_secs(2)), Ok(()));
    }

    #[test]
    fn password_tries_are_few_until_one_is_right() {
        let guesses = Guesses::default();
        let (label, from, now) = (Label::generate(), address("192.0.2.1"), Instant::now());
        for _ in 0..10 {
            assert_eq!(guesses.try_password(&label, from, now), Ok(Duration::ZERO));
        }
        assert_eq!(guesses.try_password(&label, from, now), Err(30));
        guesses.handle_right_password(&label, from);
        assert_eq!(guesses.try_password(&label, from, now), Ok(Duration::ZERO));
        for n in 0..60 {
            let _ = guesses.try_password(&label, address(&format!("192.0.2.{n}")), now);
        }
        assert_eq!(guesses.try_password(&label, address("198.51.100.1"), now), Ok(LABEL_DELAY));
    }
}
