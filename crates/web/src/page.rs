//! Templates as responses.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::layout::Layout;

/// A rendered page that loads no scripts and is the same for everybody.
pub(crate) struct Page<T>(pub(crate) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        // Pages name the current stylesheet, so a kept copy must not outlive an update of the service.
        render(&self.0, "no-cache")
    }
}

/// A rendered page with scripts and forms, made for one browser.
pub(crate) struct AppPage<T> {
    template: T,
    nonce: String,
    form_target: Option<String>,
}

impl<T: Template> AppPage<T> {
    pub(crate) fn new(layout: &Layout, template: T) -> Self {
        Self { template, nonce: layout.nonce.clone(), form_target: None }
    }

    /// Lets forms of this page lead on to another origin or scheme as well, such as `https://app.example` or
    /// `someapp:`. Browsers apply the policy to where a form is redirected, too.
    pub(crate) fn with_form_target(mut self, target: String) -> Self {
        let is_plain = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-[]+_".contains(&byte));
        self.form_target = is_plain.then_some(target);
        self
    }
}

impl<T: Template> IntoResponse for AppPage<T> {
    fn into_response(self) -> Response {
        let mut response = render(&self.template, "no-store");
        let form_target = self.form_target.map(|target| format!(" {target}")).unwrap_or_default();
        let nonce = &self.nonce;
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'{form_target}; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

fn render<T: Template>(template: &T, cache_control: &'static str) -> Response {
    match template.render() {
        Ok(html) => ([(header::CACHE_CONTROL, cache_control)], Html(html)).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
