//! Files that pages refer to, compiled into the binary.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use http::header;
use sha2::{Digest, Sha256};

/// The stylesheet of every page.
pub(crate) static STYLESHEET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("site", "css", "text/css; charset=utf-8", include_str!("../assets/site.css")));

/// The icon beside the page's title.
pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("../assets/icon.svg")));

/// Replaces parts of a page by what the service sends.
pub(crate) static HTMX: LazyLock<Asset> =
    LazyLock::new(|| script("htmx", include_str!("../assets/vendor/htmx.min.js")));

/// Lets it listen to server-sent events.
pub(crate) static HTMX_SSE: LazyLock<Asset> =
    LazyLock::new(|| script("hx-sse", include_str!("../assets/vendor/hx-sse.min.js")));

/// Draws the chart of temperatures.
pub(crate) static UPLOT: LazyLock<Asset> =
    LazyLock::new(|| script("uplot", include_str!("../assets/vendor/uPlot.min.js")));

/// The chart's stylesheet.
pub(crate) static UPLOT_STYLESHEET: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("uplot", "css", "text/css; charset=utf-8", include_str!("../assets/vendor/uPlot.min.css"))
});

/// What pages do by themselves: asking before something is destroyed, copying, passkeys.
pub(crate) static SITE_SCRIPT: LazyLock<Asset> = LazyLock::new(|| script("site", include_str!("../assets/site.js")));

/// The chart of temperatures and the camera's last picture.
pub(crate) static VIEW_SCRIPT: LazyLock<Asset> = LazyLock::new(|| script("view", include_str!("../assets/view.js")));

/// Signing in and registering with passkeys.
pub(crate) static PASSKEY_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| script("passkey", include_str!("../assets/passkey.js")));

/// Every file, for the router.
pub(crate) fn all() -> [&'static Asset; 9] {
    [&STYLESHEET, &ICON, &HTMX, &HTMX_SSE, &UPLOT, &UPLOT_STYLESHEET, &SITE_SCRIPT, &VIEW_SCRIPT, &PASSKEY_SCRIPT]
}

fn script(name: &str, content: &'static str) -> Asset {
    Asset::new(name, "js", "text/javascript; charset=utf-8", content)
}

/// A file whose path changes with its content, so browsers may keep it for good.
pub(crate) struct Asset {
    pub(crate) path: String,
    media_type: &'static str,
    content: &'static str,
}

impl Asset {
    pub(crate) fn new(name: &str, extension: &str, media_type: &'static str, content: &'static str) -> Self {
        // 64 bits are plenty to tell the versions of one file apart.
        let version = HEXLOWER.encode(&Sha256::digest(content)[..8]);
        Self { path: format!("/assets/{name}-{version}.{extension}"), media_type, content }
    }

    pub(crate) fn response(&self) -> Response {
        let headers =
            [(header::CONTENT_TYPE, self.media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
        (headers, self.content).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_has_the_colours_of_the_pages_on_printers_hosts() {
        let colours = |css: &str| -> Vec<String> {
            css.lines().map(str::trim).filter(|line| line.starts_with("--")).map(str::to_owned).collect()
        };
        let relay_pages = include_str!("../../relay/templates/page.css");
        assert!(!colours(relay_pages).is_empty());
        assert_eq!(colours(STYLESHEET.content), colours(relay_pages));
    }

    #[test]
    fn the_stylesheet_loads_nothing_from_elsewhere() {
        assert!(!STYLESHEET.content.contains("url(") && !STYLESHEET.content.contains("@import"));
    }
}
