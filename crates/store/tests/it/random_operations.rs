//! Random operations, on the store and on a model of it that is simple enough to be right.

use std::collections::BTreeMap;

use model::{ConnectionId, Label, PrinterId, Secret};
use proptest::prelude::*;
use store::{
    AgentAuth, ConnectionKind, ConnectionLookup, DeathReason, EmailAddress, EnrolOutcome, Name, Store, StoreError,
};
use tempfile::TempDir;

use crate::support::*;

/// Small numbers choose among few things, so that operations meet. A number that chooses among what was made so far
/// wraps around.
#[derive(Clone, Debug)]
enum Operation {
    AddAccount { account: u8, plan: u8 },
    SetAccountPlan { account: u8, plan: u8 },
    DeleteAccount { account: u8 },
    SetPlan { plan: u8, supporter: bool },
    AddPrinter { account: u8 },
    RenamePrinter { printer: u8, name: u8 },
    RemovePrinter { printer: u8 },
    IssueEnrolment { printer: u8 },
    Enrol { token: u8, key: u8 },
    CreateApp { printer: u8, expires: bool },
    CreateShared { printer: u8 },
    Revoke { connection: u8, as_app: bool },
    GrantBeta { account: u8, feature: u8 },
    RevokeBeta { account: u8, feature: u8 },
    Wait { days: u8 },
    Prune,
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    let small = 0..3_u8;
    prop_oneof![
        3 => (small.clone(), small.clone()).prop_map(|(account, plan)| Operation::AddAccount { account, plan }),
        1 => (small.clone(), small.clone()).prop_map(|(account, plan)| Operation::SetAccountPlan { account, plan }),
        1 => small.clone().prop_map(|account| Operation::DeleteAccount { account }),
        2 => (1..3_u8, any::<bool>()).prop_map(|(plan, supporter)| Operation::SetPlan { plan, supporter }),
        4 => small.clone().prop_map(|account| Operation::AddPrinter { account }),
        1 => any::<(u8, u8)>().prop_map(|(printer, name)| Operation::RenamePrinter { printer, name }),
        1 => any::<u8>().prop_map(|printer| Operation::RemovePrinter { printer }),
        1 => any::<u8>().prop_map(|printer| Operation::IssueEnrolment { printer }),
        3 => (any::<u8>(), small.clone()).prop_map(|(token, key)| Operation::Enrol { token, key }),
        4 => any::<(u8, bool)>().prop_map(|(printer, expires)| Operation::CreateApp { printer, expires }),
        2 => any::<u8>().prop_map(|printer| Operation::CreateShared { printer }),
        3 => any::<(u8, bool)>().prop_map(|(connection, as_app)| Operation::Revoke { connection, as_app }),
        1 => (small.clone(), small.clone()).prop_map(|(account, feature)| Operation::GrantBeta { account, feature }),
        1 => (small.clone(), small).prop_map(|(account, feature)| Operation::RevokeBeta { account, feature }),
        1 => any::<u8>().prop_map(|days| Operation::Wait { days }),
        1 => Just(Operation::Prune),
        1 => Just(Operation::Reopen),
    ]
}

proptest! {
    // Each case is a database of its own and some forty durable writes.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(operations in prop::collection::vec(operation(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}

async fn run(operations: Vec<Operation>) {
    let directory = TempDir::new().unwrap();
    let mut store = open(directory.path()).await;
    let mut model = Model::new();
    for operation in operations {
        let seq = store.latest_change().await.unwrap();
        let changed = match operation {
            Operation::Reopen => {
                store.close().await;
                store = open(directory.path()).await;
                0
            }
            other => model.apply(&store, other).await,
        };
        assert_eq!(store.latest_change().await.unwrap(), seq + changed);
        model.compare(&store).await;
    }
    expect_intact(directory.path()).await;
}

/// What should be in the store. Maps are by the numbers that operations use.
struct Model {
    day: u64,
    supporter_by_plan: BTreeMap<u8, bool>,
    plan_by_account: BTreeMap<u8, u8>,
    printers: Vec<Printer>,
    tokens: Vec<Token>,
    connections: Vec<Connection>,
    grants: Vec<(u8, u8)>,
}

struct Printer {
    id: PrinterId,
    /// None once it is removed.
    account: Option<u8>,
    name: String,
    key: Option<u8>,
}

struct Token {
    token: Secret,
    printer: usize,
    issued_on: u64,
    is_forgotten: bool,
    used_by: Option<u8>,
}

struct Connection {
    id: ConnectionId,
    label: Label,
    kind: ConnectionKind,
    printer: usize,
    fate: Fate,
}

#[derive(Clone, Copy)]
enum Fate {
    Alive,
    Dead(DeathReason, u64),
    Forgotten,
}

impl Model {
    fn new() -> Self {
        Self {
            day: 0,
            supporter_by_plan: BTreeMap::from([(0, true)]),
            plan_by_account: BTreeMap::new(),
            printers: Vec::new(),
            tokens: Vec::new(),
            connections: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// Does the operation on both. Gives how many rows the change feed must have grown by.
    async fn apply(&mut self, store: &Store, operation: Operation) -> i64 {
        let now = at(self.day * DAY);
        match operation {
            Operation::AddAccount { account, plan } => {
                let outcome = store.add_account(&address(account), Some(&plan_name(plan)), None, now).await;
                if !self.supporter_by_plan.contains_key(&plan) {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                if self.plan_by_account.contains_key(&account) {
                    return refused(outcome, |error| matches!(error, StoreError::Conflict { .. }));
                }
                outcome.unwrap();
                self.plan_by_account.insert(account, plan);
            }
            Operation::SetAccountPlan { account, plan } => {
                let outcome = store.set_account_plan(&address(account), &plan_name(plan), now).await;
                if !self.plan_by_account.contains_key(&account) || !self.supporter_by_plan.contains_key(&plan) {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                outcome.unwrap();
                self.plan_by_account.insert(account, plan);
            }
            Operation::DeleteAccount { account } => {
                let outcome = store.delete_account(&address(account), now).await;
                if self.plan_by_account.remove(&account).is_none() {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                outcome.unwrap();
                self.grants.retain(|(granted, _)| *granted != account);
                for printer in 0..self.printers.len() {
                    if self.printers[printer].account == Some(account) {
                        self.remove(printer, DeathReason::AccountDeleted);
                    }
                }
            }
            Operation::SetPlan { plan, supporter } => {
                store.set_plan(&plan_name(plan), now, |plan| plan.supporter = supporter).await.unwrap();
                self.supporter_by_plan.insert(plan, supporter);
            }
            Operation::AddPrinter { account } => {
                let outcome = store.add_printer(&address(account), &name("New"), now).await;
                if !self.plan_by_account.contains_key(&account) {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                let new = outcome.unwrap();
                let index = self.printers.len();
                self.printers.push(Printer { id: new.id, account: Some(account), name: new.name, key: None });
                self.issue(new.token, index);
            }
            Operation::RenamePrinter { printer, name } => {
                let Some(printer) = choose(printer, self.printers.len()) else { return 0 };
                let name: Name = format!("Name {name}").parse().unwrap();
                let outcome = store.rename_printer(&self.printers[printer].id, &name, now).await;
                if self.printers[printer].account.is_none() {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                outcome.unwrap();
                self.printers[printer].name = name.as_str().to_owned();
            }
            Operation::RemovePrinter { printer } => {
                let Some(printer) = choose(printer, self.printers.len()) else { return 0 };
                let outcome = store.remove_printer(&self.printers[printer].id, now).await;
                if self.printers[printer].account.is_none() {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                outcome.unwrap();
                self.remove(printer, DeathReason::PrinterRemoved);
            }
            Operation::IssueEnrolment { printer } => {
                let Some(printer) = choose(printer, self.printers.len()) else { return 0 };
                let outcome = store.issue_enrolment(&self.printers[printer].id, now).await;
                if self.printers[printer].account.is_none() {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                self.issue(outcome.unwrap().token, printer);
            }
            Operation::Enrol { token, key } => {
                let Some(token) = choose(token, self.tokens.len()) else { return 0 };
                return self.enrol(store, token, key).await;
            }
            Operation::CreateApp { printer, expires } => {
                let Some(printer) = choose(printer, self.printers.len()) else { return 0 };
                let expires_at = expires.then(|| at((self.day + 1) * DAY));
                let id = &self.printers[printer].id;
                let outcome = store.create_app_connection(id, &name("App"), expires_at, now).await;
                if self.printers[printer].account.is_none() {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                let new = outcome.unwrap();
                self.connect(new.id, new.label, ConnectionKind::App, printer);
            }
            Operation::CreateShared { printer } => {
                let Some(printer) = choose(printer, self.printers.len()) else { return 0 };
                let outcome = store.create_shared_connection(&self.printers[printer].id, None, None, now).await;
                if self.printers[printer].account.is_none() {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                let new = outcome.unwrap();
                self.connect(new.id, new.label, ConnectionKind::Shared, printer);
            }
            Operation::Revoke { connection, as_app } => {
                let Some(connection) = choose(connection, self.connections.len()) else { return 0 };
                let kind = if as_app { ConnectionKind::App } else { ConnectionKind::Shared };
                let day = self.day;
                let connection = &mut self.connections[connection];
                let outcome = store.revoke_connection(kind, &connection.id, now).await;
                if connection.kind != kind || !matches!(connection.fate, Fate::Alive) {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                outcome.unwrap();
                connection.fate = Fate::Dead(DeathReason::Revoked, day);
            }
            Operation::GrantBeta { account, feature } => {
                let outcome = store.grant_beta(&address(account), &feature_name(feature), now).await;
                if !self.plan_by_account.contains_key(&account) {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                }
                outcome.unwrap();
                if self.grants.contains(&(account, feature)) {
                    return 0;
                }
                self.grants.push((account, feature));
            }
            Operation::RevokeBeta { account, feature } => {
                let outcome = store.revoke_beta(&address(account), &feature_name(feature), now).await;
                let Some(index) = self.grants.iter().position(|grant| *grant == (account, feature)) else {
                    return refused(outcome, |error| matches!(error, StoreError::NotFound { .. }));
                };
                outcome.unwrap();
                self.grants.swap_remove(index);
            }
            Operation::Wait { days } => {
                self.day += u64::from(days);
                return 0;
            }
            Operation::Prune => {
                store.prune(now).await.unwrap();
                for connection in &mut self.connections {
                    if matches!(connection.fate, Fate::Dead(_, day) if self.day - day > 410) {
                        connection.fate = Fate::Forgotten;
                    }
                }
                return 0;
            }
            Operation::Reopen => unreachable!("handled by the caller, who owns the store"),
        }
        1
    }

    async fn enrol(&mut self, store: &Store, token: usize, key: u8) -> i64 {
        let token = &mut self.tokens[token];
        let printer = &mut self.printers[token.printer];
        let outcome = store.enrol_agent(&token.token, &agent_key(key), at(self.day * DAY)).await.unwrap();
        let is_current = !token.is_forgotten && printer.account.is_some() && self.day == token.issued_on;
        let may_enrol = is_current && token.used_by.is_none_or(|used_by| used_by == key && printer.key == Some(key));
        if !may_enrol {
            assert_eq!(outcome, EnrolOutcome::InvalidToken);
            return 0;
        }
        assert_eq!(outcome, EnrolOutcome::Enrolled { printer: printer.id.clone(), name: printer.name.clone() });
        let is_first = token.used_by.is_none();
        token.used_by = Some(key);
        printer.key = Some(key);
        i64::from(is_first)
    }

    fn issue(&mut self, token: Secret, printer: usize) {
        self.tokens.iter_mut().filter(|earlier| earlier.printer == printer).for_each(|token| token.is_forgotten = true);
        self.tokens.push(Token { token, printer, issued_on: self.day, is_forgotten: false, used_by: None });
    }

    fn connect(&mut self, id: ConnectionId, label: Label, kind: ConnectionKind, printer: usize) {
        assert!(self.connections.iter().all(|connection| connection.label != label), "labels are never given twice");
        self.connections.push(Connection { id, label, kind, printer, fate: Fate::Alive });
    }

    fn remove(&mut self, printer: usize, reason: DeathReason) {
        self.printers[printer].account = None;
        for connection in &mut self.connections {
            if connection.printer == printer && matches!(connection.fate, Fate::Alive) {
                connection.fate = Fate::Dead(reason, self.day);
            }
        }
    }

    async fn compare(&self, store: &Store) {
        for connection in &self.connections {
            let by_label = store.connection_by_label(connection.kind, &connection.label).await.unwrap();
            let by_id = store.connection_by_id(&connection.id).await.unwrap();
            for found in [by_label, by_id] {
                self.compare_connection(connection, found);
            }
        }
        for printer in &self.printers {
            let found = store.authenticate_agent(&printer.id, &agent_key(0)).await.unwrap();
            match printer.account {
                None => assert_eq!(found, AgentAuth::Removed),
                Some(_) if printer.key != Some(0) => assert_eq!(found, AgentAuth::WrongKey),
                Some(_) => assert!(matches!(found, AgentAuth::Accepted { name, .. } if name == printer.name)),
            }
        }
        let listed = store.accounts().await.unwrap().rows;
        let listed: BTreeMap<_, _> = listed.into_iter().map(|row| (row.email, (row.plan, row.n_printers))).collect();
        let expected = self.plan_by_account.iter().map(|(account, plan)| {
            let n_printers = self.printers.iter().filter(|printer| printer.account == Some(*account)).count();
            (address(*account), (plan_name(*plan), n_printers as u64))
        });
        assert_eq!(listed, expected.collect());
        let n_alive = |kind| {
            let is_alive = |connection: &&Connection| connection.kind == kind && matches!(connection.fate, Fate::Alive);
            self.connections.iter().filter(is_alive).count()
        };
        for kind in [ConnectionKind::App, ConnectionKind::Shared] {
            assert_eq!(store.connections(kind, None).await.unwrap().rows.len(), n_alive(kind));
        }
        assert_eq!(store.beta_grants().await.unwrap().rows.len(), self.grants.len());
    }

    fn compare_connection(&self, connection: &Connection, found: ConnectionLookup) {
        match (connection.fate, found) {
            (Fate::Alive, ConnectionLookup::Alive(record)) => {
                let printer = &self.printers[connection.printer];
                let plan = self.plan_by_account[&printer.account.unwrap()];
                assert_eq!((&record.id, &record.label), (&connection.id, &connection.label));
                assert_eq!((record.kind, &record.printer), (connection.kind, &printer.id));
                assert_eq!(record.plan.name, plan_name(plan));
                assert_eq!(record.plan.supporter, self.supporter_by_plan[&plan]);
            }
            (Fate::Dead(expected, _), ConnectionLookup::Dead(reason)) => assert_eq!(reason, expected),
            (Fate::Forgotten, ConnectionLookup::Unknown) => {}
            (_, found) => panic!("{:?} is {found:?}", connection.id),
        }
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>, expected: impl Fn(&StoreError) -> bool) -> i64 {
    let error = outcome.unwrap_err();
    assert!(expected(&error), "{error}");
    0
}

fn choose(number: u8, n_things: usize) -> Option<usize> {
    usize::from(number).checked_rem(n_things)
}

fn address(account: u8) -> EmailAddress {
    email(&format!("owner-{account}@example.org"))
}

/// Plan 0 is the one that is there from the beginning.
fn plan_name(plan: u8) -> String {
    if plan == 0 { model::Plan::DEFAULT_NAME.to_owned() } else { format!("plan-{plan}") }
}

fn feature_name(feature: u8) -> store::Feature {
    format!("feature-{feature}").parse().unwrap()
}

fn agent_key(key: u8) -> Secret {
    Secret::new(format!("the key of agent {key}"))
}
