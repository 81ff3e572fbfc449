//! What OctoPrint is told.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use model::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::OctoPrint;
use super::state::refused;
use crate::platforms::{CommandFailure, NativeAnswer, NativeCommand, Outcome, PauseOrder};

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

    pub(super) async fn pass_native(&self, command: &NativeCommand) -> Outcome<NativeAnswer> {
        let http = command.http.as_ref().ok_or(CommandFailure::NotSupported)?;
        let (answer, headers) = self.client.pass(http).await?;
        let mut response = json!({
            "StatusCode": answer.status.as_u16(),
            "Headers": texts(&headers),
            "Url": format!("{}{}", self.client.target(), http.path),
            "BodySizeBytes": answer.body().len(),
        });
        let body = answer.body();
        match (serde_json::from_slice::<Value>(body), std::str::from_utf8(body)) {
            (Ok(json), _) => response["BodyAsJson"] = json,
            (_, Ok(text)) => response["BodyAsText"] = json!(text),
            _ => response["BodyAsBase64"] = json!(STANDARD.encode(body)),
        }
        Ok(NativeAnswer { response: Some(response), is_error: answer.status.as_u16() >= 400 })
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

/// Headers as texts; those that are none are left out, and so are cookies, which are the agent's own.
fn texts(headers: &HeaderMap) -> Value {
    let pairs = headers.iter().filter(|(name, _)| **name != http::header::SET_COOKIE);
    pairs.filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?)))).collect()
}
