//! Browser apps of any origin: preflights, and what their scripts may read.

use http::{Method, Request};
use http_body_util::Full;
use testkit::{Client, Exchange, Origin, Protocol, Rig, full};

const PAGE: &str = "https://app.example";

/// It carries no credentials by specification, so nothing that a credential decides may show.
#[tokio::test]
async fn a_preflight_is_answered_at_the_edge() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let closed = rig.service.shared_connection(&rig.printer.id, Some("a password")).await;
    let unknown = format!("app-abcdefgh.{}", rig.service.relay().names().printers_domain);
    for protocol in Protocol::ALL {
        for host in [&rig.app.host, &closed.host, &unknown] {
            for method in ["GET", "DELETE", "PATCH"] {
                let headers = [
                    ("origin", PAGE),
                    ("access-control-request-method", method),
                    ("access-control-request-headers", "authorization, x-api-key"),
                ];
                let exchange = options(&rig.client(protocol), host, &headers).await;
                assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (204, ""));
                assert_eq!(exchange.header("access-control-allow-origin"), "*");
                assert_eq!(exchange.header("access-control-allow-methods"), method);
                assert_eq!(exchange.header("access-control-allow-headers"), "authorization, x-api-key");
                assert!(!exchange.headers.contains_key("access-control-allow-credentials"));
                assert!(!exchange.headers.contains_key("x-spoolway-error"));
            }
        }
    }
    assert!(origin.seen().is_empty());
}

/// Other OPTIONS requests are the printer's, or refused like any other.
#[tokio::test]
async fn options_that_are_no_preflight_pass_with_credentials_only() {
    let origin = Origin::start(|request| async move {
        http::Response::builder().header("allow", "GET, HEAD").body(full(request.method().to_string())).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let authorization = rig.app.bearer_header();
    for protocol in Protocol::ALL {
        for headers in [&[][..], &[("origin", PAGE)], &[("access-control-request-method", "GET")]] {
            let exchange = options(&rig.client(protocol), &rig.app.host, headers).await;
            assert_eq!(exchange.status.as_u16(), 606, "{headers:?}");
            let headers = [headers, &[("authorization", &authorization)]].concat();
            let exchange = options(&rig.client(protocol), &rig.app.host, &headers).await;
            assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "OPTIONS"), "{headers:?}");
            assert_eq!(exchange.header("allow"), "GET, HEAD");
        }
    }
}

#[tokio::test]
async fn scripts_read_what_their_credentials_open_on_an_apps_host() {
    let origin = Origin::start(|request| async move {
        let response = http::Response::builder();
        match request.uri().path() {
            "/own" => response.header("access-control-allow-origin", "https://own.example").body(full("own")),
            _ => response.body(full("hello")),
        }
        .unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, None).await;
    for protocol in Protocol::ALL {
        let plain = rig.get(protocol, "/", &[("origin", PAGE)]).await;
        assert_eq!(plain.header("access-control-allow-origin"), "*");
        assert!(!plain.headers.contains_key("access-control-allow-credentials"));
        let own = rig.get(protocol, "/own", &[("origin", PAGE)]).await;
        assert_eq!(own.header("access-control-allow-origin"), "https://own.example");

        // A shared host opens without credentials or by a cookie: there only the printer may say who reads.
        let shared_plain = rig.client(protocol).get(&shared.host, "/", &[("origin", PAGE)]).await;
        assert!(!shared_plain.headers.contains_key("access-control-allow-origin"));
    }
}

/// Errors of shared hosts are for people and programs, not for scripts of other origins.
#[tokio::test]
async fn errors_of_shared_hosts_allow_no_origin() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let closed = rig.service.shared_connection(&rig.printer.id, Some("a password")).await;
    for protocol in Protocol::ALL {
        let exchange = rig.client(protocol).get(&closed.host, "/", &[("origin", PAGE)]).await;
        assert_eq!(exchange.status.as_u16(), 606);
        assert_eq!(exchange.header("x-spoolway-error"), "606");
        assert!(!exchange.headers.keys().any(|name| name.as_str().starts_with("access-control-")));
    }
}

async fn options(client: &Client, host: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut request = Request::builder().method(Method::OPTIONS).uri("/api/files").header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.exchange(request.body(Full::default()).unwrap()).await
}
