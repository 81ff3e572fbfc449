//! Paths whose letter case does not matter.

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use http::Uri;
use http::uri::PathAndQuery;

/// Below these, apps spell paths as they like: one opens `/AppPortal/V1/NoSupporterPerks`. Nothing else is touched,
/// because ids in other paths have both cases.
const PREFIXES: [&str; 5] =
    ["/api/appconnection/", "/api/live/createfromappconnection", "/api/gadget/", "/api/openapi.json", "/appportal/"];

/// A router that finds those paths in any case. Their routes have to be registered in lower case.
pub(crate) fn ignoring_case(router: Router) -> Router {
    // A layer of the router itself would run after it has chosen the route.
    Router::new().fallback_service(router).layer(map_request(|mut request: Request| async {
        if let Some(uri) = folded(request.uri()) {
            *request.uri_mut() = uri;
        }
        request
    }))
}

fn folded(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let is_ours = |prefix: &&str| {
        path.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    if !PREFIXES.iter().any(is_ours) || !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut text = path.to_ascii_lowercase();
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_folded_and_only_ours() {
        for (given, expected) in [
            ("/AppPortal/V1/NoSupporterPerks?AppId=X", Some("/appportal/v1/nosupporterperks?AppId=X")),
            ("/API/AppConnection/Info", Some("/api/appconnection/info")),
            (
                "https://d.example/Api/Gadget/GetStatusFromAppConnection",
                Some("https://d.example/api/gadget/getstatusfromappconnection"),
            ),
            ("/api/appconnection/info?A=B", None),
            ("/printers/AbC", None),
            ("/api/printers/AbC", None),
            ("/Errors", None),
            ("/", None),
        ] {
            let uri: Uri = given.parse().expect("a URI");
            assert_eq!(folded(&uri).map(|uri| uri.to_string()).as_deref(), expected, "{given}");
        }
    }
}
