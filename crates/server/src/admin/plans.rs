//! `spoolway admin plan`.

use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use model::{Limits, Plan, WebcamWindow};
use serde::Serialize;

use super::report::Report;
use super::{Admin, values};

#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// Make a plan, or change what is named of an existing one
    ///
    /// A new plan includes everything and limits nothing but what is named. A limit of `none` is taken away.
    Set {
        /// Name of the plan
        name: String,
        /// Whether App Connections work (answered with 605 where they do not)
        #[arg(long, value_name = "true|false")]
        supporter: Option<bool>,
        /// Bytes of one upload; more is refused with 608
        #[arg(long, value_name = "BYTES")]
        max_upload: Option<String>,
        /// Bytes of one download; more is refused with 607
        #[arg(long, value_name = "BYTES")]
        max_download: Option<String>,
        /// Seconds after which a webcam stream is cut
        #[arg(long, value_name = "N")]
        webcam_stream_seconds: Option<String>,
        /// Length of the moving window in which webcam streaming is counted
        #[arg(long, value_name = "N")]
        webcam_window_seconds: Option<String>,
        /// Seconds of webcam streaming within the window; more is refused with 609
        #[arg(long, value_name = "N")]
        webcam_total_seconds: Option<String>,
    },
    /// List the plans
    List,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanRow {
    name: String,
    supporter: bool,
    max_upload_bytes: Option<u64>,
    max_download_bytes: Option<u64>,
    webcam_stream_seconds: Option<u64>,
    webcam_window_seconds: Option<u64>,
    webcam_total_seconds: Option<u64>,
    /// Programs find it in the list of accounts.
    #[serde(skip)]
    n_accounts: u64,
}

/// A limit that was named: a number, or that there is to be none.
type NamedLimit = Option<Option<u64>>;

impl Admin<'_, '_> {
    pub(super) async fn plan(&mut self, command: PlanCommand) -> anyhow::Result<Report> {
        match command {
            PlanCommand::Set {
                name,
                supporter,
                max_upload,
                max_download,
                webcam_stream_seconds,
                webcam_window_seconds,
                webcam_total_seconds,
            } => {
                let read = |text: Option<String>| text.as_deref().map(values::limit).transpose();
                let named = Named {
                    supporter,
                    max_upload: read(max_upload)?,
                    max_download: read(max_download)?,
                    webcam_stream_seconds: read(webcam_stream_seconds)?,
                    webcam_window_seconds: read(webcam_window_seconds)?,
                    webcam_total_seconds: read(webcam_total_seconds)?,
                };
                self.set_plan(&name, named).await
            }
            PlanCommand::List => self.list_plans().await,
        }
    }

    async fn set_plan(&mut self, name: &str, named: Named) -> anyhow::Result<Report> {
        let window = named.window()?;
        let plan = self
            .store
            .set_plan(name, self.now, |plan| {
                named.apply(plan);
                if let Some(window) = window {
                    plan.limits.webcam_window = window;
                }
            })
            .await?;
        let row = row(plan, 0);
        let next = self.command_line(&format!("user set-plan EMAIL {name}"));
        let text = format!("{}\n\nGive it to an account:\n\n  {next}", describe(&row));
        Ok(Report::new(&row, text))
    }

    async fn list_plans(&mut self) -> anyhow::Result<Report> {
        let listing = self.store.plans().await?;
        self.warn_if_cut_off(listing.is_cut_off, "");
        let rows: Vec<PlanRow> =
            listing.rows.into_iter().map(|summary| row(summary.plan, summary.n_accounts)).collect();
        let cell = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        Ok(Report::list(
            &rows,
            ["NAME", "SUPPORTER", "UPLOAD BYTES", "DOWNLOAD BYTES", "WEBCAM SECONDS", "WEBCAM WINDOW", "ACCOUNTS"],
            |row| {
                let window = match (row.webcam_total_seconds, row.webcam_window_seconds) {
                    (Some(total), Some(window)) => format!("{total} in {window}"),
                    _ => "none".to_owned(),
                };
                [
                    row.name.clone(),
                    if row.supporter { "yes" } else { "no" }.to_owned(),
                    cell(row.max_upload_bytes),
                    cell(row.max_download_bytes),
                    cell(row.webcam_stream_seconds),
                    window,
                    row.n_accounts.to_string(),
                ]
            },
            "There are no plans.",
        ))
    }
}

/// What was named on the command line.
struct Named {
    supporter: Option<bool>,
    max_upload: NamedLimit,
    max_download: NamedLimit,
    webcam_stream_seconds: NamedLimit,
    webcam_window_seconds: NamedLimit,
    webcam_total_seconds: NamedLimit,
}

impl Named {
    fn apply(&self, plan: &mut Plan) {
        let Limits { max_upload_bytes, max_download_bytes, webcam_stream, .. } = &mut plan.limits;
        if let Some(supporter) = self.supporter {
            plan.supporter = supporter;
        }
        if let Some(limit) = self.max_upload {
            *max_upload_bytes = limit;
        }
        if let Some(limit) = self.max_download {
            *max_download_bytes = limit;
        }
        if let Some(limit) = self.webcam_stream_seconds {
            *webcam_stream = limit.map(Duration::from_secs);
        }
    }

    /// The window, if it was named: both halves, or `none`.
    fn window(&self) -> anyhow::Result<Option<Option<WebcamWindow>>> {
        let window = match (self.webcam_window_seconds, self.webcam_total_seconds) {
            (None, None) => None,
            (Some(Some(window)), Some(Some(total))) => {
                Some(Some(WebcamWindow { window: Duration::from_secs(window), total: Duration::from_secs(total) }))
            }
            (Some(None), None | Some(None)) | (None, Some(None)) => Some(None),
            _ => bail!("`--webcam-window-seconds` and `--webcam-total-seconds` are given together"),
        };
        Ok(window)
    }
}

fn row(plan: Plan, n_accounts: u64) -> PlanRow {
    let Limits { max_upload_bytes, max_download_bytes, webcam_stream, webcam_window } = plan.limits;
    PlanRow {
        name: plan.name,
        supporter: plan.supporter,
        max_upload_bytes,
        max_download_bytes,
        webcam_stream_seconds: webcam_stream.map(|length| length.as_secs()),
        webcam_window_seconds: webcam_window.map(|window| window.window.as_secs()),
        webcam_total_seconds: webcam_window.map(|window| window.total.as_secs()),
        n_accounts,
    }
}

fn describe(row: &PlanRow) -> String {
    let mut limits = Vec::new();
    if let Some(bytes) = row.max_upload_bytes {
        limits.push(format!("an upload has at most {bytes} bytes"));
    }
    if let Some(bytes) = row.max_download_bytes {
        limits.push(format!("a download has at most {bytes} bytes"));
    }
    if let Some(seconds) = row.webcam_stream_seconds {
        limits.push(format!("a webcam stream is cut after {seconds} seconds"));
    }
    if let (Some(total), Some(window)) = (row.webcam_total_seconds, row.webcam_window_seconds) {
        limits.push(format!("webcams stream for {total} seconds in any {window}"));
    }
    if limits.is_empty() {
        limits.push("nothing is limited".to_owned());
    }
    let includes = if row.supporter { "includes" } else { "does not include" };
    format!("The plan `{}` {includes} App Connections:\n  {}", row.name, limits.join("\n  "))
}
