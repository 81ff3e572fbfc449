//! TLS at both of the service's doors, and the tunnel through something that knows WebSockets only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use http_body_util::{BodyExt, Full};
use testkit::{
    Client, Exchange, LinkProxy, Origin, Protocol, Rig, TestAgent, TestAgentOptions, TestCertificates, TestService,
    accept_websocket, full, test_certificates, wait_for_answer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tunnel::dial::{Upgrade, tls_config};

/// The name of a service with TLS.
const DOMAIN: &str = "spoolway.localhost";

#[tokio::test]
async fn visitors_and_agents_come_over_tls() {
    let certificates = test_certificates();
    let origin = mirror().await;
    let service = TestService::start_with_tls(&certificates).await;
    let (printer, app) = Rig::printer_on(&service, model::Limits::default()).await;
    let server = format!("https://{DOMAIN}:{}", service.address().port());
    let options =
        TestAgentOptions { server: Some(server), certificates: Some(&certificates), ..TestAgentOptions::default() };
    let agent = TestAgent::start_with(&service, &printer, origin.address(), options).await;
    // The service knows of the link a moment before the agent does.
    let upgrade = wait_for_answer("the agent to know how it came", async || agent.seen().upgrade).await;
    assert_eq!(upgrade, Upgrade::Raw);
    for protocol in Protocol::ALL {
        let client = Client::speaking(protocol, service.address()).over_tls(&certificates);
        exercise(&client, &app).await;
        let seen = origin.last_seen().headers;
        assert_eq!(
            (&seen["x-forwarded-proto"], &seen["host"]),
            (&"https".parse().unwrap(), &app.host.parse().unwrap())
        );
        // What browsers demand over TLS is left to the printer.
        let cookie = client.get(&app.host, "/cookie", &[("authorization", &app.bearer_header())]).await;
        assert_eq!(cookie.header("set-cookie"), "a=1; Secure; SameSite=None");
    }
}

/// Which version of HTTP is spoken is agreed in the handshake; who offers none speaks HTTP/1.1.
#[tokio::test]
async fn the_protocol_is_agreed_in_the_handshake() {
    let certificates = test_certificates();
    let service = TestService::start_with_tls(&certificates).await;
    for (offered, expected) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut config = (*tls_config(Some(&certificates.authority)).unwrap()).clone();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let tcp = TcpStream::connect(service.address()).await.unwrap();
        let name = ServerName::try_from(DOMAIN).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), expected);
        if expected != Some(b"h2") {
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
        }
    }
}

/// Renewed certificates are taken up while the service runs; those that cannot be used are not.
#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let (first, second) = (test_certificates(), test_certificates());
    let service = TestService::start_with_tls(&first).await;
    let trusting = |certificates: &TestCertificates| {
        let connector = TlsConnector::from(tls_config(Some(&certificates.authority)).unwrap());
        let address = service.address();
        async move {
            let tcp = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from(DOMAIN).unwrap(), tcp).await.is_ok()
        }
    };
    assert!(trusting(&first).await && !trusting(&second).await);
    let client = Client::speaking(Protocol::Http1, service.address()).over_tls(&first);
    let mut open = client.connect(DOMAIN).await.unwrap();

    // A key that does not fit is the state between two files being replaced.
    let replace = |from: &std::path::Path, to: &std::path::Path| {
        let next = to.with_extension("next");
        std::fs::copy(from, &next).unwrap();
        std::fs::rename(next, to).unwrap();
    };
    replace(&second.key, &first.key);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(trusting(&first).await && !trusting(&second).await);
    replace(&second.certificate, &first.certificate);
    wait_for_answer("the new certificate", async || trusting(&second).await.then_some(())).await;
    assert!(!trusting(&first).await);

    // What was open before goes on.
    let request = http::Request::get("/healthz").header("host", DOMAIN).body(Full::<Bytes>::default()).unwrap();
    assert_eq!(open.send(request).await.unwrap().status(), 200);
}

/// Plain HTTP at a door that speaks TLS gets nowhere, and holds nothing up.
#[tokio::test]
async fn plain_http_at_a_tls_door_is_closed() {
    let certificates = test_certificates();
    let service = TestService::start_with_tls(&certificates).await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n");
    let (answer, closed) = testkit::raw_exchange(service.address(), request.as_bytes(), Duration::from_secs(20)).await;
    assert!(closed && !answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[tokio::test]
async fn where_the_upgrade_is_refused_the_tunnel_is_a_websocket() {
    let origin = mirror().await;
    let service = TestService::start().await;
    let (printer, app) = Rig::printer_on(&service, model::Limits::default()).await;
    let proxy = LinkProxy::start_for_websockets_only(service.address()).await;
    let options = TestAgentOptions { server: Some(proxy.url()), ..TestAgentOptions::default() };
    let agent = TestAgent::start_with(&service, &printer, origin.address(), options).await;
    testkit::wait_until("the agent is told", || agent.connects() == 1).await;
    let upgrade = wait_for_answer("the agent to know how it came", async || agent.seen().upgrade).await;
    assert_eq!(upgrade, Upgrade::WebSocket);
    for protocol in Protocol::ALL {
        exercise(&Client::speaking(protocol, service.address()), &app).await;
    }
    // It remembers which way worked.
    proxy.cut();
    testkit::wait_until("the link is gone", || service.relay().printers_here().is_empty()).await;
    proxy.mend();
    testkit::wait_until("the agent is back", || agent.connects() == 2).await;
    exercise(&Client::new(service.address()), &app).await;
}

/// A printer that sends bodies and messages back.
async fn mirror() -> Origin {
    Origin::start(|mut request| async move {
        if request.headers().contains_key("sec-websocket-key") {
            return accept_websocket(&mut request, |mut socket| async move {
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
        if request.uri().path() == "/cookie" {
            let response =
                http::Response::builder().header("set-cookie", "a=1; Domain=localhost; Secure; SameSite=None");
            return response.body(full("")).unwrap();
        }
        http::Response::new(full(request.into_body().collect().await.unwrap().to_bytes()))
    })
    .await
}

/// Some of everything.
async fn exercise(client: &Client, app: &testkit::AppAccess) {
    let body: Bytes = (0..5_000_000u32).map(|n| (n % 253) as u8).collect();
    let request = app.request(Method::POST, "/").body(Full::new(body.clone())).unwrap();
    let exchange = Exchange::read(client.send(request).await.unwrap()).await;
    assert!(exchange.body.as_ref() == Ok(&body));
    let authorization = app.bearer_header();
    let opened = client.websocket(&app.host, "/ws", &[("authorization", &authorization)]).await;
    let mut socket = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    for message in [Message::text("hello"), Message::binary(body.slice(..1_000_000))] {
        socket.messages.send(message.clone()).await.unwrap();
        assert!(socket.next_message().await == message);
    }
    let stranger = client.get(&app.host, "/", &[]).await;
    assert_eq!(stranger.status.as_u16(), 606);
}
