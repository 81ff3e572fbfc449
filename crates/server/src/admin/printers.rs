//! `spoolway admin printer`.

use clap::Subcommand;
use model::PrinterId;
use serde::Serialize;
use store::{EmailAddress, Name, NewPrinter, PrinterSummary};

use super::report::{Report, facts, quoted, time, time_or};
use super::{Admin, values};

#[derive(Debug, Subcommand)]
pub(super) enum PrinterCommand {
    /// Add a printer to an account; prints the token that its agent enrols with
    Add {
        /// The owner's e-mail address
        #[arg(long, value_name = "EMAIL")]
        owner: String,
        /// The owner's name for the printer
        #[arg(long)]
        name: String,
    },
    /// Issue a fresh token for a printer, to set up its agent anew
    ///
    /// Tokens issued before become worthless. The agent that is enrolled keeps working until the new token is used.
    Enrol {
        /// Id of the printer
        id: String,
    },
    /// List the printers
    List {
        /// Of this account only
        #[arg(long, value_name = "EMAIL")]
        owner: Option<String>,
    },
    /// Give a printer another name
    Rename {
        /// Id of the printer
        id: String,
        /// The new name
        name: String,
    },
    /// Remove a printer with its connections
    Remove {
        /// Id of the printer
        id: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitingPrinter {
    printer_id: String,
    token: String,
    token_expires_at: String,
    name: String,
    owner: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrinterRow {
    printer_id: String,
    name: String,
    owner: String,
    enrolled: bool,
    created_at: String,
    last_connected_at: Option<String>,
    last_disconnected_at: Option<String>,
    agent_version: String,
    software: String,
    software_version: String,
    lan_ip: String,
    #[serde(skip)]
    state: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RenamedPrinter<'a> {
    printer_id: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RemovedPrinter<'a> {
    printer_id: &'a str,
    removed: bool,
}

impl Admin<'_, '_> {
    pub(super) async fn printer(&mut self, command: PrinterCommand) -> anyhow::Result<Report> {
        match command {
            PrinterCommand::Add { owner, name } => self.add_printer(&owner, &name).await,
            PrinterCommand::Enrol { id } => self.enrol_printer(&id).await,
            PrinterCommand::List { owner } => self.list_printers(owner.as_deref()).await,
            PrinterCommand::Rename { id, name } => self.rename_printer(&id, &name).await,
            PrinterCommand::Remove { id } => self.remove_printer(&id).await,
        }
    }

    async fn add_printer(&mut self, owner: &str, name: &str) -> anyhow::Result<Report> {
        let owner: EmailAddress = values::read(owner, "e-mail address")?;
        let name: Name = values::read(name, "name for a printer")?;
        let printer = self.store.add_printer(&owner, &name, self.now).await?;
        self.report_token(&printer, &owner, &format!("Added the printer `{name}` of {owner}.")).await
    }

    async fn enrol_printer(&mut self, id: &str) -> anyhow::Result<Report> {
        let id: PrinterId = values::read(id, "id of a printer")?;
        let owner = self.store.printer(&id).await?.owner;
        let printer = self.store.issue_enrolment(&id, self.now).await?;
        let done = format!("Issued a fresh token for the printer `{}` of {owner}.", printer.name);
        self.report_token(&printer, &owner, &done).await
    }

    async fn report_token(&mut self, printer: &NewPrinter, owner: &EmailAddress, done: &str) -> anyhow::Result<Report> {
        let server = self.site().await?.site_url();
        let token = printer.token.expose();
        let expires_at = time(printer.token_expires_at);
        let text = format!(
            "{done}\n\n{}\nThe token works once, until {expires_at}. Run this beside the printer, with the address \
             of its web interface:\n\n  spoolway-agent run --server {} --printer http://127.0.0.1 --token {token}\n\n\
             Then give an app access to it:\n\n  {}",
            facts([("printer id", printer.id.as_str()), ("token", token)]),
            quoted(&server),
            self.command_line(&format!("app-connection create --printer {} --app NAME", printer.id)),
        );
        let value = WaitingPrinter {
            printer_id: printer.id.as_str().to_owned(),
            token: token.to_owned(),
            token_expires_at: expires_at,
            name: printer.name.clone(),
            owner: owner.as_str().to_owned(),
        };
        Ok(Report::new(&value, text))
    }

    async fn list_printers(&mut self, owner: Option<&str>) -> anyhow::Result<Report> {
        let owner = owner.map(|owner| values::read::<EmailAddress>(owner, "e-mail address")).transpose()?;
        let listing = self.store.printers(owner.as_ref()).await?;
        self.warn_if_cut_off(listing.is_cut_off, "; `--owner EMAIL` shows one account's");
        let rows: Vec<PrinterRow> = listing.rows.into_iter().map(row).collect();
        let empty = format!(
            "There are no printers yet. Add one:\n\n  {}",
            self.command_line("printer add --owner name@example.org --name NAME")
        );
        Ok(Report::list(
            &rows,
            ["ID", "NAME", "OWNER", "SOFTWARE", "AGENT", "STATE"],
            |row| {
                [
                    row.printer_id.clone(),
                    row.name.clone(),
                    row.owner.clone(),
                    format!("{} {}", row.software, row.software_version).trim().to_owned(),
                    row.agent_version.clone(),
                    row.state.clone(),
                ]
            },
            &empty,
        ))
    }

    async fn rename_printer(&mut self, id: &str, name: &str) -> anyhow::Result<Report> {
        let id: PrinterId = values::read(id, "id of a printer")?;
        let name: Name = values::read(name, "name for a printer")?;
        self.store.rename_printer(&id, &name, self.now).await?;
        Ok(Report::new(
            &RenamedPrinter { printer_id: id.as_str(), name: name.as_str() },
            format!("The printer {id} is called `{name}`."),
        ))
    }

    async fn remove_printer(&mut self, id: &str) -> anyhow::Result<Report> {
        let id: PrinterId = values::read(id, "id of a printer")?;
        let printer = self.store.printer(&id).await?;
        let (name, owner) = (printer.name, printer.owner);
        self.confirm(&format!("Remove the printer `{name}` of {owner}? All connections to it end for good."))?;
        self.store.remove_printer(&id, self.now).await?;
        Ok(Report::new(
            &RemovedPrinter { printer_id: id.as_str(), removed: true },
            format!("Removed the printer `{name}` of {owner}."),
        ))
    }
}

fn row(printer: PrinterSummary) -> PrinterRow {
    // A service that was killed wrote no end: this is what was last heard, not what is.
    let state = match (printer.last_connected_at, printer.last_disconnected_at) {
        _ if !printer.is_enrolled => "waits for its agent".to_owned(),
        (None, _) => "never connected".to_owned(),
        (Some(connected), Some(disconnected)) if disconnected >= connected => {
            format!("disconnected {}", time(disconnected))
        }
        (connected, _) => format!("connected {}", time_or(connected, "")),
    };
    PrinterRow {
        printer_id: printer.id.into(),
        name: printer.name,
        owner: printer.owner.as_str().to_owned(),
        enrolled: printer.is_enrolled,
        created_at: time(printer.created_at),
        last_connected_at: printer.last_connected_at.map(time),
        last_disconnected_at: printer.last_disconnected_at.map(time),
        agent_version: printer.seen.agent_version,
        software: printer.seen.software,
        software_version: printer.seen.software_version,
        lan_ip: printer.seen.lan_ip,
        state,
    }
}
