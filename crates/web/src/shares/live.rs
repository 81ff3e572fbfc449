//! A Live Link: whoever has it may watch one printer, and nothing else.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, StatusCode, header};
use model::LiveId;
use store::{AuditKind, LiveEnd, LiveLinkRecord};

use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::printers::card::Card;
use crate::state::SiteState;
use crate::text::iso;

#[derive(Template)]
#[template(path = "shares/live.html")]
struct LivePage {
    layout: Layout,
    id: String,
    card: Card,
    until: Option<String>,
    view_script: &'static str,
    abuse_contact: Option<String>,
}

#[derive(Template)]
#[template(path = "shares/live_partial.html")]
pub(crate) struct LiveStatePartial {
    pub(crate) card: Card,
}

#[derive(Template)]
#[template(path = "shares/live_ended.html")]
struct EndedPage {
    layout: Layout,
    id: String,
    printer: Option<String>,
    result: Option<PrintResult>,
    has_picture: bool,
    ended: Option<String>,
}

/// What is kept of a print whose link has ended with it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct PrintResult {
    pub(crate) state: String,
    pub(crate) file: Option<String>,
    pub(crate) progress: Option<u8>,
    pub(crate) duration: Option<String>,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    browser: Browser,
    Path(id): Path<String>,
) -> Result<Response, PageFailure> {
    let link = match find(&state, &browser, &id).await? {
        Found::Running(link) => link,
        Found::Ended(link) => return Ok(ended(&browser, &id, Some(&link))),
        Found::Nothing => return Ok(ended(&browser, &id, None)),
    };
    note_opened(&state, &browser, &link);
    let card = card(&state, &link).await;
    let layout = Layout::of(&browser);
    let page = LivePage {
        layout: layout.clone(),
        id: link.id.to_string(),
        card,
        until: match &link.end {
            LiveEnd::At(at) => Some(iso(*at)),
            LiveEnd::WithPrint { .. } => None,
        },
        view_script: &crate::assets::VIEW_SCRIPT.path,
        abuse_contact: state.settings.abuse_contact.clone(),
    };
    Ok(private(AppPage::new(&layout, page).into_response()))
}

/// Notes the opening in the owner's log and list, beside the page: nobody waits for it.
fn note_opened(state: &SiteState, browser: &Browser, link: &LiveLinkRecord) {
    let is_news = state.attempts.live_link_opened(&link.id, browser.address());
    let (state, link, address) = (state.clone(), link.clone(), browser.address());
    tokio::spawn(async move {
        let now = SystemTime::now();
        if let Err(error) = state.store.add_live_link_use(&link.id, 0, now).await {
            tracing::warn!(%error, "the use of a Live Link was not noted");
        }
        if is_news {
            let (printer, subject) = (Some(&link.printer), format!("Live Link: {}", link.printer_name));
            crate::audit::note(&state, &link.account, AuditKind::ShareOpened, printer, &subject, address).await;
        }
    });
}

/// The short form of the address.
pub(crate) async fn short(Path(id): Path<String>) -> Response {
    match id.parse::<LiveId>() {
        Ok(id) => Redirect::to(&format!("/live/{id}")).into_response(),
        Err(_) => PageFailure::NotFound.into_response(),
    }
}

pub(crate) async fn camera(
    State(state): State<SiteState>,
    browser: Browser,
    Path((id, index)): Path<(String, usize)>,
) -> Result<Response, PageFailure> {
    match find(&state, &browser, &id).await? {
        Found::Running(link) => Ok(super::live_feed::stream(&state, link, index).await),
        _ => Err(PageFailure::NotFound),
    }
}

/// The last picture of a print that is over.
pub(crate) async fn picture(
    State(state): State<SiteState>,
    browser: Browser,
    Path(id): Path<String>,
) -> Result<Response, PageFailure> {
    let Found::Ended(link) = find(&state, &browser, &id).await? else { return Err(PageFailure::NotFound) };
    let picture = link.picture.ok_or(PageFailure::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, picture).into_response())
}

/// What a link is at this moment.
pub(crate) enum Found {
    Running(LiveLinkRecord),
    Ended(LiveLinkRecord),
    Nothing,
}

/// Looks a link up. Asking for what does not exist is bounded for each address.
pub(crate) async fn find(state: &SiteState, browser: &Browser, id: &str) -> Result<Found, PageFailure> {
    let found = match id.parse::<LiveId>() {
        Ok(id) => state.store.live_link(&id).await?,
        Err(_) => None,
    };
    let Some(link) = found else {
        state.attempts.unknown_id(browser.address())?;
        return Ok(Found::Nothing);
    };
    Ok(if is_running(&link, SystemTime::now()) { Found::Running(link) } else { Found::Ended(link) })
}

/// Whether a link still shows its printer.
pub(crate) fn is_running(link: &LiveLinkRecord, now: SystemTime) -> bool {
    link.ended_at.is_none() && !matches!(link.end, LiveEnd::At(at) if at <= now)
}

/// The printer as a stranger may see it: no names of people, no addresses, no buttons.
pub(crate) async fn card(state: &SiteState, link: &LiveLinkRecord) -> Card {
    let live = state.live.status(&link.printer).await;
    Card::for_stranger(link, live.as_ref(), SystemTime::now())
}

fn ended(browser: &Browser, id: &str, link: Option<&LiveLinkRecord>) -> Response {
    let layout = Layout::of(browser);
    let page = EndedPage {
        layout: layout.clone(),
        id: id.chars().filter(char::is_ascii_alphanumeric).take(64).collect(),
        printer: link.filter(|link| link.result_json.is_some()).map(|link| link.printer_name.clone()),
        result: link.and_then(|link| serde_json::from_str(link.result_json.as_deref()?).ok()),
        has_picture: link.is_some_and(|link| link.picture.is_some()),
        ended: link.and_then(|link| link.ended_at).map(iso),
    };
    let mut response = private(AppPage::new(&layout, page).into_response());
    if link.is_none_or(|link| link.result_json.is_none()) {
        // Whether there ever was such a link is not for strangers.
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // The address is the key: it must not travel on, nor be found by a search.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    response
}
