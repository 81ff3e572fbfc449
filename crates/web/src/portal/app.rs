//! The app on whose behalf somebody came, and where it wants them back.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use url::Url;

use super::request::PortalRequest;
use super::return_url::{Pattern, ReturnUrl, Target};
use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::state::SiteState;

/// The end of the portal's own, for apps that name no other.
pub(super) const COMPLETE_PATH: &str = "/appportal/v1/complete";

/// An app as its request shows it.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// The registered name, or else the id that it gives itself.
    pub(super) name: String,
    pub(super) is_registered: bool,
    pub(super) return_url: ReturnUrl,
    /// Whether it goes back to the portal's own last page, where whoever opened the portal reads the address.
    pub(super) returns_here: bool,
}

/// A request that no person can do anything about.
#[derive(Template)]
#[template(path = "portal/mistake.html")]
struct Mistake {
    layout: Layout,
    mistake: String,
}

/// Why the portal goes no further.
#[derive(Debug)]
pub(super) enum PortalFailure {
    /// The app made a mistake. Nothing is sent back to an address that may be part of it.
    Mistake(Box<Layout>, String),
    Page(PageFailure),
}

impl<E: Into<PageFailure>> From<E> for PortalFailure {
    fn from(error: E) -> Self {
        Self::Page(error.into())
    }
}

impl IntoResponse for PortalFailure {
    fn into_response(self) -> Response {
        match self {
            Self::Mistake(layout, mistake) => {
                let page = AppPage::new(&layout, Mistake { layout: (*layout).clone(), mistake });
                (StatusCode::BAD_REQUEST, page).into_response()
            }
            Self::Page(failure) => failure.into_response(),
        }
    }
}

impl App {
    /// The app behind a request.
    pub(super) async fn of(state: &SiteState, request: &PortalRequest, layout: &Layout) -> Result<Self, PortalFailure> {
        let mistake = |text: String| PortalFailure::Mistake(Box::new(layout.clone()), text);
        if !request.has_app_id() {
            return Err(mistake("appId is missing, or has more than 64 characters".to_owned()));
        }
        let id = request.app_id.trim();
        let registered = state.store.app(id).await?;
        let patterns: Option<Vec<Pattern>> = registered.as_ref().map(|app| {
            // They were checked when they were registered.
            app.return_patterns.iter().filter_map(|pattern| pattern.parse().ok()).collect()
        });
        let own = Url::parse(&state.url(COMPLETE_PATH))
            .map_err(|_| PageFailure::Internal("the site's own address is no URL"))?;
        let returns_here = request.return_url.is_empty() || is_same_page(&request.return_url, &own);
        let return_url = if returns_here {
            ReturnUrl::own(own)
        } else {
            ReturnUrl::read(&request.return_url, patterns.as_deref())
                .map_err(|error| mistake(format!("returnUrl cannot be used: {error}")))?
        };
        let is_registered = registered.is_some();
        let name = registered.map_or_else(|| id.to_owned(), |app| app.name.to_string());
        Ok(Self { name, is_registered, return_url, returns_here })
    }

    /// Where to go when there will be no connection.
    pub(super) fn without_success(&self, word: &str) -> Url {
        self.return_url.with_parameters(&[("success", "false"), ("error", word)])
    }

    /// Who gets the keys, in words.
    pub(super) fn receiver(&self) -> String {
        match self.return_url.target() {
            _ if self.returns_here => "the app that opened this page".to_owned(),
            Target::Web(origin) => origin.clone(),
            Target::Scheme(scheme) => format!("whichever app on this device answers to {scheme}:"),
        }
    }

    /// What the consent page's form may lead to besides the site.
    pub(super) fn form_target(&self) -> Option<String> {
        (!self.returns_here).then(|| self.return_url.policy_source())
    }
}

fn is_same_page(text: &str, own: &Url) -> bool {
    Url::parse(text).is_ok_and(|url| {
        url.origin() == own.origin()
            && url.path().trim_end_matches('/').eq_ignore_ascii_case(own.path())
            && url.username().is_empty()
            && url.password().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portals_own_end_is_known_in_every_spelling() {
        let own = Url::parse("https://d.example/appportal/v1/complete").expect("a URL");
        for (text, expected) in [
            ("https://d.example/appportal/v1/complete", true),
            ("HTTPS://D.example:443/AppPortal/V1/Complete/?x", true),
            ("http://d.example/appportal/v1/complete", false),
            ("https://d.example:8443/appportal/v1/complete", false),
            ("https://u@d.example/appportal/v1/complete", false),
            ("https://d.example/appportal/v1", false),
            ("https://d.example.evil/appportal/v1/complete", false),
        ] {
            assert_eq!(is_same_page(text, &own), expected, "{text}");
        }
    }
}
