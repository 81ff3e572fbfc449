//! `spoolway admin app-connection` and `spoolway admin shared-connection`.

use anyhow::bail;
use clap::Subcommand;
use model::{ConnectionId, PrinterId};
use serde::Serialize;
use store::{ConnectionKind, ConnectionLookup, ConnectionSummary, DeathReason, Name, NewAppConnection, SiteAddress};

use super::report::{Report, facts, time};
use super::{Admin, values};

#[derive(Debug, Subcommand)]
pub(super) enum AppConnectionCommand {
    /// Give an app access to a printer; prints its credentials, once
    ///
    /// With `--json`, the object has the parameters that the app portal hands to apps.
    Create {
        /// Id of the printer
        #[arg(long, value_name = "ID")]
        printer: String,
        /// Name of the app
        #[arg(long, value_name = "NAME")]
        app: String,
        /// How long it works, like `30d`; for ever if left out
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// List the App Connections
    List {
        /// To this printer only
        #[arg(long, value_name = "ID")]
        printer: Option<String>,
    },
    /// End an App Connection for good
    Revoke {
        /// Id of the connection
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SharedConnectionCommand {
    /// Make a link to a printer; whoever has it gets in
    Create {
        /// Id of the printer
        #[arg(long, value_name = "ID")]
        printer: String,
        /// Ask visitors for a password, which is read from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
        /// How long it works, like `30d`; for ever if left out
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// List the Shared Connections
    List {
        /// To this printer only
        #[arg(long, value_name = "ID")]
        printer: Option<String>,
    },
    /// End a Shared Connection for good
    Revoke {
        /// Id of the connection
        id: String,
    },
}

/// What the app portal hands to an app, by the names that shipped apps read. Some demand both spellings of the pair.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Completion<'a> {
    /// A text, as in a query.
    success: &'static str,
    id: &'a str,
    url: &'a str,
    app_api_token: &'a str,
    #[serde(rename = "printername")]
    printer_name: &'a str,
    user_printer_access_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    printer_last_known_local_ip: Option<&'a str>,
    auth_basic_http_user: &'a str,
    auth_basic_http_password: &'a str,
    #[serde(rename = "authbasichttpuser")]
    lower_case_user: &'a str,
    #[serde(rename = "authbasichttppassword")]
    lower_case_password: &'a str,
    auth_bearer_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedLink<'a> {
    id: &'a str,
    url: &'a str,
    printer_name: &'a str,
    has_password: bool,
    expires_at: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRow {
    id: String,
    url: String,
    printer_id: String,
    printer_name: String,
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_password: Option<bool>,
    created_at: String,
    expires_at: Option<String>,
    expired: bool,
    last_used_at: Option<String>,
}

#[derive(Serialize)]
struct RevokedConnection<'a> {
    id: &'a str,
    revoked: bool,
}

impl Admin<'_, '_> {
    pub(super) async fn app_connection(&mut self, command: AppConnectionCommand) -> anyhow::Result<Report> {
        match command {
            AppConnectionCommand::Create { printer, app, expires } => {
                self.create_app_connection(&printer, &app, expires.as_deref()).await
            }
            AppConnectionCommand::List { printer } => self.list(ConnectionKind::App, printer.as_deref()).await,
            AppConnectionCommand::Revoke { id } => self.revoke(ConnectionKind::App, &id).await,
        }
    }

    pub(super) async fn shared_connection(&mut self, command: SharedConnectionCommand) -> anyhow::Result<Report> {
        match command {
            SharedConnectionCommand::Create { printer, password_stdin, expires } => {
                self.create_shared_connection(&printer, password_stdin, expires.as_deref()).await
            }
            SharedConnectionCommand::List { printer } => self.list(ConnectionKind::Shared, printer.as_deref()).await,
            SharedConnectionCommand::Revoke { id } => self.revoke(ConnectionKind::Shared, &id).await,
        }
    }

    async fn create_app_connection(
        &mut self,
        printer: &str,
        app: &str,
        expires: Option<&str>,
    ) -> anyhow::Result<Report> {
        let printer: PrinterId = values::read(printer, "id of a printer")?;
        let app: Name = values::read(app, "name for an app")?;
        let expires_at = values::expiry(expires, self.now)?;
        let new = self.store.create_app_connection(&printer, &app, expires_at, self.now).await?;
        let site = self.site().await?;
        let url = site.connection_url(ConnectionKind::App, &new.label);
        let value = completion(&new, &site, &printer, &url);
        let text = format!(
            "Gave the app `{app}` access to the printer `{}`, {}. These are shown only once:\n\n{}\n\
             Try it:\n\n  curl -u {}:{} {url}/",
            new.printer_name,
            expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {}", time(at))),
            facts([
                ("id", new.id.as_str()),
                ("url", &url),
                ("user", &new.basic_user),
                ("password", new.basic_password.expose()),
                ("bearer token", new.bearer.expose()),
                ("app API token", new.app_token.expose()),
            ]),
            new.basic_user,
            new.basic_password.expose(),
        );
        Ok(Report::new(&value, text))
    }

    async fn create_shared_connection(
        &mut self,
        printer: &str,
        password_stdin: bool,
        expires: Option<&str>,
    ) -> anyhow::Result<Report> {
        let printer: PrinterId = values::read(printer, "id of a printer")?;
        let expires_at = values::expiry(expires, self.now)?;
        let password = if password_stdin { Some(values::hash(self.console.read_password()?).await?) } else { None };
        let new = self.store.create_shared_connection(&printer, password.as_ref(), expires_at, self.now).await?;
        let url = self.site().await?.connection_url(ConnectionKind::Shared, &new.label);
        let who = if password_stdin { "Whoever has it and the password gets in" } else { "Whoever has it gets in" };
        let text = format!(
            "Made a link to the printer `{}`. {who}, {}:\n\n{}",
            new.printer_name,
            expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {}", time(at))),
            facts([("id", new.id.as_str()), ("url", &url)]),
        );
        let value = CreatedLink {
            id: new.id.as_str(),
            url: &url,
            printer_name: &new.printer_name,
            has_password: password_stdin,
            expires_at: expires_at.map(time),
        };
        Ok(Report::new(&value, text))
    }

    async fn list(&mut self, kind: ConnectionKind, printer: Option<&str>) -> anyhow::Result<Report> {
        let printer = printer.map(|printer| values::read::<PrinterId>(printer, "id of a printer")).transpose()?;
        let listing = self.store.connections(kind, printer.as_ref()).await?;
        self.warn_if_cut_off(listing.is_cut_off, "; `--printer ID` shows one printer's");
        let create = match kind {
            ConnectionKind::App => "app-connection create --printer ID --app NAME",
            ConnectionKind::Shared => "shared-connection create --printer ID",
        };
        let empty = format!("There are none yet. Make one:\n\n  {}", self.command_line(create));
        if listing.rows.is_empty() {
            return Ok(Report::new(&[(); 0], empty));
        }
        let site = self.site().await?;
        let now = self.now;
        let rows: Vec<ConnectionRow> = listing
            .rows
            .into_iter()
            .map(|connection| {
                let url = site.connection_url(kind, &connection.label);
                let expired = connection.expires_at.is_some_and(|at| at <= now);
                row(connection, url, expired)
            })
            .collect();
        let what = match kind {
            ConnectionKind::App => "APP",
            ConnectionKind::Shared => "PASSWORD",
        };
        Ok(Report::list(
            &rows,
            ["ID", "PRINTER", "OWNER", what, "EXPIRES", "LAST USED", "URL"],
            |row| {
                let password = if row.has_password == Some(true) { "set" } else { "none" };
                let expires_at = row.expires_at.as_deref().unwrap_or("never");
                [
                    row.id.clone(),
                    row.printer_name.clone(),
                    row.owner.clone(),
                    row.app_name.clone().unwrap_or_else(|| password.to_owned()),
                    if row.expired { format!("expired {expires_at}") } else { expires_at.to_owned() },
                    row.last_used_at.clone().unwrap_or_else(|| "never".to_owned()),
                    row.url.clone(),
                ]
            },
            &empty,
        ))
    }

    async fn revoke(&mut self, kind: ConnectionKind, id: &str) -> anyhow::Result<Report> {
        let id: ConnectionId = values::read(id, "id of a connection")?;
        let mut what = format!("the connection `{id}`");
        match self.store.connection_by_id(&id).await? {
            ConnectionLookup::Alive(record) if record.kind == kind => {
                let printer = self.store.printer(&record.printer).await?.name;
                what = match record.app_name {
                    Some(app) => format!("the access of the app `{app}` to the printer `{printer}`"),
                    None => format!("the link to the printer `{printer}`"),
                };
                self.confirm(&format!("Revoke {what}? It ends for good."))?;
            }
            ConnectionLookup::Dead(reason) => bail!("the connection `{id}` ended before: {}", describe(reason)),
            // Unknown, or of the other kind: the store says so below.
            _ => {}
        }
        self.store.revoke_connection(kind, &id, self.now).await?;
        Ok(Report::new(&RevokedConnection { id: id.as_str(), revoked: true }, format!("Revoked {what}.")))
    }
}

fn completion<'a>(new: &'a NewAppConnection, site: &SiteAddress, printer: &PrinterId, url: &'a str) -> Completion<'a> {
    Completion {
        success: "true",
        id: new.id.as_str(),
        url,
        app_api_token: new.app_token.expose(),
        printer_name: &new.printer_name,
        user_printer_access_url: format!("{}/view/{printer}", site.site_url()),
        printer_last_known_local_ip: new.printer_lan_ip.as_deref(),
        auth_basic_http_user: &new.basic_user,
        auth_basic_http_password: new.basic_password.expose(),
        lower_case_user: &new.basic_user,
        lower_case_password: new.basic_password.expose(),
        auth_bearer_token: new.bearer.expose(),
    }
}

fn row(connection: ConnectionSummary, url: String, expired: bool) -> ConnectionRow {
    let is_shared = connection.kind == ConnectionKind::Shared;
    ConnectionRow {
        id: connection.id.into(),
        url,
        printer_id: connection.printer.into(),
        printer_name: connection.printer_name,
        owner: connection.owner.as_str().to_owned(),
        app_name: connection.app_name,
        has_password: is_shared.then_some(connection.has_credentials),
        created_at: time(connection.created_at),
        expires_at: connection.expires_at.map(time),
        expired,
        last_used_at: connection.last_used_at.map(time),
    }
}

fn describe(reason: DeathReason) -> &'static str {
    match reason {
        DeathReason::Revoked => "it was revoked",
        DeathReason::Expired => "its time is over",
        DeathReason::PrinterRemoved => "its printer was removed",
        DeathReason::AccountDeleted => "its account was deleted",
    }
}
