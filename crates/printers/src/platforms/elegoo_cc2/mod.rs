//! Elegoo's Centauri Carbon 2: the printer is an MQTT broker, asked by method numbers.
//!
//! It wants its clients to register, takes few of them, and pushes what changes. Everybody shares the agent's one
//! connection.

mod camera;
mod control;
mod pending;
mod session;
mod state;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::Secret;
use parking_lot::Mutex;

use self::pending::Pending;
use self::state::Known;
use super::{
    Facts, FileRights, Heat, Move, NativeAnswer, NativeCommand, Observed, Outcome, PauseOrder, Platform,
    PlatformContext, Transport, feature,
};
use crate::mqtt::{BrokerOptions, PrinterBroker};

const FEATURES: u32 = feature::LIGHT | feature::MOVE | feature::HOME | feature::SET_TEMP;
/// Its only user.
const USERNAME: &str = "elegoo";
/// The access code of a printer whose owner has set none.
const FACTORY_CODE: &str = "123456";
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// What it is called where it does not say so itself.
const DEFAULT_VERSION: &str = "Elegoo-CC2";

/// One Centauri Carbon 2.
struct ElegooCc2 {
    context: PlatformContext,
    broker: PrinterBroker,
    topics: Topics,
    pending: Pending,
    known: Mutex<Known>,
}

/// The topics of one printer and one client.
struct Topics {
    client_id: String,
    register: String,
    register_response: String,
    status: String,
    request: String,
    response: String,
}

impl Topics {
    fn new(serial: &str, client_id: String) -> Self {
        let own = format!("elegoo/{serial}/{client_id}");
        Self {
            register: format!("elegoo/{serial}/api_register"),
            register_response: format!("{own}_req/register_response"),
            status: format!("elegoo/{serial}/api_status"),
            request: format!("{own}/api_request"),
            response: format!("{own}/api_response"),
            client_id,
        }
    }
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    // As the maker's own programs on computers call themselves.
    let number: String =
        model::RequestId::generate().to_string().bytes().take(4).map(|byte| char::from(b'0' + byte % 10)).collect();
    let client_id = format!("1_PC_{number}");
    let options = BrokerOptions {
        client_id: client_id.clone(),
        username: Some(USERNAME.to_owned()),
        password: Some(context.access_code.clone().unwrap_or_else(|| Secret::new(FACTORY_CODE))),
        keep_alive: KEEP_ALIVE,
        tls: None,
        hangs_up_on_strangers: false,
    };
    let broker = PrinterBroker::over(context.connector.clone(), options);
    let serial = context.serial.clone().unwrap_or_default();
    Arc::new(ElegooCc2 {
        broker,
        topics: Topics::new(&serial, client_id),
        context,
        pending: Pending::default(),
        known: Mutex::default(),
    })
}

impl ElegooCc2 {
    fn publish(&self, observed: Observed) {
        self.context.publisher.publish(observed);
    }
}

impl Platform for ElegooCc2 {
    fn facts(&self) -> Facts {
        let version = self.known.lock().version.clone();
        Facts {
            features: FEATURES,
            version: version.unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
            transport: Some(Transport::Mqtt),
            files: FileRights::default(),
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        async {
            tokio::join!(self.broker.run(), session::follow(self));
        }
        .boxed()
    }

    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.order(control::method::PAUSE).boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.order(control::method::RESUME).boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.order(control::method::STOP).boxed()
    }

    fn set_light<'a>(&'a self, name: Option<&'a str>, on: bool) -> BoxFuture<'a, Outcome<()>> {
        self.switch_light(name, on).boxed()
    }

    fn move_axis(&self, movement: Move) -> BoxFuture<'_, Outcome<()>> {
        self.move_by(movement).boxed()
    }

    fn home(&self) -> BoxFuture<'_, Outcome<()>> {
        self.home_all().boxed()
    }

    fn set_temperatures(&self, heat: Heat) -> BoxFuture<'_, Outcome<()>> {
        self.heat(heat).boxed()
    }

    fn send_native<'a>(&'a self, command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        self.pass_native(command).boxed()
    }

    fn broker(&self) -> Option<&PrinterBroker> {
        Some(&self.broker)
    }
}
