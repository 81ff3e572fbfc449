//! The command API: one JSON-over-HTTP interface for every printer, below [`COMMAND_API_PREFIX`], as apps know it.
//!
//! What a command means, who may give it and what its arguments are is decided here, the same for all printers; what
//! makes it happen is the [`Platform`]'s. It trusts the service for who the caller is, and nothing else of a request.
//!
//! [`COMMAND_API_PREFIX`]: model::wire::COMMAND_API_PREFIX

mod arguments;
mod commands;
mod control;
mod envelope;
mod files;
mod gate;
mod listing;
mod log;
mod native;
mod rights;
mod status;
mod webcam_items;
mod webcams;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{debug, info};
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

pub use self::gate::Gate;
pub use self::log::AgentLog;
pub use self::webcam_items::WebcamMemory;

use self::arguments::{Arguments, MAX_BODY};
use self::commands::Command;
use self::envelope::{json_answer, raw_failure};
use self::webcam_items::WebcamSettings;
use crate::mqtt_proxy::{MqttProxy, OpenedSocket};
use crate::observe::Shared;
use crate::platforms::{CommandFailure, Outcome, Platform};

/// For the arguments to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// For a command, unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(10);
/// Two apps that ask at once make one question to the printer.
const FRESH: Duration = Duration::from_secs(1);
/// For what the printer's software does with files before it answers.
const FILES_LIMIT: Duration = Duration::from_secs(60);

/// What the command API is made of besides the printer.
#[derive(Clone, Default)]
pub struct CommandApiOptions {
    /// Where cameras that the owner has added are kept.
    pub webcams: WebcamMemory,
    /// The agent's own log, for those who ask for it.
    pub log: Option<Arc<dyn AgentLog>>,
}

/// Answers commands. Cheap to clone.
#[derive(Clone)]
pub struct CommandApi {
    shared: Arc<Shared>,
    webcams: Arc<WebcamSettings>,
    log: Option<Arc<dyn AgentLog>>,
    mqtt: MqttProxy,
}

/// A command on its way.
struct Order {
    command: Command,
    arguments: Arguments,
}

impl CommandApi {
    pub(crate) fn new(shared: Arc<Shared>, options: CommandApiOptions) -> Self {
        let webcams = WebcamSettings::open(options.webcams);
        let api = Self { shared, webcams: Arc::new(webcams), log: options.log, mqtt: MqttProxy::default() };
        api.show_local_webcams();
        api
    }

    /// Answers a request below the prefix; `name` is what stands behind it, decoded and in lower case.
    ///
    /// It is not `async`, so that a stranger's body need not be shared between threads.
    pub fn answer<B>(&self, name: &str, request: Request<B>) -> BoxFuture<'static, Response<ServiceBody>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let this = self.clone();
        let name = name.to_owned();
        let is_head = request.method() == Method::HEAD;
        async move {
            let response = this.carry_out(&name, request).await;
            if is_head { response.map(|_| envelope::whole(Bytes::new())) } else { response }
        }
        .boxed()
    }

    /// Opens a WebSocket below the prefix: MQTT is the only one. Not whether the printer answers decides, but whether
    /// it speaks MQTT at all.
    ///
    /// # Errors
    /// What to answer in place of it.
    pub fn open(&self, name: &str, request: Parts) -> Result<OpenedSocket, Box<Response<ServiceBody>>> {
        let open = || {
            let command = Command::from_name(name).ok_or(CommandFailure::UnknownCommand)?;
            if command != Command::MqttProxy {
                return Err(CommandFailure::BadArguments("there is no WebSocket at this address".to_owned()));
            }
            rights::check(command, Arguments::default(), &Method::GET, request.headers.clone())?;
            let platform = self.platform()?;
            let broker = platform.broker().ok_or(CommandFailure::NotSupported)?;
            self.mqtt.open(broker.clone(), &request.headers)
        };
        open().map_err(|failure| Box::new(raw_failure(&failure)))
    }

    async fn carry_out<B>(&self, name: &str, request: Request<B>) -> Response<ServiceBody>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let command = Command::from_name(name);
        if command == Some(Command::FilesUpload) {
            let arguments = Arguments::of_query(parts.uri.query());
            let outcome = async {
                let order = rights::check(Command::FilesUpload, arguments, &parts.method, parts.headers)?;
                self.upload(&order.arguments, body).await
            };
            return json_answer(self.told(Command::FilesUpload, outcome.await));
        }
        let order = async {
            let arguments = Arguments::read(&read_body(body).await?, parts.uri.query())?;
            let command = command.ok_or(CommandFailure::UnknownCommand)?;
            rights::check(command, arguments, &parts.method, parts.headers)
        };
        let order = match order.await {
            Ok(order) => order,
            Err(failure) => {
                debug!("the command {name:?} is refused: {failure}");
                let is_raw = command.is_some_and(Command::is_raw);
                return if is_raw { raw_failure(&failure) } else { json_answer(Err(failure)) };
            }
        };
        match order.command {
            Command::WebcamSnapshot => self.snapshot(&order.arguments).await,
            Command::WebcamStream => self.stream(&order.arguments).await,
            Command::FilesDownload => raw(self.download(&order.arguments).await),
            Command::PluginLogs => raw(self.plugin_log(&order.arguments).await),
            command => {
                let limit = limit_of(&order);
                let outcome = timeout(limit, self.answer_json(&order)).await.unwrap_or_else(|_| {
                    Err(CommandFailure::Failed(format!("the printer has not answered within {} s", limit.as_secs())))
                });
                json_answer(self.told(command, outcome))
            }
        }
    }

    /// Notes in the log what was done to the printer.
    fn told(&self, command: Command, outcome: Outcome<Value>) -> Outcome<Value> {
        if command.acts() {
            match &outcome {
                Ok(_) => info!("the printer was told {}", command.name()),
                Err(failure) => info!("the printer was told {}, in vain: {failure}", command.name()),
            }
            self.shared.context.publisher.look_again();
        }
        outcome
    }

    async fn answer_json(&self, order: &Order) -> Outcome<Value> {
        let arguments = &order.arguments;
        match order.command {
            Command::Ping => Ok(json!({"Message": "Pong"})),
            Command::Status => self.status(arguments).await,
            Command::WebcamList => Ok(self.webcam_list(true)),
            Command::SetDefaultWebcam => self.set_default_webcam(arguments),
            Command::LocalWebcamItems => Ok(self.webcams.items()),
            Command::SetLocalWebcamItems => self.set_local_webcams(arguments),
            Command::ConnectionInfo => Ok(self.connection_info()),
            Command::Pause => self.pause(arguments).await,
            Command::Resume => self.resume().await,
            Command::Cancel => self.cancel().await,
            Command::Start => self.start(arguments).await,
            Command::SetLight => self.set_light(arguments).await,
            Command::MoveAxis => self.move_axis(arguments).await,
            Command::Home => self.home().await,
            Command::Extrude => self.extrude(arguments).await,
            Command::SetTemp => self.set_temperatures(arguments).await,
            Command::Native => self.send_native(arguments).await,
            Command::FilesList => self.list_files(arguments).await,
            Command::FilesDetails => self.file_details(arguments).await,
            Command::FilesDelete => self.delete_file(arguments).await,
            Command::MqttProxy => {
                Err(CommandFailure::BadArguments("this address is for WebSockets: MQTT travels in them".to_owned()))
            }
            // The others are answered before, or refused to everybody.
            _ => Err(CommandFailure::UnknownCommand),
        }
    }

    /// The platform, whatever state the printer is in.
    fn platform(&self) -> Outcome<Arc<dyn Platform>> {
        self.shared.platform().ok_or_else(|| {
            let failure = self.shared.context.publisher.check().err();
            failure.unwrap_or_else(|| CommandFailure::NotConnected("the printer's software is not known".to_owned()))
        })
    }

    /// The platform, if it has a feature and the printer can be told something, by a look no older than `max_age`.
    async fn able(&self, feature: u32, max_age: Duration) -> Outcome<Arc<dyn Platform>> {
        let platform = self.platform()?;
        if platform.facts().features & feature == 0 {
            return Err(CommandFailure::NotSupported);
        }
        platform.refresh(max_age).await;
        self.shared.context.publisher.check()?;
        Ok(platform)
    }

    fn connection_info(&self) -> Value {
        let target = self.shared.context.connector.target();
        // That there is a key is no secret; which one is nobody's business but the printer's.
        let api_key = self.shared.context.api_key.as_ref().map(|_| MASK);
        let login = self.shared.context.login.as_ref().map(|_| MASK);
        let access_code = self.shared.context.access_code.as_ref().map(|_| MASK);
        json!({
            "LocalIp": target.host(), "LocalPort": target.port(), "AccessCode": access_code,
            "SerialNumber": self.shared.context.serial,
            "ApiKey": api_key, "Username": login, "Password": login,
        })
    }
}

/// In place of a secret.
const MASK: &str = "••••••••";

fn raw(outcome: Outcome<Response<ServiceBody>>) -> Response<ServiceBody> {
    outcome.unwrap_or_else(|failure| raw_failure(&failure))
}

/// How long a command may take; native messages say it themselves.
fn limit_of(order: &Order) -> Duration {
    match order.command {
        // Some printers measure their whole bed.
        Command::Home => Duration::from_secs(120),
        Command::Start | Command::FilesList | Command::FilesDetails | Command::FilesDelete => FILES_LIMIT,
        Command::Native => native::MAX_TIMEOUT + LIMIT,
        // They watch the time themselves, because a late answer is not always a failure.
        Command::Pause | Command::Resume | Command::Cancel => 2 * LIMIT,
        _ => LIMIT,
    }
}

async fn read_body<B>(body: B) -> Outcome<Bytes>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let read = timeout(BODY_LIMIT, Limited::new(body, MAX_BODY).collect()).await;
    let body = read.map_err(|_| CommandFailure::BadArguments("the arguments came too slowly".to_owned()))?;
    let failed =
        |_| CommandFailure::BadArguments(format!("the arguments broke off, or are longer than {MAX_BODY} bytes"));
    Ok(body.map_err(failed)?.to_bytes())
}
