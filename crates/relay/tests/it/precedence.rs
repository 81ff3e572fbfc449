//! Of two reasons to refuse a request, the earlier one in the specification's order is told.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use model::{Limits, WebcamWindow};
use store::ConnectionKind;
use testkit::{Client, Origin, OriginBody, Protocol, Rig, TestAgent, TestService, dead_address, full, set_supporter};

use crate::codes_scenes::{use_up_webcam, webcam};

/// The most that a plan here lets through, either way.
const LIMIT: u64 = 1000;
const STREAM: &str = "/webcam/?action=stream";

fn upload_limit() -> Limits {
    Limits { max_upload_bytes: Some(LIMIT), ..Limits::default() }
}

fn webcam_limit() -> Limits {
    let window = WebcamWindow { window: Duration::from_secs(600), total: Duration::from_millis(1) };
    Limits { webcam_window: Some(window), ..Limits::default() }
}

/// The code of a GET, or of a POST of `body`, in both versions of HTTP.
async fn codes(service: &TestService, host: &str, path: &str, authorization: &str, body: &'static [u8]) -> [u16; 2] {
    let mut codes = [0; 2];
    for (code, protocol) in codes.iter_mut().zip(Protocol::ALL) {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let request = http::Request::builder().method(method).uri(path).header("host", host);
        let request = request.header("authorization", authorization).body(Full::from(body)).unwrap();
        *code = Client::speaking(protocol, service.address()).exchange(request).await.status.as_u16();
    }
    codes
}

#[tokio::test]
async fn a_store_that_fails_comes_before_everything() {
    let service = TestService::start().await;
    let (_, app) = Rig::printer_on(&service, Limits::default()).await;
    service.revoke(ConnectionKind::App, &app.id).await;
    let unknown = format!("app-abcdefgh.{}", service.relay().names().printers_domain);
    service.store().close().await;
    for host in [&unknown, &app.host] {
        assert_eq!(codes(&service, host, "/", "Bearer wrong", b"").await, [600, 600]);
    }
}

#[tokio::test]
async fn an_unknown_label_comes_before_credentials() {
    let service = TestService::start().await;
    let unknown = format!("app-abcdefgh.{}", service.relay().names().printers_domain);
    assert_eq!(codes(&service, &unknown, "/", "Bearer wrong", b"").await, [603, 603]);
}

#[tokio::test]
async fn death_comes_before_credentials_and_credentials_before_the_plan() {
    let service = TestService::start().await;
    let (printer, revoked) = Rig::printer_on(&service, Limits::default()).await;
    let app = service.app_connection(&printer.id).await;
    service.revoke(ConnectionKind::App, &revoked.id).await;
    set_supporter(&service, false).await;
    assert_eq!(codes(&service, &revoked.host, "/", "Bearer wrong", b"").await, [604, 604]);
    assert_eq!(codes(&service, &revoked.host, "/", &revoked.bearer_header(), b"").await, [604, 604]);
    assert_eq!(codes(&service, &app.host, "/", "Bearer wrong", b"").await, [606, 606]);
    assert_eq!(codes(&service, &app.host, "/", &app.bearer_header(), b"").await, [605, 605]);
}

#[tokio::test]
async fn the_plan_comes_before_the_size_and_the_size_before_the_link() {
    let service = TestService::start().await;
    let (_, app) = Rig::printer_on(&service, upload_limit()).await;
    let authorization = app.bearer_header();
    let large = &[b'x'; LIMIT as usize + 1];
    assert_eq!(codes(&service, &app.host, "/", &authorization, large).await, [608, 608]);
    assert_eq!(codes(&service, &app.host, "/", &authorization, &large[1..]).await, [601, 601]);
    set_supporter(&service, false).await;
    // The service hears of it within a moment.
    let told = async || (codes(&service, &app.host, "/", &authorization, large).await == [605, 605]).then_some(());
    testkit::wait_for_answer("605", told).await;
}

#[tokio::test]
async fn the_link_comes_before_the_webcams_window() {
    let service = TestService::start().await;
    let (printer, app) = Rig::printer_on(&service, webcam_limit()).await;
    let origin = Origin::start(|_| async { webcam() }).await;
    let agent = TestAgent::start(&service, &printer, origin.address()).await;
    use_up_webcam(&service, &app, STREAM).await;
    assert_eq!(codes(&service, &app.host, STREAM, &app.bearer_header(), b"").await, [609, 609]);
    agent.stop().await;
    testkit::wait_until("the link is gone", || service.relay().printers_here().is_empty()).await;
    assert_eq!(codes(&service, &app.host, STREAM, &app.bearer_header(), b"").await, [601, 601]);
}

#[tokio::test]
async fn the_webcams_window_comes_before_what_the_link_does() {
    let service = TestService::start().await;
    let (printer, app) = Rig::printer_on(&service, webcam_limit()).await;
    let origin = Origin::start(|_| async { webcam() }).await;
    let agent = TestAgent::start(&service, &printer, origin.address()).await;
    use_up_webcam(&service, &app, STREAM).await;
    agent.stop().await;
    testkit::wait_until("the link is gone", || service.relay().printers_here().is_empty()).await;
    let printer = service.enrol_anew(&printer).await;
    let _agent = TestAgent::start(&service, &printer, dead_address().await).await;
    assert_eq!(codes(&service, &app.host, STREAM, &app.bearer_header(), b"").await, [609, 609]);
    assert_eq!(codes(&service, &app.host, "/", &app.bearer_header(), b"").await, [602, 602]);
}

#[tokio::test]
async fn a_dead_printer_is_told_before_the_upload_has_crossed_its_limit() {
    let rig = Rig::limited(dead_address().await, upload_limit()).await;
    for protocol in Protocol::ALL {
        // The rest of the body would be too large, but it never comes.
        let start = futures_util::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from("start")))]);
        let body = StreamBody::new(start.chain(futures_util::stream::pending()));
        let request = rig.request(Method::POST, "/").body(body).unwrap();
        let response = rig.client(protocol).send(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 602, "{protocol:?}");
    }
}

#[tokio::test]
async fn an_upload_over_its_limit_is_told_before_what_the_response_would_have_been() {
    let limits = Limits { max_upload_bytes: Some(LIMIT), ..webcam_limit() };
    let origin = Origin::start(|request| async move {
        if request.method() == Method::POST {
            // Never whole.
            assert!(request.into_body().collect().await.is_err());
        }
        webcam()
    })
    .await;
    let rig = Rig::limited(origin.address(), limits).await;
    use_up_webcam(&rig.service, &rig.app, STREAM).await;
    for protocol in Protocol::ALL {
        let pieces = (0..3).map(|_| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(vec![b'x'; 500]))));
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let request = rig.request(Method::POST, "/not/known/as/webcam").body(body).unwrap();
        let response = rig.client(protocol).send(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 608, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_webcams_window_comes_before_its_announced_length() {
    let limits = Limits { max_download_bytes: Some(LIMIT), ..webcam_limit() };
    let large_stream = || -> Response<OriginBody> {
        Response::builder()
            .header("content-type", "multipart/x-mixed-replace; boundary=frame")
            .body(full(vec![b'x'; LIMIT as usize + 1]))
            .unwrap()
    };
    let origin = Origin::start(move |request| async move {
        match request.uri().path() {
            "/webcam/" => webcam(),
            "/large-stream" => large_stream(),
            _ => Response::new(full(vec![b'x'; LIMIT as usize + 1])),
        }
    })
    .await;
    let rig = Rig::limited(origin.address(), limits).await;
    use_up_webcam(&rig.service, &rig.app, STREAM).await;
    let authorization = rig.app.bearer_header();
    assert_eq!(codes(&rig.service, &rig.app.host, "/large-stream", &authorization, b"").await, [609, 609]);
    assert_eq!(codes(&rig.service, &rig.app.host, "/large", &authorization, b"").await, [607, 607]);
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_told_before_any_of_it_flows() {
    let pieces = || {
        let pieces = (0..4).map(|_| Ok(Bytes::from(vec![b'x'; LIMIT as usize])));
        testkit::stream_body(futures_util::stream::iter(pieces))
    };
    let origin = Origin::start(move |request| async move {
        let response = Response::builder();
        match request.uri().path() {
            "/announced" => response.header("content-length", 4 * LIMIT).body(pieces()).unwrap(),
            _ => response.body(pieces()).unwrap(),
        }
    })
    .await;
    let rig = Rig::limited(origin.address(), Limits { max_download_bytes: Some(LIMIT), ..Limits::default() }).await;
    for protocol in Protocol::ALL {
        let announced = rig.get(protocol, "/announced", &[]).await;
        assert_eq!(announced.status.as_u16(), 607, "{protocol:?}");
        let crossing = rig.get(protocol, "/unknown-length", &[]).await;
        assert_eq!(crossing.status.as_u16(), 200, "{protocol:?}");
        assert!(crossing.body.is_err(), "{protocol:?}");
    }
}
