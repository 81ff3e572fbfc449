//! Budgets for what costs the service something or could be guessed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use relay::budgets::{Budgets, Origin, Rate};
use relay::share_openings::ShareOpenings;
use store::EmailAddress;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::failure::PageFailure;

/// Sign-ins, from one address: a family that mistypes, not a dictionary.
const SIGN_INS_OF_ADDRESS: Rate = Rate { burst: 20.0, per_second: 1.0 / 15.0 };
/// Tries at one account from one address.
const SIGN_INS: Rate = Rate { burst: 8.0, per_second: 1.0 / 60.0 };
/// Tries at one account from anywhere, after which each waits a little. It never locks: the owner must get in while
/// somebody else is guessing.
const SIGN_INS_OF_ACCOUNT: Rate = Rate { burst: 30.0, per_second: 1.0 / 10.0 };
const CROWDED_DELAY: Duration = Duration::from_secs(2);
/// Link codes typed by one account.
const CODES: Rate = Rate { burst: 10.0, per_second: 1.0 / 60.0 };
/// Link codes asked for by agents of one address.
const PAIRINGS: Rate = Rate { burst: 10.0, per_second: 1.0 / 30.0 };
/// How often such an agent may ask what became of its code: every three seconds, a household of them.
const PAIRING_POLLS: Rate = Rate { burst: 60.0, per_second: 4.0 };
/// Mails to one address.
const MAILS: Rate = Rate { burst: 4.0, per_second: 1.0 / 600.0 };
/// Forms that mail or make an account, from one address.
const COSTLY_FORMS: Rate = Rate { burst: 20.0, per_second: 1.0 / 60.0 };
/// Ids of public pages that do not exist, from one address.
const UNKNOWN_IDS: Rate = Rate { burst: 60.0, per_second: 1.0 };
/// Unknown tokens of apps, from one address: as generous as at printers' hosts, for the same reason.
const UNKNOWN_TOKENS: Rate = Rate { burst: 100.0, per_second: 1.0 };
/// A try that has to wait longer for its turn is told to come back.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// The budgets of everybody.
pub struct Attempts {
    sign_ins_of_address: Budgets<Origin>,
    sign_ins: Budgets<(EmailAddress, Origin)>,
    sign_ins_of_account: Budgets<EmailAddress>,
    codes: Budgets<String>,
    pairings: Budgets<Origin>,
    pairing_polls: Budgets<Origin>,
    mails: Budgets<EmailAddress>,
    costly_forms: Budgets<Origin>,
    unknown_ids: Budgets<Origin>,
    unknown_tokens: Budgets<Origin>,
    live_link_openings: ShareOpenings,
    /// Hashing a password takes 19 MiB and a whole core; more at a time than there are cores helps nobody.
    hashing: Semaphore,
}

impl Default for Attempts {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            sign_ins_of_address: Budgets::new(SIGN_INS_OF_ADDRESS),
            sign_ins: Budgets::new(SIGN_INS),
            sign_ins_of_account: Budgets::new(SIGN_INS_OF_ACCOUNT),
            codes: Budgets::new(CODES),
            pairings: Budgets::new(PAIRINGS),
            pairing_polls: Budgets::new(PAIRING_POLLS),
            mails: Budgets::new(MAILS),
            costly_forms: Budgets::new(COSTLY_FORMS),
            unknown_ids: Budgets::new(UNKNOWN_IDS),
            unknown_tokens: Budgets::new(UNKNOWN_TOKENS),
            live_link_openings: ShareOpenings::default(),
            hashing: Semaphore::new(cores),
        }
    }
}

impl Attempts {
    /// Somebody is about to try a secret of an account. Returns how long to wait before it is looked at.
    pub(crate) fn sign_in(&self, email: &EmailAddress, address: IpAddr) -> Result<Duration, PageFailure> {
        let (origin, now) = (Origin::of(address), Instant::now());
        self.sign_ins_of_address.spend(origin, now).map_err(PageFailure::TooMany)?;
        self.sign_ins.spend((email.clone(), origin), now).map_err(PageFailure::TooMany)?;
        let crowded = self.sign_ins_of_account.spend(email.clone(), now).is_err();
        Ok(if crowded { CROWDED_DELAY } else { Duration::ZERO })
    }

    /// The secret was right: it was no guess.
    pub(crate) fn signed_in(&self, email: &EmailAddress, address: IpAddr) {
        self.sign_ins.forget(&(email.clone(), Origin::of(address)));
    }

    /// An account is about to try a link code.
    pub(crate) fn link_code(&self, account: &model::AccountId) -> Result<(), PageFailure> {
        self.codes.spend(account.as_str().to_owned(), Instant::now()).map_err(PageFailure::TooMany)
    }

    /// An agent asks for a link code.
    pub(crate) fn pairing(&self, address: IpAddr) -> Result<(), u32> {
        self.pairings.spend(Origin::of(address), Instant::now())
    }

    /// An agent asks what became of its code.
    pub(crate) fn pairing_poll(&self, address: IpAddr) -> Result<(), u32> {
        self.pairing_polls.spend(Origin::of(address), Instant::now())
    }

    /// A mail is about to be sent.
    pub(crate) fn mail(&self, to: &EmailAddress) -> Result<(), PageFailure> {
        self.mails.spend(to.clone(), Instant::now()).map_err(PageFailure::TooMany)
    }

    /// A form of a stranger makes the service work.
    pub(crate) fn costly_form(&self, address: IpAddr) -> Result<(), PageFailure> {
        self.costly_forms.spend(Origin::of(address), Instant::now()).map_err(PageFailure::TooMany)
    }

    /// Somebody asked for a public page under an id that does not exist.
    pub(crate) fn unknown_id(&self, address: IpAddr) -> Result<(), PageFailure> {
        self.unknown_ids.spend(Origin::of(address), Instant::now()).map_err(PageFailure::TooMany)
    }

    /// An app came with a token that does not exist.
    ///
    /// # Errors
    /// Seconds to wait, if the address has guessed too often to be told so.
    pub(crate) fn unknown_token(&self, address: IpAddr) -> Result<(), u32> {
        self.unknown_tokens.spend(Origin::of(address), Instant::now())
    }

    /// Somebody opens a Live Link; whether its owner is to be told.
    pub(crate) fn live_link_opened(&self, id: &model::LiveId, address: IpAddr) -> bool {
        self.live_link_openings.is_news(id.as_str(), address, Instant::now())
    }

    /// A turn at hashing a password.
    pub(crate) async fn hashing_turn(&self) -> Result<SemaphorePermit<'_>, PageFailure> {
        match tokio::time::timeout(TURN_LIMIT, self.hashing.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(PageFailure::TooMany(10)),
        }
    }
}
