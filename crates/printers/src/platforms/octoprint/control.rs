//! What OctoPrint is told.

use http::StatusCode;
use model::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::OctoPrint;
use super::state::refused;
use crate::platforms::{CommandFailure, Outcome};

impl OctoPrint {
    pub(super) async fn pause_print(&self) -> Outcome<()> {
        self.tell_job(&json!({"command": "pause", "action": "pause"})).await
    }

    pub(super) async fn resume_print(&self) -> Outcome<()> {
        self.tell_job(&json!({"command": "pause", "action": "resume"})).await
    }

    pub(super) async fn cancel_print(&self) -> Outcome<()> {
        self.tell_job(&json!({"command": "cancel"})).await
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
