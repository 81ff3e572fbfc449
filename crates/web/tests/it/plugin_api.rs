//! What the existing plugin calls on the site.

use axum::body::Body;
use http::{Method, StatusCode, header};
use image::{DynamicImage, ImageFormat, RgbImage};
use model::events::EventKind;
use model::{AccountId, PrinterId, Secret};
use serde_json::{Value, json};
use store::NewPairing;
use web::SiteSettings;

use crate::api::fixture::Answer;
use crate::world::{Browser, World, now};

const EVENT: &str = "/api/printernotifications/printerevent";
const INSPECT: &str = "/api/gadget/inspect";
const BOUNDARY: &str = "0123456789abcdef";
const KEY: &[u8] = include_bytes!("../../../testkit/data/plugin_challenge_key.pem");

/// A site with a printer that is linked through a plugin.
struct Desk {
    world: World,
    ann: AccountId,
    printer: PrinterId,
    octokey: Secret,
}

impl Desk {
    async fn new() -> Self {
        let world = World::with_plugins(SiteSettings::default(), KEY).await;
        let ann = world.account("ann@example.org", None).await;
        let printer: PrinterId = "P".repeat(60).parse().expect("an id");
        let key = Secret::new("k".repeat(80));
        let pairing = NewPairing {
            key: &key,
            printer: Some(printer.clone()),
            host: String::new(),
            software: String::new(),
            software_version: String::new(),
            agent_version: String::new(),
            lan_ip: String::new(),
            address: None,
        };
        let code = world.store.start_pairing(pairing, now()).await.expect("a code");
        let name = "Anns Voron".parse().expect("a name");
        world.store.claim_pairing(code.as_str(), &ann, &name, now()).await.expect("the store").expect("it is hers");
        let octokey = world.state.plugins.octokey(&printer, &key.hash()).await.expect("the key can be read");
        Self { world, ann, printer, octokey }
    }

    fn fields<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let who = [("PrinterId", self.printer.as_str()), ("OctoKey", self.octokey.expose())];
        who.into_iter().chain(more.iter().copied()).collect()
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let browser = self.world.browser();
        self.world.send(browser.form(path, None, fields)).await
    }

    async fn send_with_picture(&self, path: &str, fields: &[(&str, &str)], picture: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (name, text) in fields {
            let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        let head = "Content-Disposition: form-data; name=\"attachment\"; filename=\"snapshot.jpg\"";
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(picture);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let request = self.world.browser().request(Method::POST, path);
        let request = request.header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
        self.world.send(request.body(Body::from(body)).expect("a request")).await
    }

    fn events(&self) -> Vec<std::sync::Arc<relay::live::ReportedEvent>> {
        self.world.live.recent_events(&self.printer)
    }
}

fn jpeg() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(64, 48, image::Rgb([200, 30, 30])));
    picture.write_to(&mut bytes, ImageFormat::Jpeg).expect("memory takes it");
    bytes.into_inner()
}

#[tokio::test]
async fn events_are_taken_in_as_the_plugin_sends_them() {
    let desk = Desk::new().await;
    let mut events = desk.world.live.events();
    let answer = desk
        .send(
            EVENT,
            &desk.fields(&[
                ("Event", "failed"),
                ("PrintId", "PRINT"),
                ("FileName", "None"),
                ("TimeRemainingSec", "-1"),
                ("CurrentLayer", "0"),
                ("ProgressPercentage", "41"),
                ("DurationSec", "3605.2"),
                ("Reason", "cancelled"),
                ("Error", "it <b>stopped</b>"),
            ]),
        )
        .await;
    assert_eq!((answer.status, &answer.json()["Status"]), (StatusCode::OK, &json!(200)));
    let reported = events.try_recv().expect("somebody may listen");
    let event = &reported.event;
    assert_eq!((&event.kind, &reported.printer), (&EventKind::Failed, &desk.printer));
    assert_eq!((event.file.as_deref(), event.seconds_left, event.layer), (None, None, None));
    assert_eq!((event.progress, event.seconds_printing), (Some(41), Some(3605)));
    assert_eq!(event.reason.as_deref(), Some("cancelled"));

    let picture = jpeg();
    let fields = desk.fields(&[("Event", "done"), ("PrintId", "PRINT"), ("DurationSec", "3605.2")]);
    assert_eq!(desk.send_with_picture(EVENT, &fields, &picture).await.status, StatusCode::OK);
    let kept = desk.events()[0].picture.clone().expect("it has a picture");
    assert!(kept.starts_with(&[0xff, 0xd8, 0xff]) && kept != picture, "it is made anew");
    // The plugin tries again.
    assert_eq!(desk.send_with_picture(EVENT, &fields, &picture).await.status, StatusCode::OK);
    assert_eq!(desk.events().len(), 2);
    // What is no picture is left out, and the event is not.
    for (n, bad) in [&b"<svg onload=alert(1)>"[..], b"\xff\xd8\xff and then nothing"].into_iter().enumerate() {
        let hours = n.to_string();
        let fields = desk.fields(&[("Event", "timerprogress"), ("HoursCount", &hours)]);
        assert_eq!(desk.send_with_picture(EVENT, &fields, bad).await.status, StatusCode::OK);
        assert!(desk.events()[0].picture.is_none());
    }
    // An event that this version does not know is kept, and nobody is told of it.
    assert_eq!(desk.send(EVENT, &desk.fields(&[("Event", "dance")])).await.status, StatusCode::OK);
    assert_eq!(desk.events()[0].event.kind.event_type(), None);

    let page = desk.world.signed_in(&desk.ann).await.1.get(&format!("/view/{}", desk.printer)).await.text();
    assert!(page.contains("Print failed, cancelled, it &#60;b&#62;stopped"), "{page}");
}

#[tokio::test]
async fn only_the_printers_own_key_speaks_for_it() {
    let desk = Desk::new().await;
    let (id, key) = (desk.printer.as_str(), desk.octokey.expose());
    let other = "Q".repeat(60);
    let mut texts = Vec::new();
    for path in [EVENT, INSPECT] {
        for (fields, status) in [
            (vec![("Event", "done")], 401),
            (vec![("Event", "done"), ("PrinterId", id)], 401),
            (vec![("Event", "done"), ("OctoKey", key)], 401),
            (vec![("Event", "done"), ("PrinterId", id), ("OctoKey", "None")], 401),
            (vec![("Event", "done"), ("PrinterId", id), ("OctoKey", "wrong")], 403),
            (vec![("Event", "done"), ("PrinterId", &other), ("OctoKey", key)], 403),
            (vec![("Event", "done"), ("PrinterId", "../x"), ("OctoKey", key)], 403),
        ] {
            let answer = desk.send(path, &fields).await;
            assert_eq!(answer.status.as_u16(), status, "{fields:?}: {}", answer.text());
            if status == 403 {
                texts.push(answer.text());
            }
        }
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "an unknown printer and a wrong key are alike");
    // A stranger's picture is not even read.
    let answer = desk.send_with_picture(EVENT, &[("Event", "done"), ("PrinterId", id)], &jpeg()).await;
    assert_eq!(answer.status.as_u16(), 401);
    assert!(desk.events().is_empty());
}

#[tokio::test]
async fn what_is_too_much_or_malformed_is_refused_for_good() {
    let desk = Desk::new().await;
    let long = "x".repeat(100_000);
    assert_eq!(desk.send(EVENT, &desk.fields(&[("Error", &long)])).await.status.as_u16(), 413);
    let huge = vec![0xff; 4 * 1024 * 1024];
    assert_eq!(desk.send_with_picture(EVENT, &desk.fields(&[("Event", "done")]), &huge).await.status.as_u16(), 413);
    let many: Vec<String> = (0..100).map(|n| format!("f{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(desk.send(EVENT, &desk.fields(&many)).await.status.as_u16(), 413);
    let request = desk.world.browser().request(Method::POST, EVENT);
    let request = request.header(header::CONTENT_TYPE, "multipart/form-data").body(Body::from("x")).expect("a request");
    assert_eq!(desk.world.send(request).await.status.as_u16(), 400);
    assert!(desk.events().is_empty());
}

#[tokio::test]
async fn a_printer_and_an_address_have_their_budgets() {
    let desk = Desk::new().await;
    let mut statuses = Vec::new();
    for n in 0..140 {
        let hours = n.to_string();
        let fields = desk.fields(&[("Event", "timerprogress"), ("HoursCount", &hours)]);
        statuses.push(desk.send(EVENT, &fields).await.status.as_u16());
    }
    assert_eq!((statuses[0], statuses[59]), (200, 200));
    assert!(statuses.contains(&429), "the printer's is final");
    assert!(statuses.contains(&503), "the address's is not: others may be behind it");
}

#[tokio::test]
async fn the_watch_that_is_not_there_costs_a_picture_in_ten_minutes() {
    let desk = Desk::new().await;
    let fields = desk.fields(&[("Event", "inspect"), ("LastIntervalSec", "30"), ("ScoreHistory", "[0.1, 0.2]")]);
    let answer = desk.send_with_picture(INSPECT, &fields, &jpeg()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected = json!({"NextInspectIntervalSec": 600, "IsSuppressed": true, "Score": 0.0});
    assert_eq!(answer.json()["Result"], expected);
    assert!(desk.events().is_empty(), "it is no event");
}

#[tokio::test]
async fn small_questions_are_answered() {
    let world = World::new().await;
    let mut browser = world.browser();
    let ping = browser.get("/api/plugin/ping").await.json();
    let result = &ping["Result"];
    assert_eq!((&result["Servers"], &result["ThisServer"]), (&json!(["starport-v1"]), &json!("starport-v1")));
    assert_eq!(result["AutoLowestLatencyThresholdRttMs"], 100_000);
    assert_eq!(browser.get("/api/nginx-direct/ping/").await.status, StatusCode::OK);
    let date = browser.get("/api/util/date").await.text();
    assert_eq!((date.len(), &date[4..5], &date[10..11], &date[13..14]), (19, "-", " ", ":"), "{date}");

    let post = async |browser: &mut Browser<'_>, path: &str, body: Value| {
        let request = browser.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        browser.send(request.body(Body::from(body.to_string())).expect("a request")).await
    };
    let crash = post(&mut browser, "/api/plugin/sentryconfig", json!({"PluginVersion": "5.3.1"})).await.json();
    assert_eq!(crash["Result"]["Enabled"], false);
    let measured = json!({"Name": "PluginLatencyV5", "Value": 20, "Tags": {}});
    let telemetry = "/api/stats/v2/telemetryaccumulator";
    assert_eq!(post(&mut browser, telemetry, measured).await.status, StatusCode::OK);
    assert_eq!(post(&mut browser, telemetry, json!([1])).await.status.as_u16(), 400);
    assert_eq!(post(&mut browser, telemetry, json!({"Name": "x".repeat(10_000)})).await.status.as_u16(), 413);

    let preflight = browser
        .request(Method::OPTIONS, "/api/plugin/checkin")
        .header(header::ORIGIN, "http://octopi.local")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
    let preflight = browser.send(preflight.body(Body::empty()).expect("a request")).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert_eq!(preflight.header("access-control-allow-credentials"), "");
    let checked = post(&mut browser, "/api/plugin/checkin", json!({"PrinterId": "P".repeat(60)})).await;
    assert_eq!((checked.status, checked.header("access-control-allow-origin")), (StatusCode::OK, "*"));
    assert_eq!(checked.json()["Result"], json!({}));
    for path in ["/pluginupdate", "/support", "/plugin/connectioncheck"] {
        assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(browser.get("/s/sonic-pad").await.header("location"), "http://localhost:8080/support");
}

#[tokio::test]
async fn a_service_whose_key_is_gone_has_the_plugin_try_again() {
    let world = World::with_plugins(SiteSettings::default(), b"no key").await;
    let fields = [("PrinterId", "P"), ("OctoKey", "x"), ("Event", "done")];
    let answer = world.send(world.browser().form(EVENT, None, &fields)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
}
