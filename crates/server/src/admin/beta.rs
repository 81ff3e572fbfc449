//! `spoolway admin beta`.

use clap::Subcommand;
use serde::Serialize;
use store::{EmailAddress, Feature};

use super::report::{Report, time};
use super::{Admin, values};

#[derive(Debug, Subcommand)]
pub(super) enum BetaCommand {
    /// Let an account use a feature that is in beta
    Grant {
        /// The owner's e-mail address
        email: String,
        /// Name of the feature
        feature: String,
    },
    /// Take a feature that is in beta from an account
    Revoke {
        /// The owner's e-mail address
        email: String,
        /// Name of the feature
        feature: String,
    },
    /// List what was granted to whom
    List,
}

#[derive(Serialize)]
struct Grant<'a> {
    email: &'a str,
    feature: &'a str,
    granted: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantRow {
    email: String,
    feature: String,
    granted_at: String,
}

impl Admin<'_, '_> {
    pub(super) async fn beta(&mut self, command: BetaCommand) -> anyhow::Result<Report> {
        match command {
            BetaCommand::Grant { email, feature } => {
                let (email, feature) = read(&email, &feature)?;
                self.store.grant_beta(&email, &feature, self.now).await?;
                Ok(Report::new(
                    &Grant { email: email.as_str(), feature: feature.as_str(), granted: true },
                    format!("The account {email} may use `{feature}`."),
                ))
            }
            BetaCommand::Revoke { email, feature } => {
                let (email, feature) = read(&email, &feature)?;
                self.store.revoke_beta(&email, &feature, self.now).await?;
                Ok(Report::new(
                    &Grant { email: email.as_str(), feature: feature.as_str(), granted: false },
                    format!("The account {email} may not use `{feature}` any more."),
                ))
            }
            BetaCommand::List => self.list_grants().await,
        }
    }

    async fn list_grants(&mut self) -> anyhow::Result<Report> {
        let listing = self.store.beta_grants().await?;
        self.warn_if_cut_off(listing.is_cut_off, "");
        let rows: Vec<GrantRow> = listing
            .rows
            .into_iter()
            .map(|grant| GrantRow {
                email: grant.email.as_str().to_owned(),
                feature: grant.feature.as_str().to_owned(),
                granted_at: time(grant.granted_at),
            })
            .collect();
        Ok(Report::list(
            &rows,
            ["EMAIL", "FEATURE", "GRANTED"],
            |row| [row.email.clone(), row.feature.clone(), row.granted_at.clone()],
            "Nothing was granted to anybody.",
        ))
    }
}

fn read(email: &str, feature: &str) -> anyhow::Result<(EmailAddress, Feature)> {
    Ok((values::read(email, "e-mail address")?, values::read(feature, "name of a feature")?))
}
