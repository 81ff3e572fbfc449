//! What OctoPrint is told.

use std::time::Duration;

use http::StatusCode;
use model::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::OctoPrint;
use super::state::refused;
use crate::platforms::{CommandFailure, Outcome, PauseOrder};

/// Between looks at a printer that is about to pause.
const PAUSING_PERIOD: Duration = Duration::from_millis(250);
/// So often it is looked at: within the time that a command has.
const PAUSING_LOOKS: u32 = 30;

impl OctoPrint {
    pub(super) async fn pause_print(&self, order: &PauseOrder) -> Outcome<()> {
        self.tell_job(&json!({"command": "pause", "action": "pause"})).await?;
        self.looking.lock().await.smart_pause.handle_order(order);
        Ok(())
    }

    pub(super) async fn resume_print(&self) -> Outcome<()> {
        // A printer that is about to pause works off its buffer first. OctoPrint takes a resume for it and forgets it.
        for _ in 0..PAUSING_LOOKS {
            if self.looking.lock().await.is_paused {
                break;
            }
            tokio::time::sleep(PAUSING_PERIOD).await;
            self.look(Duration::ZERO).await;
        }
        if !self.looking.lock().await.is_paused {
            return Err(CommandFailure::WrongState("the printer has not come to rest yet; try again".to_owned()));
        }
        let lines = self.looking.lock().await.smart_pause.handle_resume();
        // The printer works them off before anything that follows, so the print goes on with hot heaters.
        self.send_lines(&lines).await?;
        self.tell_job(&json!({"command": "pause", "action": "resume"})).await
    }

    pub(super) async fn cancel_print(&self) -> Outcome<()> {
        self.tell_job(&json!({"command": "cancel"})).await
    }

    /// Sends lines of G-code to the printer, if there are any.
    pub(super) async fn send_lines(&self, lines: &[String]) -> Outcome<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let answer = self.client.post("/api/printer/command", &json!({"commands": lines})).await?;
        self.check_told(answer.status)
    }

    async fn tell_job(&self, order: &Value) -> Outcome<()> {
        let answer = self.client.post("/api/job", order).await?;
        self.check_told(answer.status)
    }

    fn check_told(&self, status: StatusCode) -> Outcome<()> {
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => Err(CommandFailure::WrongState(
                "the print is in no state for that, or the printer is not connected to OctoPrint".to_owned(),
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(&self.client)),
            status => Err(CommandFailure::Failed(format!("OctoPrint answers {}", status.as_u16()))),
        }
    }

    /// A key for an app, from OctoPrint's plug-in Application Keys. The same app gets the same key again.
    pub(super) async fn make_key(&self, app: &str) -> Outcome<Secret> {
        #[derive(Deserialize)]
        struct Made {
            api_key: String,
        }
        let answer = self.client.post("/api/plugin/appkeys", &json!({"command": "generate", "app": app})).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(refused(&self.client)),
            status => {
                let problem = format!("OctoPrint answers {} when it is asked for a key", status.as_u16());
                return Err(CommandFailure::Software(status.as_u16(), problem));
            }
        }
        let made: Made = answer.json()?;
        // Keys have letters and digits, 32 of them at present. Anything else is no key, and would break headers.
        let is_key =
            (1..=256).contains(&made.api_key.len()) && made.api_key.bytes().all(|byte| byte.is_ascii_graphic());
        if is_key {
            Ok(Secret::new(made.api_key))
        } else {
            Err(CommandFailure::Software(502, "OctoPrint's answer holds no key".to_owned()))
        }
    }
}
