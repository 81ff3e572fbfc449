//! Random operations of three tenants on each other's things, and a model that says who may.

use std::collections::BTreeMap;

use model::{AccountId, ConnectionId, LiveId, PrinterId, Secret, SessionId};
use proptest::prelude::*;
use store::{LiveEnd, Role, Store, StoreError};

use crate::support::*;

/// Who acts, by number. What was made so far is chosen by a number that wraps around.
#[derive(Clone, Debug)]
enum Operation {
    Pair { who: u8 },
    Rename { who: u8, printer: u8 },
    Unlink { who: u8, printer: u8 },
    Invite { who: u8, whom: u8, printer: u8, role: u8 },
    Accept { who: u8, invitation: u8 },
    Leave { who: u8, printer: u8 },
    Share { who: u8, printer: u8 },
    Revoke { who: u8, share: u8 },
    GoLive { who: u8, printer: u8 },
    RevokeLive { who: u8, live: u8 },
    SignIn { who: u8 },
    SignOut { who: u8, session: u8 },
    Visit { session: u8, printer: u8 },
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    let who = 0..3_u8;
    let thing = || any::<u8>();
    prop_oneof![
        3 => who.clone().prop_map(|who| Operation::Pair { who }),
        1 => (who.clone(), thing()).prop_map(|(who, printer)| Operation::Rename { who, printer }),
        1 => (who.clone(), thing()).prop_map(|(who, printer)| Operation::Unlink { who, printer }),
        6 => (who.clone(), who.clone(), thing(), 0..3_u8)
            .prop_map(|(who, whom, printer, role)| Operation::Invite { who, whom, printer, role }),
        6 => (who.clone(), thing()).prop_map(|(who, invitation)| Operation::Accept { who, invitation }),
        1 => (who.clone(), thing()).prop_map(|(who, printer)| Operation::Leave { who, printer }),
        3 => (who.clone(), thing()).prop_map(|(who, printer)| Operation::Share { who, printer }),
        2 => (who.clone(), thing()).prop_map(|(who, share)| Operation::Revoke { who, share }),
        3 => (who.clone(), thing()).prop_map(|(who, printer)| Operation::GoLive { who, printer }),
        2 => (who.clone(), thing()).prop_map(|(who, live)| Operation::RevokeLive { who, live }),
        2 => who.clone().prop_map(|who| Operation::SignIn { who }),
        1 => (who, thing()).prop_map(|(who, session)| Operation::SignOut { who, session }),
        3 => (thing(), thing()).prop_map(|(session, printer)| Operation::Visit { session, printer }),
        1 => Just(Operation::Reopen),
    ]
}

proptest! {
    // Each case is a database of its own and some forty durable writes.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nobody_gets_at_what_is_another_s(operations in prop::collection::vec(operation(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}

async fn run(operations: Vec<Operation>) {
    let Fresh { mut store, directory } = fresh().await;
    let mut model = Model::default();
    for who in 0..3 {
        model.accounts.push(add_account(&store, &address(who)).await);
    }
    for operation in operations {
        match operation {
            Operation::Reopen => {
                store.close().await;
                store = open(directory.path()).await;
            }
            other => model.apply(&store, other).await,
        }
        model.compare(&store).await;
    }
    expect_intact(directory.path()).await;
}

#[derive(Default)]
struct Model {
    accounts: Vec<AccountId>,
    printers: Vec<Printer>,
    invitations: Vec<Invitation>,
    shares: Vec<(ConnectionId, usize, bool)>,
    lives: Vec<(LiveId, usize, bool)>,
    sessions: Vec<(SessionId, u8, bool)>,
    visits: Vec<(Secret, usize, usize)>,
}

struct Printer {
    id: PrinterId,
    /// Empty once it is removed.
    roles: BTreeMap<u8, Role>,
}

struct Invitation {
    token: Secret,
    printer: usize,
    whom: u8,
    role: Role,
    is_open: bool,
}

impl Model {
    fn role(&self, who: u8, printer: usize) -> Option<Role> {
        self.printers[printer].roles.get(&who).copied()
    }

    async fn apply(&mut self, store: &Store, operation: Operation) {
        match operation {
            Operation::Pair { who } => {
                let id = link_printer(store, &self.accounts[usize::from(who)]).await;
                self.printers.push(Printer { id, roles: BTreeMap::from([(who, Role::Owner)]) });
            }
            Operation::Rename { who, printer } => {
                let Some((account, _, role, id)) = self.choose(who, printer) else { return };
                let outcome = store.rename_own_printer(&account, &id, &name("New"), at(1)).await;
                expect(outcome, role == Some(Role::Owner));
            }
            Operation::Unlink { who, printer } => {
                let Some((account, printer, role, id)) = self.choose(who, printer) else { return };
                if expect(store.unlink_printer(&account, &id, at(1)).await, role == Some(Role::Owner)).is_some() {
                    self.clear(printer);
                }
            }
            Operation::Invite { who, whom, printer, role: offered } => {
                let Some((account, printer, role, id)) = self.choose(who, printer) else { return };
                let offered = [Role::Viewer, Role::Operator, Role::Owner][usize::from(offered)];
                let outcome = store.invite_member(&account, &id, &email(&address(whom)), offered, at(1)).await;
                if who == whom && role == Some(Role::Owner) {
                    expect_invalid(outcome);
                    return;
                }
                let Some(token) = expect(outcome, role == Some(Role::Owner)) else { return };
                for earlier in &mut self.invitations {
                    earlier.is_open &= (earlier.printer, earlier.whom) != (printer, whom);
                }
                self.invitations.push(Invitation { token, printer, whom, role: offered, is_open: true });
            }
            Operation::Accept { who, invitation } => {
                let Some(index) = usize::from(invitation).checked_rem(self.invitations.len()) else { return };
                let account = &self.accounts[usize::from(who)];
                let token = &self.invitations[index].token;
                let accepted = store.accept_printer_invitation(account, token, at(1)).await.unwrap();
                let Invitation { printer, whom, role, is_open, .. } = self.invitations[index];
                assert_eq!(accepted.is_some(), is_open && whom == who);
                if accepted.is_none() {
                    return;
                }
                self.invitations[index].is_open = false;
                if role == Role::Owner {
                    self.clear(printer);
                }
                self.printers[printer].roles.insert(who, role);
            }
            Operation::Leave { who, printer } => {
                let Some((account, printer, role, id)) = self.choose(who, printer) else { return };
                let may = role.is_some_and(|role| role < Role::Owner);
                if expect(store.leave_printer(&account, &id, at(1)).await, may).is_some() {
                    self.printers[printer].roles.remove(&who);
                }
            }
            Operation::Share { who, printer } => {
                let Some((account, printer, role, id)) = self.choose(who, printer) else { return };
                let outcome = store.create_shared_connection_of(&account, &id, None, None, at(1)).await;
                if let Some(new) = expect(outcome, role == Some(Role::Owner)) {
                    self.shares.push((new.id, printer, true));
                }
            }
            Operation::Revoke { who, share } => {
                let Some(index) = usize::from(share).checked_rem(self.shares.len()) else { return };
                let (id, printer, is_alive) = &self.shares[index];
                let may = *is_alive && self.role(who, *printer) == Some(Role::Owner);
                let outcome = store.revoke_connection_of(&self.accounts[usize::from(who)], id, at(1)).await;
                if expect(outcome, may).is_some() {
                    self.shares[index].2 = false;
                }
            }
            Operation::GoLive { who, printer } => {
                let Some((account, printer, role, id)) = self.choose(who, printer) else { return };
                let outcome = store.create_live_link(&account, &id, LiveEnd::At(at(100)), None, at(1)).await;
                if let Some(id) = expect(outcome, role >= Some(Role::Operator)) {
                    self.lives.push((id, printer, true));
                }
            }
            Operation::RevokeLive { who, live } => {
                let Some(index) = usize::from(live).checked_rem(self.lives.len()) else { return };
                let (id, printer, is_alive) = &self.lives[index];
                let may = *is_alive && self.role(who, *printer) >= Some(Role::Operator);
                let outcome = store.revoke_live_link(&self.accounts[usize::from(who)], id, at(1)).await;
                if expect(outcome, may).is_some() {
                    self.lives[index].2 = false;
                }
            }
            Operation::SignIn { who } => {
                let account = &self.accounts[usize::from(who)];
                let (id, _) = store.create_session(account, browser(), at(1)).await.unwrap();
                self.sessions.push((id, who, true));
            }
            Operation::SignOut { who, session } => {
                let Some(index) = usize::from(session).checked_rem(self.sessions.len()) else { return };
                let (id, of_whom, is_on) = &self.sessions[index];
                let outcome = store.end_session(&self.accounts[usize::from(who)], id, at(1)).await;
                if expect(outcome, *is_on && *of_whom == who).is_some() {
                    self.sessions[index].2 = false;
                }
            }
            Operation::Visit { session, printer } => {
                let Some(session) = usize::from(session).checked_rem(self.sessions.len()) else { return };
                let (id, who, is_on) = self.sessions[session].clone();
                let Some((_, printer, role, printer_id)) = self.choose(who, printer) else { return };
                let n_earlier = self.visits.iter().filter(|visit| (visit.1, visit.2) == (session, printer)).count();
                // More would make room for each other.
                if n_earlier < 5 {
                    let outcome = store.create_owner_visit(&id, &printer_id, at(1)).await;
                    if let Some(secret) = expect(outcome, is_on && role >= Some(Role::Operator)) {
                        self.visits.push((secret, session, printer));
                    }
                }
            }
            Operation::Reopen => unreachable!("handled by the caller, who owns the store"),
        }
    }

    fn choose(&self, who: u8, printer: u8) -> Option<(AccountId, usize, Option<Role>, PrinterId)> {
        let printer = usize::from(printer).checked_rem(self.printers.len())?;
        let account = self.accounts[usize::from(who)].clone();
        Some((account, printer, self.role(who, printer), self.printers[printer].id.clone()))
    }

    /// What goes with a printer, and when it gets another owner.
    fn clear(&mut self, printer: usize) {
        self.printers[printer].roles.clear();
        for (_, of, is_alive) in &mut self.shares {
            *is_alive &= *of != printer;
        }
        for (_, of, is_alive) in &mut self.lives {
            *is_alive &= *of != printer;
        }
        for invitation in &mut self.invitations {
            invitation.is_open &= invitation.printer != printer;
        }
    }

    async fn compare(&self, store: &Store) {
        for (who, account) in (0_u8..).zip(&self.accounts) {
            let seen = store.printers_of(account).await.unwrap();
            let seen: BTreeMap<_, _> = seen.into_iter().map(|own| (own.summary.id, own.role)).collect();
            let expected = (0..self.printers.len())
                .filter_map(|printer| Some((self.printers[printer].id.clone(), self.role(who, printer)?)));
            assert_eq!(seen, expected.collect());
            let is_seen = |printer: usize, least| self.role(who, printer) >= Some(least);
            let shares = self.shares.iter().filter(|(_, printer, is_on)| *is_on && is_seen(*printer, Role::Owner));
            let lives = self.lives.iter().filter(|(_, printer, is_on)| *is_on && is_seen(*printer, Role::Operator));
            assert_eq!(store.connections_of(account, None).await.unwrap().len(), shares.count());
            assert_eq!(store.live_links_of(account, None).await.unwrap().len(), lives.count());
        }
        for (secret, session, printer) in &self.visits {
            let (_, who, is_on) = &self.sessions[*session];
            let may = *is_on && self.role(*who, *printer) >= Some(Role::Operator);
            assert_eq!(store.owner_visit(secret, at(1)).await.unwrap().is_some(), may);
        }
    }
}

fn address(who: u8) -> String {
    format!("owner-{who}@example.org")
}

/// That it was done if it may be, and that it was answered as if nothing was there if not.
fn expect<T: std::fmt::Debug>(outcome: Result<T, StoreError>, may: bool) -> Option<T> {
    if may {
        return Some(outcome.unwrap());
    }
    expect_not_found(outcome);
    None
}
