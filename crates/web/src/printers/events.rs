//! Server-sent events that keep pages current.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use model::PrinterId;
use store::{OwnPrinter, Role};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Interval;

use crate::failure::PageFailure;
use crate::printers::card::{CameraView, Card};
use crate::printers::list::CardPartial;
use crate::printers::log::{LogPartial, LogRows};
use crate::printers::printer_of;
use crate::printers::view::{CamerasPartial, LivePartial};
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// A comment line this often tells proxies, and us, that the other side is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Whoever looks is looked up again this often: a session that has ended must not see on.
const RECHECK: Duration = Duration::from_secs(5);

/// Which printers a page shows, and how.
#[derive(Clone)]
enum Shown {
    /// All of the account, as cards.
    Cards,
    /// One, as its view.
    View(PrinterId),
}

/// The cards of an account's printers, each anew when it changes.
pub(crate) async fn of_list(
    State(state): State<SiteState>,
    signed_in: SignedIn,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    stream(state, signed_in, Shown::Cards)
}

/// One printer's state, anew when it changes.
pub(crate) async fn of_view(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Viewer).await?;
    Ok(stream(state, signed_in, Shown::View(printer.summary.id)))
}

fn stream(state: SiteState, signed_in: SignedIn, shown: Shown) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = state.live.changes();
    let feed = Feed {
        state,
        signed_in,
        shown,
        printers: HashSet::new(),
        changes,
        recheck: tokio::time::interval(RECHECK),
        queue: Vec::new(),
        cameras: None,
        log: None,
        is_first: true,
    };
    let events = futures_util::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Feed {
    state: SiteState,
    signed_in: SignedIn,
    shown: Shown,
    /// The printers that the page shows.
    printers: HashSet<PrinterId>,
    changes: broadcast::Receiver<PrinterId>,
    recheck: Interval,
    /// Rendered and not sent.
    queue: Vec<String>,
    /// Cameras as the page has them.
    cameras: Option<Vec<CameraView>>,
    /// The log as the page has it.
    log: Option<LogRows>,
    is_first: bool,
}

impl Feed {
    /// The next event; none when whoever looks may look no longer.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(html) = self.queue.pop() {
                return Some(Event::default().data(html));
            }
            if std::mem::take(&mut self.is_first) {
                // What has changed between the page and this request.
                self.render(None).await?;
                continue;
            }
            // All can be given up at any await.
            tokio::select! {
                changed = self.changes.recv() => match changed {
                    Ok(printer) if self.printers.contains(&printer) => self.render(Some(&printer)).await?,
                    // Changes of other accounts' printers are nobody's business here.
                    Ok(_) => {}
                    // Too much happened at once to follow one by one.
                    Err(RecvError::Lagged(_)) => self.render(None).await?,
                    Err(RecvError::Closed) => return None,
                },
                () = self.state.stopping.cancelled() => return None,
                // By the clock, however much happens meanwhile.
                _ = self.recheck.tick() => self.look_again().await?,
            }
        }
    }

    /// Whether whoever looks may still look, and at which printers.
    async fn look_again(&mut self) -> Option<()> {
        self.still_signed_in().await?;
        if let (Shown::Cards, Ok(printers)) =
            (&self.shown, self.state.store.printers_of(self.signed_in.account()).await)
        {
            self.printers = printers.into_iter().map(|printer| printer.summary.id).collect();
        }
        // Errors of visitors change nothing of the printer, so nobody tells of them.
        if let Shown::View(id) = &self.shown
            && let Ok(printer) = self.state.store.printer_of(self.signed_in.account(), id).await
        {
            self.send_log(&printer);
        }
        Some(())
    }

    fn send_log(&mut self, printer: &OwnPrinter) {
        let log = LogRows::of(&self.state, printer);
        if self.log.as_ref() != Some(&log) {
            self.log = Some(log.clone());
            self.send(LogPartial { log });
        }
    }

    async fn render(&mut self, only: Option<&PrinterId>) -> Option<()> {
        self.still_signed_in().await?;
        let account = self.signed_in.account();
        let printers: Vec<OwnPrinter> = match (&self.shown, only) {
            (Shown::View(id), _) => vec![self.state.store.printer_of(account, id).await.ok()?],
            (Shown::Cards, Some(id)) => self.state.store.printer_of(account, id).await.ok().into_iter().collect(),
            (Shown::Cards, None) => self.state.store.printers_of(account).await.ok()?,
        };
        if only.is_none() {
            self.printers = printers.iter().map(|printer| printer.summary.id.clone()).collect();
        }
        let now = SystemTime::now();
        for printer in printers.into_iter().rev() {
            let live = self.state.live.status(&printer.summary.id).await;
            let card = Card::new(&printer, live.as_ref(), now);
            match &self.shown {
                Shown::Cards => self.send(CardPartial { card }),
                Shown::View(_) => {
                    let form_token = self.signed_in.browser.form_token();
                    let cameras = card.cameras.clone();
                    self.send(LivePartial { form_token, card: card.clone() });
                    self.send_log(&printer);
                    // A stream that runs is left alone: the cameras are sent only when they came or went.
                    if self.cameras.as_ref() != Some(&cameras) {
                        self.cameras = Some(cameras);
                        self.send(CamerasPartial { card });
                    }
                }
            }
        }
        Some(())
    }

    fn send(&mut self, partial: impl Template) {
        match partial.render() {
            Ok(html) => self.queue.push(html),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "an event was not rendered"),
        }
    }

    async fn still_signed_in(&self) -> Option<()> {
        let session = &self.signed_in.session;
        match self.state.store.has_session(self.signed_in.account(), &session.id, SystemTime::now()).await {
            Ok(true) => Some(()),
            Ok(false) => None,
            // The store is away: nothing is proven, and nothing new can be shown either.
            Err(_) => Some(()),
        }
    }
}
