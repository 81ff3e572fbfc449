//! PrusaLink, in the firmware of Prusa's printers or on a Raspberry Pi beside one, over its version 1 API.

mod about;
mod camera;
mod control;
mod state;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::about::About;
use self::state::Seen;
use super::{
    CommandFailure, Facts, FileChange, FileRights, LookPeriods, NativeAnswer, NativeCommand, Observed, Outcome,
    PauseOrder, Platform, PlatformContext, StartOrder, Transport, feature, native,
};
use crate::software_client::{Answer, SoftwareClient};

/// Each answer costs the printer's own controller some milliseconds, and nobody notices two seconds.
const PERIODS: LookPeriods = LookPeriods { printing: Duration::from_secs(2), idle: Duration::from_secs(5) };
/// Names and cameras are set up once.
const ABOUT_PERIOD: Duration = Duration::from_secs(60);

/// One PrusaLink.
struct PrusaLink {
    context: PlatformContext,
    client: Arc<SoftwareClient>,
    looking: Mutex<Looking>,
    about: parking_lot::Mutex<About>,
}

/// What is known from the looks before; whoever looks holds it.
struct Looking {
    about_due: Instant,
    looked: Option<Instant>,
    /// The job that orders are about.
    job: Option<u64>,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    let connector = context.connector.clone();
    let client = match (&context.api_key, &context.login) {
        (None, Some(login)) => SoftwareClient::with_login(connector, login.clone()),
        (api_key, _) => SoftwareClient::new(connector, api_key.clone()),
    };
    let looking = Looking { about_due: Instant::now(), looked: None, job: None };
    Arc::new(PrusaLink {
        context,
        client: Arc::new(client),
        looking: Mutex::new(looking),
        about: parking_lot::Mutex::default(),
    })
}

impl PrusaLink {
    /// Looks, unless somebody did within `max_age`.
    async fn look(&self, max_age: Duration) {
        let mut looking = self.looking.lock().await;
        if looking.looked.is_some_and(|looked| looked.elapsed() < max_age) {
            return;
        }
        let looked = state::look(&self.client).await;
        if looked.is_ok()
            && Instant::now() >= looking.about_due
            && let Ok(about) = about::ask(&self.client).await
        {
            *self.about.lock() = about;
            looking.about_due = Instant::now() + ABOUT_PERIOD;
        }
        let (observed, job) = match looked {
            Ok(Seen { observed, job, has_camera }) => {
                let has_camera = has_camera || self.about.lock().has_camera;
                let camera = if has_camera { camera::source(&self.client, &self.context.addresses) } else { None };
                (Observed { cameras: camera.into_iter().collect(), ..observed }, job)
            }
            Err(trouble) => (Observed::trouble(trouble), None),
        };
        looking.job = job;
        self.context.publisher.publish(observed);
        looking.looked = Some(Instant::now());
    }
}

impl Platform for PrusaLink {
    fn facts(&self) -> Facts {
        Facts {
            features: feature::START,
            version: self.about.lock().version.clone(),
            transport: Some(Transport::Http),
            files: FileRights::default(),
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        self.context.publisher.poll(|| PERIODS, || self.look(Duration::ZERO)).boxed()
    }

    fn refresh(&self, max_age: Duration) -> BoxFuture<'_, ()> {
        self.look(max_age).boxed()
    }

    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.pause_job().boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.resume_job().boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.cancel_job().boxed()
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Outcome<FileChange>> {
        self.start_print(order).boxed()
    }

    fn send_native<'a>(&'a self, command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        native::pass_http(&self.client, command).boxed()
    }
}

/// An answer that says more than that something is wrong.
fn check(client: &SoftwareClient, answer: &Answer) -> Outcome<()> {
    match answer.status.as_u16() {
        200 => Ok(()),
        401 | 403 => Err(refused(client)),
        status => Err(CommandFailure::Failed(format!("PrusaLink answers {status} when it is asked for its state"))),
    }
}

/// It asks for credentials, or does not accept ours.
fn refused(client: &SoftwareClient) -> CommandFailure {
    let problem = if client.has_credentials() {
        "PrusaLink does not accept the key, or the user name and password: compare them with what the printer shows"
    } else {
        "PrusaLink asks for credentials: set `api_key`, or `username` and `password`"
    };
    CommandFailure::CredentialsRejected(problem.to_owned())
}
