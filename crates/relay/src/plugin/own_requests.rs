//! What the service itself asks of a plugin: what the printer does, to do something, and pictures.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use model::printing::PrinterCommand;
use model::wire;
use octo::session::{BodyLength, OpenError};
use octo::{Picture, Session, StreamId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::link::{PluginLink, Said, not_found, open_error, with_body};
use super::{orders, status};
use crate::link::{LinkBody, LinkError};

/// For a plugin to say what its printer does. It asks the printer only where it does not know already.
const STATUS_LIMIT: Duration = Duration::from_secs(20);
/// For the head of a picture: a camera behind the plugin has eight seconds for it (command-api.md 9.4).
const PICTURE_LIMIT: Duration = Duration::from_secs(20);
/// An answer to a command: a status with eight cameras is below ten kilobytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Statuses of the command API (command-api.md 2).
mod command_status {
    pub(super) const OK: u64 = 200;
    pub(super) const UNKNOWN_COMMAND: u64 = 754;
    pub(super) const HOST_NOT_CONNECTED: u64 = 785;
    pub(super) const WRONG_STATE: u64 = 786;
    pub(super) const NOT_SUPPORTED: u64 = 788;
    pub(super) const CREDENTIALS: u64 = 789;
}

/// A plugin's answer to a command.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    status: u64,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    result: Value,
}

impl PluginLink {
    /// Asks what the printer does. Returns whether that is something new.
    pub(super) async fn ask_status(&self) -> Result<bool, LinkError> {
        let answer = self.command("status", &json!({}), STATUS_LIMIT).await?;
        let said = match answer.status {
            command_status::OK => Said { report: status::read(answer.result), problem: String::new() },
            command_status::HOST_NOT_CONNECTED => problem("the plugin has no connection to the printer"),
            command_status::CREDENTIALS => problem("the printer rejects the plugin's credentials"),
            // An older plugin, or one that cannot tell: that is no fault of the printer's.
            _ => Said::default(),
        };
        let mut known = self.said.write();
        let is_new = *known != said;
        *known = said;
        Ok(is_new)
    }

    /// Answers what our own agent would be asked, by the plugin's means.
    pub(super) async fn ask_plugin(&self, request: Request<Bytes>) -> Result<Response<LinkBody>, LinkError> {
        let path = request.uri().path();
        if let Some(command) = path.strip_prefix(wire::COMMAND_PATH) {
            return match command.parse() {
                Ok(command) => self.give_order(command).await,
                Err(_) => Ok(with_status(StatusCode::NOT_IMPLEMENTED, "")),
            };
        }
        let Some((index, picture)) = path.strip_prefix(wire::CAMERA_PATH).and_then(|rest| rest.split_once('/')) else {
            return Ok(not_found());
        };
        let picture = match picture {
            wire::SNAPSHOT => Picture::Snapshot,
            wire::STREAM => Picture::Stream,
            _ => return Ok(not_found()),
        };
        match index.parse() {
            Ok(index) if self.may_have_camera(index) => self.show_camera(picture, index).await,
            _ => Ok(not_found()),
        }
    }

    /// The plugin would show its first camera in place of one that is not there.
    fn may_have_camera(&self, index: usize) -> bool {
        let said = self.said.read();
        said.report.as_ref().is_none_or(|report| index < report.state.cameras.len())
    }

    async fn show_camera(&self, picture: Picture, index: usize) -> Result<Response<LinkBody>, LinkError> {
        let open = |session: &mut Session| session.open_camera(picture, index, &self.own_authority);
        let mut response = self.ask(open, None, PICTURE_LIMIT).await?;
        // The camera's own answers: it is there, and gave no picture.
        if response.status() != StatusCode::OK {
            *response.status_mut() = StatusCode::BAD_GATEWAY;
        }
        Ok(response)
    }

    async fn give_order(&self, command: PrinterCommand) -> Result<Response<LinkBody>, LinkError> {
        let (name, arguments) = match command {
            // With nothing at all for arguments, the plugin would keep the pause to itself (command-api.md 7).
            PrinterCommand::Pause => ("pause", json!({})),
            PrinterCommand::Resume => ("resume", json!({})),
            PrinterCommand::Cancel => ("cancel", json!({})),
            PrinterCommand::LightOn | PrinterCommand::LightOff => {
                let said = self.said.read().clone();
                let Some(name) = said.report.and_then(|report| report.lights.into_iter().next()) else {
                    return Ok(with_status(StatusCode::NOT_IMPLEMENTED, ""));
                };
                ("set-light", json!({ "Name": name, "On": command == PrinterCommand::LightOn }))
            }
        };
        let answer = self.command(name, &arguments, self.timeouts.command).await?;
        Ok(match answer.status {
            command_status::OK => with_status(StatusCode::NO_CONTENT, ""),
            command_status::WRONG_STATE => with_status(StatusCode::CONFLICT, &answer.error.unwrap_or_default()),
            400 => with_status(StatusCode::CONFLICT, &answer.error.unwrap_or_default()),
            command_status::UNKNOWN_COMMAND | command_status::NOT_SUPPORTED => {
                with_status(StatusCode::NOT_IMPLEMENTED, &answer.error.unwrap_or_default())
            }
            _ => with_status(StatusCode::BAD_GATEWAY, &answer.error.unwrap_or_default()),
        })
    }

    async fn command(&self, name: &str, arguments: &Value, limit: Duration) -> Result<Answer, LinkError> {
        let body = Bytes::from(arguments.to_string());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(format!("{}{name}", wire::COMMAND_API_PREFIX))
            .map_err(|_| LinkError::Agent("the command has no address".to_owned()))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let length = BodyLength::Known(body.len() as u64);
        let open = |session: &mut Session| session.open_command(&request, &self.own_authority, length);
        let asking = async {
            let response = self.ask(open, Some(body), limit).await?;
            let unreadable = || LinkError::Agent("its answer to a command cannot be read".to_owned());
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|_| unreadable())?;
            serde_json::from_slice(&body.to_bytes()).map_err(|_| unreadable())
        };
        tokio::time::timeout(limit, asking).await.unwrap_or(Err(LinkError::Timeout))
    }

    async fn ask(
        &self,
        open: impl FnOnce(&mut Session) -> Result<StreamId, OpenError>,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<Response<LinkBody>, LinkError> {
        let (sender, head) = oneshot::channel();
        self.shared.room().await;
        let guard = self.shared.open(Some(sender), None, open).map_err(open_error)?;
        if let Some(body) = body {
            self.shared.command(|session| {
                // A stream that is over by now says so below.
                let _ = session.send_body(guard.id, body).and_then(|()| session.finish_body(guard.id));
            });
        }
        match tokio::time::timeout(limit, head).await {
            Ok(head) => Ok(with_body(head.unwrap_or(Err(LinkError::Lost))?, guard)),
            Err(_) => Err(LinkError::Timeout),
        }
    }
}

fn problem(text: &str) -> Said {
    Said { report: None, problem: text.to_owned() }
}

fn with_status(status: StatusCode, text: &str) -> Response<LinkBody> {
    let mut response = orders::own_response(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    response
}
