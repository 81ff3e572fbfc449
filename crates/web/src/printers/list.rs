//! All printers of one account.

use std::time::SystemTime;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use crate::accounts::sign_out::Nothing;
use crate::browser::hide_tour_in;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::printers::card::Card;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Template)]
#[template(path = "printers/list.html")]
struct List {
    layout: Layout,
    cards: Vec<Card>,
    invitations: usize,
    site: String,
    tour: Option<Tour>,
}

/// What somebody new may want to do, and what of it is done.
struct Tour {
    has_printer: bool,
    is_online: bool,
    has_share: bool,
    has_strong_sign_in: bool,
}

impl Tour {
    /// None when all is done: nobody has to dismiss it.
    fn unfinished(self) -> Option<Self> {
        let is_done = self.has_printer && self.is_online && self.has_share && self.has_strong_sign_in;
        (!is_done).then_some(self)
    }
}

#[derive(Template)]
#[template(path = "printers/card_partial.html")]
pub(crate) struct CardPartial {
    pub(crate) card: Card,
}

pub(crate) async fn page(State(state): State<SiteState>, signed_in: SignedIn) -> Result<Response, PageFailure> {
    let cards = cards(&state, &signed_in).await?;
    let invitations = state.store.printer_invitations_for(&signed_in.session.account.email, SystemTime::now()).await?;
    let account = signed_in.account();
    let tour = if signed_in.browser.has_hidden_tour() {
        None
    } else {
        let has_share = !state.store.connections_of(account, None).await?.is_empty()
            || !state.store.live_links_of(account, None).await?.is_empty();
        let passkeys = state.store.passkeys(account).await?;
        Tour {
            has_printer: !cards.is_empty(),
            is_online: cards.iter().any(|card| card.is_online),
            has_share,
            has_strong_sign_in: signed_in.session.account.has_totp || !passkeys.is_empty(),
        }
        .unfinished()
    };
    let layout = Layout::of(&signed_in.browser);
    let page = List { layout: layout.clone(), cards, invitations: invitations.len(), site: state.origin(), tour };
    Ok(AppPage::new(&layout, page).into_response())
}

/// Puts the tour away in this browser.
pub(crate) async fn hide_tour(
    State(state): State<SiteState>,
    _: SignedIn,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Response {
    let mut response = Redirect::to("/printers").into_response();
    hide_tour_in(response.headers_mut(), state.is_https());
    response
}

/// The cards of all printers, as they are now.
pub(crate) async fn cards(state: &SiteState, signed_in: &SignedIn) -> Result<Vec<Card>, PageFailure> {
    let now = SystemTime::now();
    let mut cards = Vec::new();
    for printer in state.store.printers_of(signed_in.account()).await? {
        let live = state.live.status(&printer.summary.id).await;
        cards.push(Card::new(&printer, live.as_ref(), now));
    }
    Ok(cards)
}
