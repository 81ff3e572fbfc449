//! OctoPrint, over its REST API.

mod cameras;
mod control;
mod state;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use model::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::cameras::Settings;
use self::state::LastEnd;
use super::{Facts, Observed, Outcome, PauseOrder, Platform, PlatformContext, feature};
use crate::cameras::CameraSource;
use crate::software_client::SoftwareClient;

/// Each answer costs a small board some milliseconds, and nobody notices two seconds.
const PERIOD_WHILE_PRINTING: Duration = Duration::from_secs(2);
/// For a printer that does nothing.
const PERIOD_WHILE_IDLE: Duration = Duration::from_secs(10);
/// Cameras are set up once.
const SETTINGS_PERIOD: Duration = Duration::from_secs(60);

/// One OctoPrint.
pub(super) struct OctoPrint {
    context: PlatformContext,
    client: SoftwareClient,
    looking: Mutex<Looking>,
}

/// What is known from the looks before; whoever looks holds it.
struct Looking {
    end: LastEnd,
    cameras: Vec<CameraSource>,
    settings_due: Instant,
    looked: Option<Instant>,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    let client = SoftwareClient::new(context.connector.clone(), context.api_key.clone());
    let looking = Looking { end: LastEnd::default(), cameras: vec![], settings_due: Instant::now(), looked: None };
    Arc::new(OctoPrint { context, client, looking: Mutex::new(looking) })
}

impl OctoPrint {
    /// Looks, unless somebody did within `max_age`.
    async fn look(&self, max_age: Duration) {
        let mut looking = self.looking.lock().await;
        if looking.looked.is_some_and(|looked| looked.elapsed() < max_age) {
            return;
        }
        let looked = state::look(&self.client, &mut looking.end).await;
        if looked.is_ok()
            && Instant::now() >= looking.settings_due
            && let Ok(answer) = self.client.get("/api/settings").await
            && answer.status == StatusCode::OK
            && let Ok(settings) = answer.json::<Settings>()
        {
            looking.cameras = settings.cameras(&self.context.addresses);
            looking.settings_due = Instant::now() + SETTINGS_PERIOD;
        }
        let observed = looked.unwrap_or_else(Observed::trouble);
        self.context.publisher.publish(Observed { cameras: looking.cameras.clone(), ..observed });
        looking.looked = Some(Instant::now());
    }
}

impl Platform for OctoPrint {
    fn facts(&self) -> Facts {
        Facts { features: feature::START, ..Facts::default() }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        async {
            loop {
                self.look(Duration::ZERO).await;
                let is_active = self.context.publisher.state().phase.is_active();
                let period = if is_active { PERIOD_WHILE_PRINTING } else { PERIOD_WHILE_IDLE };
                self.context.publisher.pause(period).await;
            }
        }
        .boxed()
    }

    fn refresh(&self, max_age: Duration) -> BoxFuture<'_, ()> {
        self.look(max_age).boxed()
    }

    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.pause_print().boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.resume_print().boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.cancel_print().boxed()
    }

    fn application_key<'a>(&'a self, app: &'a str) -> BoxFuture<'a, Outcome<Secret>> {
        self.make_key(app).boxed()
    }
}
