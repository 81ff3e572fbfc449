//! `spoolway admin`: an operator's commands. They work on the database itself, whether the service runs or not; a
//! running one hears of them through the database's change feed.
//!
//! Each command makes a [`Report`](report::Report), which is printed for people or, with `--json`, for programs.

mod apps;
mod beta;
mod connections;
mod console;
mod failure;
mod plans;
mod printers;
mod report;
mod users;
mod values;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use store::{DatabaseUrl, SiteAddress, Store};

pub use console::Console;
use report::{Report, quoted};

/// Manage accounts, plans, printers and connections
///
/// Works on the database in the data directory, whether the service runs or not. A running service acts on it within
/// a second.
#[derive(Debug, Args)]
pub struct AdminCommand {
    /// Data directory of the service
    #[arg(long, global = true, env = "SPOOLWAY_DATA", default_value = DEFAULT_DATA, value_name = "DIR", help_heading = HEADING)]
    data: PathBuf,
    /// Print one JSON value on stdout; errors are an object with `error` on stderr
    #[arg(long, global = true, help_heading = HEADING)]
    json: bool,
    /// Do not ask before something is deleted; without a terminal nothing is asked
    #[arg(long, short, global = true, help_heading = HEADING)]
    yes: bool,
    #[command(subcommand)]
    subject: Subject,
}

const DEFAULT_DATA: &str = "./data";
const HEADING: &str = "Options of every command";

#[derive(Debug, Subcommand)]
enum Subject {
    /// Accounts of owners
    #[command(subcommand)]
    User(users::UserCommand),
    /// Plans, which set what accounts may do
    #[command(subcommand)]
    Plan(plans::PlanCommand),
    /// Printers and the tokens that enrol their agents
    #[command(subcommand)]
    Printer(printers::PrinterCommand),
    /// Access of apps to printers
    #[command(subcommand)]
    AppConnection(connections::AppConnectionCommand),
    /// Links that owners hand out
    #[command(subcommand)]
    SharedConnection(connections::SharedConnectionCommand),
    /// Apps that the portal knows by name
    #[command(subcommand)]
    App(apps::AppCommand),
    /// Features in beta, granted account by account
    #[command(subcommand)]
    Beta(beta::BetaCommand),
}

/// Runs a command and prints its outcome.
pub async fn run(command: AdminCommand, console: &mut Console<'_>) -> ExitCode {
    let json = command.json;
    let printed = match execute(command, console).await {
        Ok(report) => console.print(&report, json).map(|()| ExitCode::SUCCESS),
        Err(error) => console.print_failure(&error, json).map(|()| ExitCode::FAILURE),
    };
    // Whoever closed our output does not read on, but a script can still see that it was cut.
    printed.unwrap_or(ExitCode::FAILURE)
}

async fn execute(command: AdminCommand, console: &mut Console<'_>) -> anyhow::Result<Report> {
    let is_new = !command.data.join("spoolway.db").exists();
    let store = Store::open(&DatabaseUrl::in_data_directory(&command.data))
        .await
        .with_context(|| format!("cannot use the data directory `{}`", command.data.display()))?;
    if is_new {
        console.warn(&format!("made a new database in `{}`", command.data.display()));
    }
    let mut admin = Admin { store, console, now: SystemTime::now(), data: command.data, yes: command.yes };
    let report = match command.subject {
        Subject::User(command) => admin.user(command).await,
        Subject::Plan(command) => admin.plan(command).await,
        Subject::Printer(command) => admin.printer(command).await,
        Subject::AppConnection(command) => admin.app_connection(command).await,
        Subject::SharedConnection(command) => admin.shared_connection(command).await,
        Subject::App(command) => admin.app(command).await,
        Subject::Beta(command) => admin.beta(command).await,
    };
    admin.store.close().await;
    report
}

/// What every command works with.
struct Admin<'a, 'c> {
    store: Store,
    console: &'a mut Console<'c>,
    now: SystemTime,
    data: PathBuf,
    yes: bool,
}

impl Admin<'_, '_> {
    /// Asks before something is lost for good.
    fn confirm(&mut self, question: &str) -> anyhow::Result<()> {
        if self.yes || self.console.confirm(question)? {
            return Ok(());
        }
        anyhow::bail!("nothing was changed")
    }

    /// Where the service is reached, for URLs.
    async fn site(&mut self) -> anyhow::Result<SiteAddress> {
        if let Some(site) = self.store.site_address().await? {
            return Ok(site);
        }
        self.console.warn(
            "the service has not yet started with this data directory, so its address is not known; \
             URLs are printed for `localhost:8080`",
        );
        let domain = "localhost:8080".to_owned();
        Ok(SiteAddress { scheme: "http".to_owned(), domain: domain.clone(), printers_domain: domain })
    }

    /// A command line of ours, for people to copy.
    fn command_line(&self, rest: &str) -> String {
        if self.data == Path::new(DEFAULT_DATA) {
            return format!("spoolway admin {rest}");
        }
        format!("spoolway admin --data {} {rest}", quoted(&self.data.display().to_string()))
    }

    /// Says that a list is not whole.
    fn warn_if_cut_off(&mut self, is_cut_off: bool, how_to_narrow: &str) {
        if is_cut_off {
            self.console.warn(&format!("there are more than this list shows{how_to_narrow}"));
        }
    }
}
