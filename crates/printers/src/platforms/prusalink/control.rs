//! What PrusaLink is told.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{PrusaLink, refused};
use crate::platforms::{CommandFailure, FileChange, Outcome, StartOrder};

/// For a print to begin: a printer behind a Raspberry Pi looks for the file first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// For anything else. Whoever asks for it gives up earlier.
const LIMIT: Duration = Duration::from_secs(15);
/// Where files are unless the caller says otherwise.
const STORAGE: &str = "local";
/// Characters of a storage's name.
const MAX_STORAGE: usize = 64;

impl PrusaLink {
    pub(super) async fn pause_job(&self) -> Outcome<()> {
        let path = self.job_path("/pause").await?;
        self.tell(Method::PUT, &path).await
    }

    pub(super) async fn resume_job(&self) -> Outcome<()> {
        let path = self.job_path("/resume").await?;
        self.tell(Method::PUT, &path).await
    }

    pub(super) async fn cancel_job(&self) -> Outcome<()> {
        let path = self.job_path("").await?;
        self.tell(Method::DELETE, &path).await
    }

    /// An address of the job that the last look has shown.
    async fn job_path(&self, verb: &str) -> Outcome<String> {
        let job = self.looking.lock().await.job;
        let job = job.ok_or_else(|| CommandFailure::WrongState("PrusaLink knows of no print".to_owned()))?;
        Ok(format!("/api/v1/job/{job}{verb}"))
    }

    async fn tell(&self, method: Method, path: &str) -> Outcome<()> {
        let answer = self.client.order(method, path, LIMIT).await?;
        match answer.status.as_u16() {
            200 | 204 => Ok(()),
            401 | 403 => Err(refused(&self.client)),
            // 404: another job than the one that was looked at, which is over then.
            404 | 409 => Err(CommandFailure::WrongState("the print is in no state for that".to_owned())),
            status => Err(CommandFailure::BadArguments(format!("the printer refuses: PrusaLink answers {status}"))),
        }
    }

    pub(super) async fn start_print(&self, order: &StartOrder) -> Outcome<FileChange> {
        let storage = storage(order.extras.get("storage"))?;
        let path = format!("/api/v1/files/{storage}/{}", order.path.encoded());
        let answer = self.client.order(Method::POST, &path, START_LIMIT).await?;
        match answer.status.as_u16() {
            200..300 => {
                let platform_path = format!("/{storage}/{}", order.path.relative());
                Ok(FileChange { platform_path, ..FileChange::default() })
            }
            401 | 403 => Err(refused(&self.client)),
            404 => Err(CommandFailure::NotFound("PrusaLink has no such file".to_owned())),
            409 => {
                let problem = "the printer cannot print that now: a print is under way, or it waits for somebody";
                Err(CommandFailure::WrongState(problem.to_owned()))
            }
            status @ 400.. => Err(CommandFailure::Software(status, format!("PrusaLink answers {status}"))),
            status => Err(CommandFailure::Software(502, format!("PrusaLink answers {status}"))),
        }
    }
}

/// The argument `Storage`, which is one segment of a path: `local`, `usb`, `sdcard`.
fn storage(argument: Option<&Value>) -> Outcome<&str> {
    let bad = || CommandFailure::BadArguments("`Storage` must be the name of a storage, like `local`".to_owned());
    let name = match argument {
        None | Some(Value::Null) => return Ok(STORAGE),
        Some(Value::String(name)) => name.trim(),
        Some(_) => return Err(bad()),
    };
    let is_name = (1..=MAX_STORAGE).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name { Ok(name) } else { Err(bad()) }
}
