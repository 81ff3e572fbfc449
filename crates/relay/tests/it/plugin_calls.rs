//! What the existing plugin calls besides its session, on the hosts that it knows: a whole service answers.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use octo::wire::Compression;
use serde_json::{Value, json};
use testkit::{Client, Exchange, TestService, wait_until};

use crate::plugin_support::{CHALLENGE, Identity, Plugin, challenge, linked};

/// A service behind a proxy on this machine, so that the test can call from anywhere.
async fn service() -> TestService {
    TestService::start_with(|config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        std::fs::write(config.data.join("plugin-key.pem"), crate::plugin_support::KEY).unwrap();
    })
    .await
}

async fn call(service: &TestService, host: &str, from: Option<&str>, path: &str, body: &str) -> Exchange {
    let request = Request::builder().method(Method::POST).uri(path).header("host", host);
    let request = from.into_iter().fold(request, |request, from| request.header("x-forwarded-for", from));
    Client::new(service.address()).exchange(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await
}

fn json_of(exchange: &Exchange) -> Value {
    serde_json::from_str(&exchange.text()).unwrap()
}

#[tokio::test]
async fn a_plugin_is_linked_from_its_own_screens_and_strangers_learn_nothing() {
    let service = service().await;
    let domain = service.domain();
    let identity = Identity::generate();
    let id = identity.printer.as_str();
    let (info, code_question) = (json!({"Id": id}).to_string(), json!({"Type": 1, "PrinterId": id}).to_string());
    let ask_info = async |from| call(&service, &domain, from, "/api/printer/info", &info).await;
    let ask_code = async |from| call(&service, &domain, from, "/api/shortcode/create", &code_question).await;
    assert_eq!(ask_info(None).await.status.as_u16(), 404, "it has never been here");

    let mut plugin = Plugin::connect(&service).await;
    plugin.introduce(&identity, &challenge(CHALLENGE.as_bytes()), Compression::Zlib).await;
    plugin.ack().await;
    plugin.event().await;
    let known = json_of(&ask_info(None).await);
    assert_eq!(known["Result"], json!({"Name": "", "HasOwners": false}));
    let code = json_of(&ask_code(None).await);
    assert!(code["Result"]["ValidForSeconds"].as_u64().is_some_and(|seconds| (800..=900).contains(&seconds)), "{code}");
    let code = code["Result"]["Code"].as_str().unwrap().to_owned();
    // Strangers get one answer for this printer and for one that never was.
    let never = json!({"Id": "N".repeat(60)}).to_string();
    let unknown = call(&service, &domain, Some("203.0.113.9"), "/api/printer/info", &never).await;
    for answer in [ask_info(Some("203.0.113.9")).await, ask_code(Some("203.0.113.9")).await] {
        assert_eq!((answer.status.as_u16(), answer.text()), (404, unknown.text()));
    }
    // Somebody who opens the long link at home gets to the page with the code; elsewhere, to the page without.
    let client = Client::new(service.address());
    let started = format!("/getstarted?printerid={id}&source=plugin");
    let at_home = client.get(&domain, &started, &[]).await;
    assert_eq!(at_home.header("location"), format!("http://{domain}/link?code={code}"));
    let elsewhere = client.get(&domain, &started, &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(elsewhere.header("location"), format!("http://{domain}/link"));
    assert_eq!(client.get(&domain, "/code", &[]).await.header("location"), format!("http://{domain}/link"));

    let owner = service.add_printer().await;
    let now = SystemTime::now();
    let claimed = service.store().claim_pairing(&code, &owner.account, &"Left".parse().unwrap(), now).await.unwrap();
    assert_eq!(claimed, Some(identity.printer.clone()));
    plugin.ack().await;
    wait_until("the link", || service.relay().printers_here().contains(&identity.printer)).await;
    assert_eq!(json_of(&ask_info(None).await)["Result"], json!({"Name": "Left", "HasOwners": true}));
    assert_eq!(ask_code(None).await.status.as_u16(), 404, "there is nothing left to link");
    assert_eq!(ask_info(Some("203.0.113.9")).await.text(), unknown.text());
}

#[tokio::test]
async fn plugins_calls_are_answered_on_their_hosts_and_nothing_else_is() {
    let service = service().await;
    let (identity, _) = linked(&service).await;
    let mut plugin = Plugin::connect(&service).await;
    plugin.introduce(&identity, &challenge(CHALLENGE.as_bytes()), Compression::Zlib).await;
    let octokey = plugin.ack().await.octokey.unwrap();
    let event = |kind: &str| {
        let (id, key) = (identity.printer.as_str(), octokey.expose());
        format!("PrinterId={id}&OctoKey={key}&Event={kind}&FileName=a.gcode&PrintId=P&DurationSec=12.5")
    };
    let path = "/api/printernotifications/printerevent";
    let domain = service.domain();
    for (n, host) in [
        domain.clone(),
        format!("printer-events-v1-oeapi.{domain}"),
        "printer-events-v1-oeapi.another.example".to_owned(),
        "192.0.2.7".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::builder().method(Method::POST).uri(path).header("host", &host);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let body = Full::new(Bytes::from(format!("{}&HoursCount={n}", event("timerprogress"))));
        let answer = Client::new(service.address()).exchange(request.body(body).unwrap()).await;
        assert_eq!(answer.status.as_u16(), 200, "{host}: {}", answer.text());
    }
    let events = service.live().recent_events(&identity.printer);
    assert_eq!(events.iter().filter_map(|event| event.event.hours).collect::<Vec<_>>(), [3, 2, 1, 0]);
    let client = Client::new(service.address());
    for path in ["/api/plugin/ping", "/api/nginx-direct/ping/", "/api/util/date", "/pluginupdate", "/s/topic"] {
        let answer = client.get("starport-v1.another.example", path, &[]).await;
        assert!(matches!(answer.status.as_u16(), 200 | 303), "{path}: {}", answer.status);
    }
    for path in
        ["/", "/sign-in", "/printers", "/api/appconnection/info", "/s/", "/api/printernotifications/printerevent/"]
    {
        assert_eq!(client.get("starport-v1.another.example", path, &[]).await.status.as_u16(), 421, "{path}");
    }
}

#[tokio::test]
async fn a_printer_whose_plugin_is_too_old_is_610_to_apps() {
    let service = service().await;
    let (identity, access) = linked(&service).await;
    let refused = async |identity: &Identity| {
        let mut plugin = Plugin::connect(&service).await;
        plugin.printer.version = "3.9.9".to_owned();
        plugin.introduce(identity, &challenge(CHALLENGE.as_bytes()), Compression::Zlib).await;
        assert!(plugin.try_event().await.is_err_and(|reset| reset.0.contains("4.0.0")));
    };
    // Anybody can say that they are this printer.
    refused(&Identity { key: model::Secret::new("z".repeat(80)), ..identity.clone() }).await;
    let app_token = access.app_token.expose().to_owned();
    let gadget = async || {
        let request = Request::builder().method(Method::POST).uri("/api/gadget/GetStatusFromAppConnection");
        let request = request.header("host", service.domain()).header("AppToken", &app_token);
        Client::new(service.address()).exchange(request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()).await
    };
    assert_eq!(gadget().await.status.as_u16(), 200);
    refused(&identity).await;
    assert_eq!(gadget().await.status.as_u16(), 610);
    let log = service.live().connections(&identity.printer);
    assert_eq!(log.first().map(|event| event.change), Some(relay::live::ConnectionChange::TooOld));
    let _plugin = Plugin::accepted(&service, &identity).await;
    assert_eq!(gadget().await.status.as_u16(), 200, "it was updated");
}
