//! The start page.

use askama::Template;
use axum::response::IntoResponse;

use crate::assets::{ICON, STYLESHEET};
use crate::page::Page;

#[derive(Template)]
#[template(path = "start.html")]
struct Start;

pub(crate) async fn page() -> impl IntoResponse {
    Page(Start)
}
