//! `spoolway admin user`.

use clap::Subcommand;
use serde::Serialize;
use store::EmailAddress;

use super::report::{Report, quoted, time};
use super::{Admin, values};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add an account
    Add {
        /// The owner's e-mail address
        email: String,
        /// Plan of the account; `unlimited` if left out
        #[arg(long, value_name = "NAME")]
        plan: Option<String>,
        /// Read the owner's password from the first line of stdin; without it, nobody can sign in
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the accounts
    List,
    /// Give an account another plan
    SetPlan {
        /// The owner's e-mail address
        email: String,
        /// Name of the plan
        plan: String,
    },
    /// Give an account another password, for somebody who has lost theirs; signs all its browsers out
    SetPassword {
        /// The owner's e-mail address
        email: String,
        /// Read the password from the first line of stdin
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Make an account an administrator of the site, or an ordinary account again
    SetAdmin {
        /// The owner's e-mail address
        email: String,
        /// Whether it is to be one
        #[arg(value_parser = clap::value_parser!(bool), action = clap::ArgAction::Set)]
        admin: bool,
    },
    /// Delete an account with its printers and connections
    Delete {
        /// The owner's e-mail address
        email: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    account_id: String,
    email: String,
    plan: String,
    has_password: bool,
    is_admin: bool,
    printers: u64,
    created_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddedUser<'a> {
    account_id: &'a str,
    email: &'a str,
    plan: &'a str,
}

#[derive(Serialize)]
struct MovedUser<'a> {
    email: &'a str,
    plan: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangedUser<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_admin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_password: Option<bool>,
}

#[derive(Serialize)]
struct DeletedUser<'a> {
    email: &'a str,
    deleted: bool,
}

impl Admin<'_, '_> {
    pub(super) async fn user(&mut self, command: UserCommand) -> anyhow::Result<Report> {
        match command {
            UserCommand::Add { email, plan, password_stdin } => self.add_user(&email, plan, password_stdin).await,
            UserCommand::List => self.list_users().await,
            UserCommand::SetPlan { email, plan } => self.set_plan_of_user(&email, &plan).await,
            UserCommand::SetPassword { email, password_stdin: _ } => self.set_password_of_user(&email).await,
            UserCommand::SetAdmin { email, admin } => self.set_admin(&email, admin).await,
            UserCommand::Delete { email } => self.delete_user(&email).await,
        }
    }

    async fn add_user(&mut self, email: &str, plan: Option<String>, password_stdin: bool) -> anyhow::Result<Report> {
        let email: EmailAddress = values::read(email, "e-mail address")?;
        let password = if password_stdin { Some(values::hash(self.console.read_password()?).await?) } else { None };
        let id = self.store.add_account(&email, plan.as_deref(), password.as_ref(), self.now).await?;
        let plan = plan.as_deref().unwrap_or(model::Plan::DEFAULT_NAME);
        let next = self.command_line(&format!("printer add --owner {} --name NAME", quoted(email.as_str())));
        Ok(Report::new(
            &AddedUser { account_id: id.as_str(), email: email.as_str(), plan },
            format!("Added the account {email} with the plan `{plan}`.\n\nNext, add a printer:\n\n  {next}"),
        ))
    }

    async fn list_users(&mut self) -> anyhow::Result<Report> {
        let listing = self.store.accounts().await?;
        self.warn_if_cut_off(listing.is_cut_off, "");
        let users: Vec<User> = listing
            .rows
            .into_iter()
            .map(|row| User {
                account_id: row.id.into(),
                email: row.email.as_str().to_owned(),
                plan: row.plan,
                has_password: row.has_password,
                is_admin: row.is_admin,
                printers: row.n_printers,
                created_at: time(row.created_at),
            })
            .collect();
        let empty =
            format!("There are no accounts yet. Add one:\n\n  {}", self.command_line("user add name@example.org"));
        Ok(Report::list(
            &users,
            ["EMAIL", "PLAN", "PASSWORD", "PRINTERS", "ADDED"],
            |user| {
                let password = if user.has_password { "set" } else { "none" };
                [
                    user.email.clone(),
                    user.plan.clone(),
                    password.to_owned(),
                    user.printers.to_string(),
                    user.created_at.clone(),
                ]
            },
            &empty,
        ))
    }

    async fn set_plan_of_user(&mut self, email: &str, plan: &str) -> anyhow::Result<Report> {
        let email: EmailAddress = values::read(email, "e-mail address")?;
        self.store.set_account_plan(&email, plan, self.now).await?;
        Ok(Report::new(
            &MovedUser { email: email.as_str(), plan },
            format!("The account {email} has the plan `{plan}`."),
        ))
    }

    async fn set_password_of_user(&mut self, email: &str) -> anyhow::Result<Report> {
        let email: EmailAddress = values::read(email, "e-mail address")?;
        let Some(login) = self.store.account_for_login(&email).await? else {
            anyhow::bail!("there is no account `{email}`");
        };
        let hash = values::hash(self.console.read_password()?).await?;
        self.store.set_password(&login.account, &hash, None, self.now).await?;
        Ok(Report::new(
            &ChangedUser { email: email.as_str(), is_admin: None, has_password: Some(true) },
            format!("The account {email} has a new password, and its browsers are signed out."),
        ))
    }

    async fn set_admin(&mut self, email: &str, admin: bool) -> anyhow::Result<Report> {
        let email: EmailAddress = values::read(email, "e-mail address")?;
        self.store.set_admin(&email, admin, self.now).await?;
        let what = if admin { "is an administrator" } else { "is no administrator" };
        Ok(Report::new(
            &ChangedUser { email: email.as_str(), is_admin: Some(admin), has_password: None },
            format!("The account {email} {what}."),
        ))
    }

    async fn delete_user(&mut self, email: &str) -> anyhow::Result<Report> {
        let email: EmailAddress = values::read(email, "e-mail address")?;
        let n_printers = self.store.printers(Some(&email)).await?.rows.len();
        let printers = match n_printers {
            0 => "It has no printers.".to_owned(),
            1 => "Its printer goes with it, and all connections to it end for good.".to_owned(),
            more => format!("Its {more} printers go with it, and all connections to them end for good."),
        };
        self.confirm(&format!("Delete the account {email}? {printers}"))?;
        self.store.delete_account(&email, self.now).await?;
        Ok(Report::new(&DeletedUser { email: email.as_str(), deleted: true }, format!("Deleted the account {email}.")))
    }
}
