//! Situations in which the service answers with a code of its own.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use model::{Label, Limits, WebcamWindow};
use store::ConnectionKind;
use testkit::{
    AppAccess, Client, Ending, LinkProxy, Origin, OriginBody, Protocol, RawOrigin, Rig, TestAgent, TestAgentOptions,
    TestService, dead_address, full, set_supporter, stream_body, wait_until,
};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// Why a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    StoreDown,
    NeverLinked,
    LinkLost,
    PrinterDead,
    NoSuchLabel,
    Revoked,
    PlanLost,
    NoCredentials,
    LargeDownload,
    LargeUpload,
    WebcamUsedUp,
    NoHttp,
}

/// A service and a request to it that fails.
pub(crate) struct Scene {
    service: TestService,
    _keep: Vec<Box<dyn Any>>,
    pub(crate) host: String,
    pub(crate) path: &'static str,
    pub(crate) authorization: Option<String>,
    /// Not empty if the request is a POST.
    pub(crate) body: &'static str,
}

impl Scene {
    pub(crate) fn address(&self) -> SocketAddr {
        self.service.address()
    }

    pub(crate) fn method(&self) -> Method {
        if self.body.is_empty() { Method::GET } else { Method::POST }
    }

    pub(crate) fn help_url(&self, code: u16) -> String {
        format!("http://{}/errors/{code}", self.service.domain())
    }
}

/// The most that a limited plan lets through.
const LIMIT: u64 = 1000;
/// More than that.
const LARGE: &str = match std::str::from_utf8(&[b'x'; 1001]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Sets up a cause.
pub(crate) async fn scene(cause: Cause) -> Scene {
    let service = TestService::start().await;
    let mut limits = Limits::default();
    match cause {
        Cause::LargeDownload => limits.max_download_bytes = Some(LIMIT),
        Cause::LargeUpload => limits.max_upload_bytes = Some(LIMIT),
        Cause::WebcamUsedUp => {
            let window = WebcamWindow { window: Duration::from_secs(600), total: Duration::from_millis(1) };
            limits.webcam_window = Some(window);
        }
        _ => {}
    }
    let (printer, app) = Rig::printer_on(&service, limits).await;
    let mut keep: Vec<Box<dyn Any>> = Vec::new();
    let origin = match cause {
        Cause::PrinterDead => dead_address().await,
        Cause::NoHttp => {
            let origin = RawOrigin::answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
            let address = origin.address();
            keep.push(Box::new(origin));
            address
        }
        _ => {
            let origin = Origin::start(|request| async move {
                if request.uri().path() == "/webcam/" { webcam() } else { Response::new(full(LARGE)) }
            })
            .await;
            let address = origin.address();
            keep.push(Box::new(origin));
            address
        }
    };
    if cause != Cause::NeverLinked {
        let agent = TestAgent::start(&service, &printer, origin).await;
        if cause == Cause::LinkLost {
            agent.stop().await;
            wait_until("the link is gone", || service.relay().printers_here().is_empty()).await;
        } else {
            keep.push(Box::new(agent));
        }
    }
    let (mut host, mut authorization, mut body, mut path) =
        (app.host.clone(), Some(app.bearer_header()), "", "/a/path");
    match cause {
        Cause::StoreDown => service.store().close().await,
        Cause::NoSuchLabel => {
            host = format!("app-{}.{}", Label::generate(), service.relay().names().printers_domain);
        }
        Cause::Revoked => service.revoke(ConnectionKind::App, &app.id).await,
        Cause::PlanLost => set_supporter(&service, false).await,
        Cause::NoCredentials => authorization = None,
        Cause::LargeUpload => body = LARGE,
        Cause::WebcamUsedUp => {
            path = "/webcam/?action=stream";
            use_up_webcam(&service, &app, path).await;
        }
        _ => {}
    }
    Scene { service, _keep: keep, host, path, authorization, body }
}

/// A picture every few milliseconds, for ever.
pub(crate) fn webcam() -> Response<OriginBody> {
    let part: &[u8] = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\njpeg\r\n";
    let parts = futures_util::stream::unfold((), move |()| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok(Bytes::from_static(part)), ()))
    });
    Response::builder()
        .header("content-type", "multipart/x-mixed-replace; boundary=frame")
        .body(stream_body(parts))
        .unwrap()
}

/// Streams until the window has nothing left.
pub(crate) async fn use_up_webcam(service: &TestService, app: &AppAccess, path: &str) {
    let client = Client::new(service.address());
    loop {
        let request = app.request(Method::GET, path).body(Full::<Bytes>::default()).unwrap();
        let response = client.send(request).await.unwrap();
        if response.status().as_u16() == 609 {
            return;
        }
        let mut body = response.into_body();
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        wait_until("the stream is over", || service.relay().open_sessions() == 0).await;
    }
}

/// Opens a WebSocket, brings the cause about, and says how the WebSocket ends.
pub(crate) async fn ending(cause: Cause, protocol: Protocol) -> Ending {
    let service = TestService::start().await;
    let origin = RawOrigin::websocket(&[], move |mut socket, _| async move {
        socket.send(Message::text("hello")).await.unwrap();
        match cause {
            // Without a close frame.
            Cause::PrinterDead => {}
            Cause::NoHttp => {
                // A server must not mask (RFC 6455 §5.1).
                let _ = socket.get_mut().write_all(&[0x82, 0x81, 1, 2, 3, 4, 5]).await;
                while let Some(Ok(_)) = socket.next().await {}
            }
            _ => while let Some(Ok(_)) = socket.next().await {},
        }
    })
    .await;
    let (printer, app) = Rig::printer_on(&service, Limits::default()).await;
    let proxy = LinkProxy::start(service.address()).await;
    let options = TestAgentOptions { server: Some(proxy.url()), ..TestAgentOptions::default() };
    let _agent = TestAgent::start_with(&service, &printer, origin.address(), options).await;
    let authorization = app.bearer_header();
    let client = Client::speaking(protocol, service.address());
    let opened = client.websocket(&app.host, "/ws", &[("authorization", &authorization)]).await;
    let mut socket = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(socket.next_message().await, Message::text("hello"));
    match cause {
        Cause::LinkLost => proxy.cut(),
        Cause::Revoked => service.revoke(ConnectionKind::App, &app.id).await,
        Cause::PlanLost => set_supporter(&service, false).await,
        _ => {}
    }
    socket.ending().await
}
