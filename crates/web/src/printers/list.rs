//! All printers of one account.

use std::time::SystemTime;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::failure::PageFailure;
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
}

#[derive(Template)]
#[template(path = "printers/card_partial.html")]
pub(crate) struct CardPartial {
    pub(crate) card: Card,
}

pub(crate) async fn page(State(state): State<SiteState>, signed_in: SignedIn) -> Result<Response, PageFailure> {
    let cards = cards(&state, &signed_in).await?;
    let invitations = state.store.printer_invitations_for(&signed_in.session.account.email, SystemTime::now()).await?;
    let layout = Layout::of(&signed_in.browser);
    Ok(AppPage::new(&layout.clone(), List { layout, cards, invitations: invitations.len(), site: state.origin() })
        .into_response())
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
