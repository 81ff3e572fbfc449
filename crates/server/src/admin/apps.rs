//! `spoolway admin app`.

use anyhow::ensure;
use clap::Subcommand;
use serde::Serialize;
use store::{Name, RegisteredApp};
use web::ReturnPattern;

use super::report::{Report, time};
use super::{Admin, values};

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Register an app, or change one: the portal then shows its name, and gives its keys to these addresses only
    ///
    /// A return pattern is a scheme (`myapp:`), a URL with any query (`https://example.org/callback`), or everything
    /// below one (`https://example.org/app/*`). Without any, the app ends at the portal's own last page.
    Add {
        /// What the app sends as `appId`
        id: String,
        /// Name that people see
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Where its keys may go; can be given several times
        #[arg(long = "return", value_name = "PATTERN")]
        returns: Vec<String>,
    },
    /// List the registered apps
    List,
    /// Take an app out of the register; its connections stay
    Remove {
        /// What the app sends as `appId`
        id: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppRow {
    id: String,
    name: String,
    return_patterns: Vec<String>,
    created_at: String,
}

#[derive(Serialize)]
struct RemovedApp<'a> {
    id: &'a str,
    removed: bool,
}

/// As many as anybody lists by hand.
const MAX_PATTERNS: usize = 20;
/// What the portal takes for an id.
const MAX_ID: usize = 64;

impl Admin<'_, '_> {
    pub(super) async fn app(&mut self, command: AppCommand) -> anyhow::Result<Report> {
        match command {
            AppCommand::Add { id, name, returns } => self.add_app(&id, &name, &returns).await,
            AppCommand::List => self.list_apps().await,
            AppCommand::Remove { id } => self.remove_app(&id).await,
        }
    }

    async fn add_app(&mut self, id: &str, name: &str, returns: &[String]) -> anyhow::Result<Report> {
        let is_id = (1..=MAX_ID).contains(&id.len()) && id == id.trim() && !id.chars().any(char::is_control);
        ensure!(is_id, "the id of an app has 1 to 64 characters on one line");
        let name: Name = values::read(name, "name for an app")?;
        ensure!(returns.len() <= MAX_PATTERNS, "an app has at most {MAX_PATTERNS} return patterns");
        let mut patterns = Vec::new();
        for pattern in returns {
            patterns.push(values::read::<ReturnPattern>(pattern, "return pattern")?.to_string());
        }
        let app = RegisteredApp { id: id.to_owned(), name, return_patterns: patterns, created_at: self.now };
        let text = format!("Registered the app `{}` as `{}`. Its keys go to {}.", app.id, app.name, receivers(&app));
        self.store.put_app(app.clone()).await?;
        Ok(Report::new(&row(app), text))
    }

    async fn list_apps(&mut self) -> anyhow::Result<Report> {
        let rows: Vec<AppRow> = self.store.apps().await?.into_iter().map(row).collect();
        let create = self.command_line("app add ID --name NAME --return PATTERN");
        Ok(Report::list(
            &rows,
            ["ID", "NAME", "RETURNS TO", "REGISTERED"],
            |row| [row.id.clone(), row.name.clone(), row.return_patterns.join(" "), row.created_at.clone()],
            &format!("There are none yet. Register one:\n\n  {create}"),
        ))
    }

    async fn remove_app(&mut self, id: &str) -> anyhow::Result<Report> {
        self.store.remove_app(id).await?;
        let text = format!("Took the app `{id}` out of the register. People who connect it are warned from now on.");
        Ok(Report::new(&RemovedApp { id, removed: true }, text))
    }
}

fn receivers(app: &RegisteredApp) -> String {
    if app.return_patterns.is_empty() {
        return "the portal's own last page only".to_owned();
    }
    app.return_patterns.join(", ")
}

fn row(app: RegisteredApp) -> AppRow {
    AppRow {
        id: app.id,
        name: app.name.to_string(),
        return_patterns: app.return_patterns,
        created_at: time(app.created_at),
    }
}
