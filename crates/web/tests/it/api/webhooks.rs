//! Webhooks: set, replaced, taken away, tested.

use std::sync::Arc;

use http::StatusCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use web::SiteSettings;
use web::outbound::OutboundOptions;

use super::fixture::{Site, now};

const SET: &str = "/api/appconnection/SetNotificationWebhook";
const DELETE: &str = "/api/appconnection/DeleteNotificationWebhook";
const TEST: &str = "/api/appconnection/TestWebhook";

#[tokio::test]
async fn each_call_replaces_what_was_set() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    for (body, url, filter) in [
        (r#"{"WebhookUrl": "https://a.example/?x=%20y&z"}"#, "https://a.example/?x=%20y&z", &[][..]),
        (
            r#"{"WebhookUrl": "https://B.example", "InclusiveEventTypesFilter": [1, 2, 99],}"#,
            "https://B.example",
            &[1, 2, 99],
        ),
        (
            r#"{"WebhookUrl": "https://b.example:8443/", "InclusiveEventTypesFilter": null}"#,
            "https://b.example:8443/",
            &[],
        ),
    ] {
        let answer = site.post(SET, &token, body).await;
        assert_eq!(answer.json(), json!({ "Status": 200, "Error": "", "IsUserError": false, "Result": {} }));
        let webhook = site.store.webhook(&app.id, now()).await.expect("the store answers").expect("it is set");
        assert_eq!((webhook.url.as_str(), webhook.filter.as_slice()), (url, filter));
    }
    for _ in 0..2 {
        assert_eq!(site.post(DELETE, &token, "").await.status, StatusCode::OK);
        assert!(site.store.webhook(&app.id, now()).await.expect("the store answers").is_none());
    }
    // As the documentation's own sample has it.
    let sample = format!("{{\n  \"AppToken\": \"{}\",\n}}", app.app_token.expose());
    assert_eq!(site.post(DELETE, &[], &sample).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_cannot_be_called_is_not_set() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    for body in [
        "{}",
        r#"{"WebhookUrl": null}"#,
        r#"{"WebhookUrl": 5}"#,
        r#"{"WebhookUrl": ""}"#,
        r#"{"WebhookUrl": "http://a.example/"}"#,
        r#"{"WebhookUrl": "https://u:p@a.example/"}"#,
        r#"{"WebhookUrl": "https://127.0.0.1/"}"#,
        r#"{"WebhookUrl": "https://a.example:22/"}"#,
        r#"{"WebhookUrl": "https://a.example/", "InclusiveEventTypesFilter": "1"}"#,
        r#"{"WebhookUrl": "https://a.example/", "InclusiveEventTypesFilter": ["1"]}"#,
        r#"{"webhookurl": "https://a.example/"}"#,
    ] {
        site.post(SET, &token, body).await.assert_code(400);
    }
    assert!(site.store.webhook(&app.id, now()).await.expect("the store answers").is_none());
    site.get(TEST, &token).await.assert_code(400);
}

#[tokio::test]
async fn a_test_is_delivered_whatever_the_filter_says() {
    let mut host = Host::start("HTTP/1.1 204 No Content\r\n\r\n").await;
    let site = Site::with(SiteSettings::default(), host.options()).await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let url = format!("https://localhost:{}/hook?key=a%20b", host.port);
    let body = json!({ "WebhookUrl": url, "InclusiveEventTypesFilter": [1] }).to_string();
    assert_eq!(site.post(SET, &token, &body).await.status, StatusCode::OK);
    let answer = site.get(TEST, &token).await.json();
    assert_eq!(answer["Result"], json!({ "WebhookStatusCode": 204, "WebhookError": null }));
    assert_eq!(answer["WebhookStatusCode"], 204);
    let (head, event) = host.received.recv().await.expect("it was called");
    assert!(head.starts_with("POST /hook?key=a%20b HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\ncontent-type: application/json\r\n"), "{head}");
    let expected = json!({
        "PrinterId": site.printer, "SecretKey": "", "PrintId": "", "EventType": 16, "PrinterName": "My printer",
        "QuickViewUrl": format!("http://localhost:8080/view/{}", site.printer)
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn how_the_host_fails_is_told() {
    let host = Host::start("HTTP/1.1 500 Oh no\r\ncontent-length: 0\r\n\r\n").await;
    let site = Site::with(SiteSettings::default(), host.options()).await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let set = |url: &str| json!({ "WebhookUrl": url }).to_string();
    site.post(SET, &token, &set(&format!("https://localhost:{}/", host.port))).await;
    assert_eq!(site.get(TEST, &token).await.json()["WebhookStatusCode"], 500);
    // Nothing listens there.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    site.post(SET, &token, &set(&format!("https://localhost:{port}/"))).await;
    let answer = site.get(TEST, &token).await;
    assert_eq!(answer.status, StatusCode::OK);
    let result = &answer.json()["Result"];
    assert!(result["WebhookStatusCode"].is_null() && result["WebhookError"].is_string(), "{result}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called() {
    let mut host = Host::start("HTTP/1.1 204 No Content\r\n\r\n").await;
    let options = OutboundOptions { allowed_networks: Vec::new(), ..host.options() };
    let site = Site::with(SiteSettings::default(), options).await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let body = json!({ "WebhookUrl": format!("https://localhost:{}/", host.port) }).to_string();
    assert_eq!(site.post(SET, &token, &body).await.status, StatusCode::OK, "a name says nothing yet");
    let result = site.get(TEST, &token).await.json();
    assert_eq!(result["WebhookError"], "the host's addresses are not public");
    assert!(host.received.try_recv().is_err());
}

/// A webhook's host with a certificate of its own.
struct Host {
    port: u16,
    received: mpsc::Receiver<(String, Value)>,
    certificate: rustls::pki_types::CertificateDer<'static>,
}

impl Host {
    async fn start(answer: &'static str) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate can be made");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("they belong together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, received) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                let (head, event) = loop {
                    let mut piece = [0; 4096];
                    let n = stream.read(&mut piece).await.expect("the client sends a request");
                    request.extend_from_slice(&piece[..n]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    if let Ok(event) = serde_json::from_str(body) {
                        break (head.to_owned(), event);
                    }
                };
                let _ = sender.send((head, event)).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, received, certificate: cert.der().clone() }
    }

    fn options(&self) -> OutboundOptions {
        OutboundOptions { extra_roots: vec![self.certificate.clone()], ..OutboundOptions::new(true) }
    }
}
