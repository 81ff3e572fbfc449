//! What passes, passes as it is: targets, methods, bodies of every kind, and each piece when it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use parking_lot::Mutex;
use testkit::{
    Exchange, Origin, OriginBody, Protocol, RawOrigin, Rig, TestAgent, TestAgentOptions, empty, full, read_head,
    stream_body, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Each waits this long for what should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn any_method_passes_with_its_body() {
    let origin = Origin::start(echo).await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "x-own"] {
            for body in ["", "a body"] {
                let request = rig.request(Method::from_bytes(method.as_bytes()).unwrap(), "/");
                let exchange = rig.client(protocol).exchange(request.body(Full::from(body)).unwrap()).await;
                assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, body), "{method}");
                assert_eq!(origin.last_seen().method.as_str(), method);
            }
        }
    }
}

#[tokio::test]
async fn the_target_passes_byte_for_byte() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for target in [
            "/",
            "//",
            "//a//b/",
            "/a/../b/./c",
            "/a%2Fb%2f%00",
            "/%e4%ff",
            "/a;b=c,d!$&'()*+:@~-._",
            "/a?",
            "/a??b",
            "/a?b=c&b=c&&d=&=e&f",
            "/a?x=%26%3D+%20&y=http://elsewhere.example/",
            "/a?q=[1]|{2}^`",
            "/oe_api_key?not=ours&oe_api_keys=1",
        ] {
            let exchange = rig.get(protocol, target, &[]).await;
            assert_eq!(exchange.status, 200, "{target} in {protocol:?}");
            assert_eq!(origin.last_seen().target, target, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_head_has_the_length_and_no_body() {
    let origin = Origin::start(|request| async move {
        let response = Response::builder().header("content-length", 12345).header("etag", "\"a\"");
        assert_eq!(request.method(), Method::HEAD);
        response.body(empty()).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut connection = rig.client(protocol).connect("localhost").await.unwrap();
        // The connection goes on behind it.
        for _ in 0..3 {
            let request = rig.request(Method::HEAD, "/").body(Empty::<Bytes>::new()).unwrap();
            let exchange = Exchange::read(connection.send(request).await.unwrap()).await;
            assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, ""), "{protocol:?}");
            assert_eq!((exchange.header("content-length"), exchange.header("etag")), ("12345", "\"a\""));
        }
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_the_printers() {
    let origin = Origin::start(|request| async move {
        let header = |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap());
        let response =
            Response::builder().header("etag", "\"v1\"").header("last-modified", "Sat, 01 Jan 2022 00:00:00 GMT");
        if header("if-none-match") == Some("\"v1\"") {
            response.status(304).body(empty()).unwrap()
        } else if header("if-match").is_some_and(|tag| tag != "\"v1\"") {
            response.status(412).body(full("changed")).unwrap()
        } else {
            match header("range") {
                Some("bytes=2-4") => {
                    let response = response.status(206).header("content-range", "bytes 2-4/10");
                    response.body(full("234")).unwrap()
                }
                Some(_) => response.status(416).header("content-range", "bytes */10").body(empty()).unwrap(),
                None => response.header("accept-ranges", "bytes").body(full("0123456789")).unwrap(),
            }
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for (headers, status, body, range) in [
            (&[][..], 200, "0123456789", ""),
            (&[("range", "bytes=2-4")], 206, "234", "bytes 2-4/10"),
            (&[("range", "bytes=20-")], 416, "", "bytes */10"),
            (&[("if-none-match", "\"v1\"")], 304, "", ""),
            (&[("if-none-match", "\"v2\""), ("range", "bytes=2-4")], 206, "234", "bytes 2-4/10"),
            (&[("if-match", "\"v2\"")], 412, "changed", ""),
        ] {
            let exchange = rig.get(protocol, "/", headers).await;
            assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (status, body), "{headers:?}");
            assert_eq!((exchange.header("etag"), exchange.header("content-range")), ("\"v1\"", range), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn bodies_with_and_without_length_are_whole_both_ways() {
    let origin = Origin::start(|request| async move {
        let has_length = request.headers().contains_key("content-length");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let response = Response::builder().header("x-had-length", has_length.to_string());
        if has_length {
            response.body(full(body)).unwrap()
        } else {
            let pieces: Vec<_> = body.chunks(50_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            response.body(stream_body(futures_util::stream::iter(pieces))).unwrap()
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for size in [1, 16_384, 3_000_003] {
            let sent: Bytes = (0..size).map(|n: usize| (n % 251) as u8).collect();
            let request = rig.request(Method::POST, "/").body(Full::new(sent.clone())).unwrap();
            let exchange = rig.client(protocol).exchange(request).await;
            assert!(exchange.body.as_ref() == Ok(&sent), "{size} bytes in {protocol:?}");
            let expected = size.to_string();
            assert_eq!((exchange.header("content-length"), exchange.header("x-had-length")), (&*expected, "true"));

            let pieces: Vec<_> = sent
                .chunks(70_000)
                .map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece))))
                .collect();
            let body = StreamBody::new(futures_util::stream::iter(pieces));
            let request = rig.request(Method::POST, "/").body(body).unwrap();
            let exchange = Exchange::read(rig.client(protocol).send(request).await.unwrap()).await;
            assert!(exchange.body.as_ref() == Ok(&sent), "{size} bytes without length in {protocol:?}");
            assert_eq!((exchange.header("content-length"), exchange.header("x-had-length")), ("", "false"));
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let seen = Arc::new(Mutex::new(String::new()));
    let recording = Arc::clone(&seen);
    let origin = RawOrigin::start(move |mut stream| {
        let recording = Arc::clone(&recording);
        async move {
            let mut request = read_head(&mut stream).await;
            let mut buffer = [0; 4096];
            while request.starts_with("POST") && !request.ends_with("x-sum: 17\r\n\r\n") {
                let Ok(length @ 1..) = stream.read(&mut buffer).await else { break };
                request += &String::from_utf8_lossy(&buffer[..length]);
            }
            *recording.lock() = request;
            let response = "HTTP/1.1 200 OK\r\nTrailer: x-check\r\nTransfer-Encoding: chunked\r\n\r\n\
                            5\r\nhello\r\n0\r\nx-check: 42\r\n\r\n";
            let _ = stream.write_all(response.as_bytes()).await;
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("17"))]);
        let frames = [Frame::data(Bytes::from_static(b"upload")), Frame::trailers(trailers)];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>)));
        let request = rig.request(Method::POST, "/").header("te", "trailers").header("trailer", "x-sum");
        let response = rig.client(protocol).send(request.body(body).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-check"], "42", "{protocol:?}");
        assert_eq!(body.to_bytes(), "hello");
        assert!(seen.lock().ends_with("\r\n6\r\nupload\r\n0\r\nx-sum: 17\r\n\r\n"), "{}", seen.lock());
        // Who did not ask for trailers gets the body.
        let exchange = rig.get(protocol, "/", &[]).await;
        assert_eq!(exchange.text(), "hello", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_visitor_who_waits_for_100_is_told_to_send() {
    let origin = Origin::start(echo).await;
    let rig = Rig::start(origin.address()).await;
    let mut stream = testkit::connect_raw(rig.service.address()).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\
         Connection: close\r\n\r\n",
        rig.app.host,
        rig.app.bearer_header(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 25];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut told)).await.unwrap().unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!origin.last_seen().headers.contains_key("expect"));
}

/// An interim response of the printer's says nothing that a visitor must know.
#[tokio::test]
async fn interim_responses_do_not_get_in_the_way() {
    let origin = RawOrigin::answering(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    )
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let exchange = rig.get(protocol, "/", &[]).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "hello"), "{protocol:?}");
    }
}

/// Each event is with the visitor before the printer sends the next.
#[tokio::test]
async fn events_and_pictures_come_when_they_are_sent() {
    for kind in ["text/event-stream", "multipart/x-mixed-replace; boundary=b", "application/octet-stream"] {
        let (pieces, queue) = mpsc::channel::<Bytes>(1);
        let queue = Arc::new(Mutex::new(Some(queue)));
        let origin = Origin::start(move |_| {
            let queue = queue.lock().take().unwrap();
            let pieces = futures_util::stream::unfold(queue, |mut queue| async move {
                let piece = queue.recv().await?;
                Some((Ok(piece), queue))
            });
            async move { Response::builder().header("content-type", kind).body(stream_body(pieces)).unwrap() }
        })
        .await;
        let rig = Rig::start(origin.address()).await;
        let protocol = if kind.starts_with("text") { Protocol::Http1 } else { Protocol::Http2 };
        let mut connection = rig.client(protocol).connect("localhost").await.unwrap();
        let request = rig.request(Method::GET, "/stream").body(Empty::<Bytes>::new()).unwrap();
        let mut body = connection.send(request).await.unwrap().into_body();
        let mut slowest = Duration::ZERO;
        for n in 0..20 {
            let sent = Bytes::from(format!("data: {n}\n\n"));
            let since = std::time::Instant::now();
            pieces.send(sent.clone()).await.unwrap();
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), sent, "{kind}");
            slowest = slowest.max(since.elapsed());
        }
        println!("{kind} in {protocol:?}: each piece came within {slowest:.2?}");
        drop(pieces);
        let rest = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        assert!(rest.to_bytes().is_empty(), "{kind}");
    }
}

/// The head comes with the first byte or without any.
#[tokio::test]
async fn a_responses_head_does_not_wait_for_its_body() {
    let origin = Origin::start(|_| async {
        Response::builder().header("x-here", "1").body(stream_body(futures_util::stream::pending())).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let request = rig.request(Method::GET, "/").body(Empty::<Bytes>::new()).unwrap();
        let response = tokio::time::timeout(PATIENCE, rig.client(protocol).send(request)).await.unwrap().unwrap();
        assert_eq!(response.headers()["x-here"], "1");
    }
}

/// And an upload does not wait for its end: the printer has each piece before the next is sent.
#[tokio::test]
async fn an_upload_flows_as_it_comes() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let recording = Arc::clone(&received);
    let origin = Origin::start(move |request: Request<Incoming>| {
        let recording = Arc::clone(&recording);
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                recording.lock().extend_from_slice(&frame.into_data().unwrap());
            }
            Response::new(full("thanks"))
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let (mut pieces, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(1);
        let (client, request) = (rig.client(protocol), rig.request(Method::PUT, "/").body(body).unwrap());
        let answered = tokio::spawn(async move { Exchange::read(client.send(request).await.unwrap()).await });
        for n in 1..=10 {
            pieces.send_data(Bytes::from_static(b"0123456789")).await.unwrap();
            wait_until("the piece is there", || received.lock().len() == n * 10).await;
        }
        drop(pieces);
        assert_eq!(answered.await.unwrap().text(), "thanks", "{protocol:?}");
        received.lock().clear();
    }
}

#[tokio::test]
async fn large_and_odd_header_values_pass() {
    let large = "x".repeat(20_000);
    let origin = Origin::start(|request| async move {
        let value = request.headers()["x-value"].clone();
        Response::builder().header("x-value", value).body(full("")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for value in [large.as_str(), "", "a  b\tc", "\"quoted\"; x=(1)", "grüße"] {
            let request =
                rig.request(Method::GET, "/").header("x-value", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let exchange = rig.client(protocol).exchange(request.body(Full::default()).unwrap()).await;
            assert_eq!(exchange.status, 200, "{value:.20} in {protocol:?}");
            assert_eq!(exchange.headers["x-value"].as_bytes(), value.as_bytes(), "{value:.20} in {protocol:?}");
        }
    }
}

/// The printer's status is its own, also where it looks like one of ours.
#[tokio::test]
async fn the_printers_status_is_never_taken_for_ours() {
    let origin = Origin::start(|request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        Response::builder().status(status).header("x-spoolway-error", "604").body(full("printer")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for status in [200, 299, 418, 500, 502, 503, 504, 599, 600, 601, 604, 613, 700, 999] {
            let exchange = rig.get(protocol, &format!("/{status}"), &[]).await;
            assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (status, "printer"), "{protocol:?}");
            assert!(!exchange.headers.contains_key("x-spoolway-error"));
        }
    }
}

/// What the agent itself cannot carry is 612.
#[tokio::test]
async fn an_unusable_head_is_612() {
    for answer in [
        &b"HTTP/1.1 99 Too small\r\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 1000 Too large\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        b"220 mail.example ESMTP\r\n\r\n",
    ] {
        let origin = RawOrigin::answering(answer).await;
        let rig = Rig::start(origin.address()).await;
        for protocol in Protocol::ALL {
            let exchange = rig.get(protocol, "/", &[]).await;
            let answer = String::from_utf8_lossy(answer);
            assert_eq!(exchange.status.as_u16(), 612, "{answer} in {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_printer_that_must_not_know_its_visitor_does_not() {
    let origin = Origin::saying("hello").await;
    let service = testkit::TestService::start().await;
    let printer = service.add_printer().await;
    let app = service.app_connection(&printer.id).await;
    let options = TestAgentOptions { visitor_address: testkit::VisitorAddress::Hide, ..TestAgentOptions::default() };
    let _agent = TestAgent::start_with(&service, &printer, origin.address(), options).await;
    let request = app.request(Method::GET, "/").body(Full::default()).unwrap();
    assert_eq!(testkit::Client::new(service.address()).exchange(request).await.status, 200);
    let seen = origin.last_seen().headers;
    assert!(!seen.contains_key("x-forwarded-for") && !seen.contains_key("x-real-ip"));
    assert_eq!(seen["x-forwarded-host"], app.host.as_str());
}

async fn echo(request: Request<Incoming>) -> Response<OriginBody> {
    Response::new(full(request.into_body().collect().await.unwrap().to_bytes()))
}
