//! What the service asks of the agent itself, and the answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use model::link::{KeyAnswer, KeyRequest};
use model::printing::PrinterCommand;
use model::wire;
use thiserror::Error;
use tokio::time::timeout;
use tracing::{info, warn};
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use super::Shared;
use crate::cameras::{picture_response, stream_response};
use crate::detect::software;
use crate::platforms::{CommandFailure, Outcome, PauseOrder};
use crate::print_control::{self, PrintOrder};

/// For OctoPrint to make a key and store it.
const KEY_LIMIT: Duration = Duration::from_secs(15);
/// A request for a key is a short JSON text.
const MAX_REQUEST: usize = 4 * 1024;
/// Of a text for people, cut so that a printer's page full of words does not travel.
const MAX_TEXT: usize = 500;
/// Characters of an app's name; OctoPrint shows it in a list.
const MAX_APP_NAME: usize = 100;

/// Why an app got no key.
#[derive(Debug, Error)]
enum KeyFailure {
    #[error("the printer's software is not OctoPrint")]
    NotOctoPrint,
    #[error("the app's name is missing or too long")]
    BadName,
    #[error("{0}")]
    Refused(#[from] CommandFailure),
}

pub(super) async fn answer<B>(shared: &Shared, request: Request<B>) -> Response<ServiceBody>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let path = request.uri().path().to_owned();
    let is = |method: Method| *request.method() == method;
    if let Some(name) = path.strip_prefix(wire::COMMAND_PATH) {
        return if is(Method::POST) { command(shared, name).await } else { text(StatusCode::METHOD_NOT_ALLOWED, "") };
    }
    if let Some(rest) = path.strip_prefix(wire::CAMERA_PATH) {
        return if is(Method::GET) { camera(shared, rest).await } else { text(StatusCode::METHOD_NOT_ALLOWED, "") };
    }
    if path == wire::OCTOPRINT_KEY_PATH && is(Method::POST) {
        let body = Limited::new(std::pin::pin!(request.into_body()), MAX_REQUEST).collect().await;
        return octoprint_key(shared, body.map(|body| body.to_bytes()).unwrap_or_default()).await;
    }
    text(StatusCode::NOT_FOUND, "")
}

async fn command(shared: &Shared, name: &str) -> Response<ServiceBody> {
    let outcome = match name.parse::<PrinterCommand>() {
        Ok(command) => tell(shared, command).await,
        Err(_) => Err(CommandFailure::NotSupported),
    };
    let failure = match outcome {
        Ok(()) => {
            info!("the printer was told {name}");
            return text(StatusCode::NO_CONTENT, "");
        }
        Err(failure) => failure,
    };
    warn!("the printer was told {name:?}, in vain: {failure}");
    let status = match failure {
        CommandFailure::WrongState(_) | CommandFailure::BadArguments(_) => StatusCode::CONFLICT,
        CommandFailure::NotSupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::BAD_GATEWAY,
    };
    text(status, &failure.to_string())
}

async fn tell(shared: &Shared, command: PrinterCommand) -> Outcome<()> {
    let platform = shared.platform().ok_or(CommandFailure::NotSupported)?;
    let publisher = &shared.context.publisher;
    let order = match command {
        PrinterCommand::Pause => PrintOrder::Pause(PauseOrder::PLAIN),
        PrinterCommand::Resume => PrintOrder::Resume,
        PrinterCommand::Cancel => PrintOrder::Cancel,
        PrinterCommand::LightOn | PrinterCommand::LightOff => {
            return print_control::switch_light(&platform, publisher, None, command == PrinterCommand::LightOn).await;
        }
    };
    print_control::tell(&platform, publisher, &order).await
}

async fn camera(shared: &Shared, path: &str) -> Response<ServiceBody> {
    let Some((index, what)) = path.split_once('/') else { return text(StatusCode::NOT_FOUND, "") };
    let source =
        index.parse::<usize>().ok().and_then(|index| shared.context.publisher.cameras().into_iter().nth(index));
    let Some(source) = source else { return text(StatusCode::NOT_FOUND, "there is no such camera") };
    let outcome = match what {
        wire::SNAPSHOT => shared.hub.snapshot(&source).await.map(picture_response),
        wire::STREAM => stream_response(shared.hub.watch(&source)).await,
        _ => return text(StatusCode::NOT_FOUND, ""),
    };
    outcome.unwrap_or_else(|error| {
        warn!("the camera \"{}\" gives no picture: {error}", source.camera.name);
        text(StatusCode::BAD_GATEWAY, &error.to_string())
    })
}

async fn octoprint_key(shared: &Shared, body: Bytes) -> Response<ServiceBody> {
    let outcome = async {
        if shared.status.borrow().software != software::OCTOPRINT {
            return Err(KeyFailure::NotOctoPrint);
        }
        let request: KeyRequest = serde_json::from_slice(&body).map_err(|_| KeyFailure::BadName)?;
        let app = request.app.trim();
        if app.is_empty() || app.chars().count() > MAX_APP_NAME || app.chars().any(char::is_control) {
            return Err(KeyFailure::BadName);
        }
        let platform = shared.platform().ok_or(KeyFailure::NotOctoPrint)?;
        let made = timeout(KEY_LIMIT, platform.application_key(app)).await;
        Ok(made.unwrap_or_else(|_| Err(CommandFailure::Failed("OctoPrint has not answered in time".to_owned())))?)
    };
    let failure = match outcome.await {
        Ok(key) => {
            let answer = KeyAnswer { api_key: key.expose().to_owned() };
            // Text and nothing else always becomes JSON.
            let json = serde_json::to_vec(&answer).unwrap_or_default();
            let mut response = text(StatusCode::OK, "").map(|_| whole(json.into()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return response;
        }
        Err(failure) => failure,
    };
    warn!("an app's key was not made: {failure}");
    let status = match failure {
        KeyFailure::NotOctoPrint => StatusCode::NOT_IMPLEMENTED,
        KeyFailure::BadName => StatusCode::BAD_REQUEST,
        KeyFailure::Refused(CommandFailure::Failed(_)) => StatusCode::GATEWAY_TIMEOUT,
        KeyFailure::Refused(_) => StatusCode::BAD_GATEWAY,
    };
    text(status, &failure.to_string())
}

fn text(status: StatusCode, message: &str) -> Response<ServiceBody> {
    let message: String = message.chars().take(MAX_TEXT).collect();
    let is_empty = message.is_empty();
    let mut response = Response::new(whole(message.into()));
    *response.status_mut() = status;
    if !is_empty {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
    }
    response
}

fn whole(body: Bytes) -> ServiceBody {
    Full::new(body).map_err(BoxError::from).boxed_unsync()
}
