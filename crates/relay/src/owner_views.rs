//! How owners get from the site to their printers' own hosts: one-time tickets.
//!
//! The site's cookie must never reach a printer's host, so the site issues a ticket to a signed-in owner and sends the
//! browser there with it. The host takes the ticket once and gives a cookie of its own for it.
//!
//! A ticket is good only in the browser that asked for it: the host gives a browser a secret before it sends it to the
//! site, and a ticket names the hash of that secret. Somebody who reads a ticket, or who hands another person one of
//! their own, gets nowhere with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{AccountId, Label, PrinterId, Secret, SecretHash, SessionId};
use parking_lot::Mutex;

/// A redirect takes milliseconds; a browser that asks its user something first takes longer.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(60);
/// Tickets of one account that wait to be used; as many tabs do not open in a minute.
const MAX_OF_ACCOUNT: usize = 20;
/// Tickets of everybody.
const MAX_TICKETS: usize = 10_000;

/// Where tickets are kept. Clones share them; a restart forgets them, and the browser is sent for another one.
#[derive(Clone, Default)]
pub struct OwnerViews(Arc<Mutex<HashMap<[u8; 32], Ticket>>>);

/// What a ticket is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) session: SessionId,
    pub(crate) account: AccountId,
    pub(crate) printer: PrinterId,
    label: Label,
    browser: SecretHash,
    expires: Instant,
}

impl OwnerViews {
    /// Issues a ticket to the holder of `session`, who was found to be an owner or operator of the printer whose own
    /// host has `label`, for the browser in which that host keeps the secret with the hash `browser`.
    pub fn issue(
        &self,
        session: SessionId,
        account: AccountId,
        printer: PrinterId,
        label: Label,
        browser: SecretHash,
    ) -> Secret {
        self.issue_at(session, account, printer, label, browser, Instant::now())
    }

    /// The same at a given time.
    pub fn issue_at(
        &self,
        session: SessionId,
        account: AccountId,
        printer: PrinterId,
        label: Label,
        browser: SecretHash,
        now: Instant,
    ) -> Secret {
        let secret = Secret::generate();
        let mut tickets = self.0.lock();
        tickets.retain(|_, ticket| ticket.expires > now);
        let n_of_account = tickets.values().filter(|ticket| ticket.account == account).count();
        if n_of_account >= MAX_OF_ACCOUNT {
            remove_oldest(&mut tickets, |ticket| ticket.account == account);
        } else if tickets.len() >= MAX_TICKETS {
            remove_oldest(&mut tickets, |_| true);
        }
        let ticket = Ticket { session, account, printer, label, browser, expires: now + TICKET_LIFETIME };
        tickets.insert(*secret.hash().as_bytes(), ticket);
        secret
    }

    /// Takes a ticket, if it is one of the host with `label` and one of the browser's secrets is the ticket's. Shown
    /// at another host or by another browser it is spent as well.
    pub(crate) fn redeem(&self, secret: &Secret, label: &Label, browser: &[Secret], now: Instant) -> Option<Ticket> {
        let ticket = self.0.lock().remove(secret.hash().as_bytes())?;
        let is_its_browser = browser.iter().any(|secret| ticket.browser.matches(secret.expose()));
        (ticket.label == *label && is_its_browser && ticket.expires > now).then_some(ticket)
    }
}

fn remove_oldest(tickets: &mut HashMap<[u8; 32], Ticket>, wanted: impl Fn(&Ticket) -> bool) {
    let candidates = tickets.iter().filter(|(_, ticket)| wanted(ticket));
    if let Some(oldest) = candidates.min_by_key(|(_, ticket)| ticket.expires).map(|(hash, _)| *hash) {
        tickets.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "its secret";

    fn issue(views: &OwnerViews, account: &AccountId, label: &Label, now: Instant) -> Secret {
        let browser = SecretHash::of(BROWSER);
        views.issue_at(SessionId::generate(), account.clone(), PrinterId::generate(), label.clone(), browser, now)
    }

    fn redeem(views: &OwnerViews, ticket: &Secret, label: &Label, now: Instant) -> Option<Ticket> {
        views.redeem(ticket, label, &[Secret::new("a foreign one"), Secret::new(BROWSER)], now)
    }

    #[test]
    fn a_ticket_is_good_once_at_its_host_for_a_minute() {
        let (views, account, label, now) =
            (OwnerViews::default(), AccountId::generate(), Label::generate(), Instant::now());
        let ticket = issue(&views, &account, &label, now);
        assert!(redeem(&views, &Secret::generate(), &label, now).is_none());
        assert_eq!(redeem(&views, &ticket, &label, now).map(|ticket| ticket.account), Some(account.clone()));
        assert!(redeem(&views, &ticket, &label, now).is_none(), "a second time");

        let ticket = issue(&views, &account, &label, now);
        assert!(redeem(&views, &ticket, &Label::generate(), now).is_none(), "at another host");
        assert!(redeem(&views, &ticket, &label, now).is_none(), "after that");

        let ticket = issue(&views, &account, &label, now);
        assert!(views.redeem(&ticket, &label, &[], now).is_none(), "in a browser without a secret");
        let ticket = issue(&views, &account, &label, now);
        assert!(views.redeem(&ticket, &label, &[Secret::new("a foreign one")], now).is_none(), "in another browser");
        assert!(redeem(&views, &ticket, &label, now).is_none(), "after that");

        let ticket = issue(&views, &account, &label, now);
        assert!(redeem(&views, &ticket, &label, now + Duration::from_secs(61)).is_none());
        let ticket = issue(&views, &account, &label, now);
        assert!(redeem(&views, &ticket, &label, now + Duration::from_secs(59)).is_some());
    }

    #[test]
    fn nobody_can_take_the_room_of_others() {
        let (views, label, now) = (OwnerViews::default(), Label::generate(), Instant::now());
        let (quiet, busy) = (AccountId::generate(), AccountId::generate());
        let of_quiet = issue(&views, &quiet, &label, now);
        let of_busy: Vec<_> = (0..1000).map(|n| issue(&views, &busy, &label, now + Duration::from_millis(n))).collect();
        let usable = of_busy.iter().filter(|ticket| redeem(&views, ticket, &label, now).is_some()).count();
        assert_eq!(usable, MAX_OF_ACCOUNT);
        assert!(redeem(&views, &of_quiet, &label, now).is_some());
    }
}
