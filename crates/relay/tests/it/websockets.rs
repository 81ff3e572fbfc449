//! WebSockets as their two ends see each other through the relay.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Response;
use parking_lot::Mutex;
use testkit::{
    ClientIo, Ending, Origin, Protocol, RawOrigin, Rig, VisitorBytes, VisitorSocket, full, raw_exchange, read_head,
    wait_for, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The largest message that passes.
const LARGEST: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn the_sub_protocol_is_agreed_between_the_ends() {
    let origin = RawOrigin::websocket(&[("sec-websocket-protocol", "mqtt")], |mut socket, headers| async move {
        let offered: Vec<&str> =
            headers.get_all("sec-websocket-protocol").iter().map(|value| value.to_str().unwrap()).collect();
        let _ = socket.send(Message::text(offered.join("|"))).await;
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let offer = [("sec-websocket-protocol", "mqtt, v2.example.com"), ("sec-websocket-protocol", "other")];
        let mut socket = open(&rig, protocol, &offer).await;
        assert_eq!(socket.headers["sec-websocket-protocol"], "mqtt");
        assert_eq!(socket.next_message().await, Message::text("mqtt, v2.example.com|other"));
    }
}

#[tokio::test]
async fn the_printer_sees_a_handshake_of_its_visitor() {
    let seen = Arc::new(Mutex::new(None));
    let recording = Arc::clone(&seen);
    let origin = RawOrigin::websocket(&[("set-cookie", "a=1"), ("x-kept", "2")], move |_, headers| {
        *recording.lock() = Some(headers);
        async {}
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let page = format!("http://{}", rig.app.host);
        let headers = [("origin", page.as_str()), ("cookie", "session=1"), ("x-forwarded-for", "192.0.2.1")];
        let socket = open(&rig, protocol, &headers).await;
        assert_eq!(
            (&socket.headers["set-cookie"], &socket.headers["x-kept"]),
            (&"a=1".parse().unwrap(), &"2".parse().unwrap())
        );
        let seen = wait_for("the handshake", || seen.lock().take()).await;
        assert_eq!(seen["host"], rig.app.host.as_str());
        assert_eq!(seen["origin"], page.as_str());
        assert_eq!(seen["cookie"], "session=1");
        assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
        assert_eq!(seen["sec-websocket-version"], "13");
        assert!(!seen.contains_key("sec-websocket-extensions") && !seen.contains_key("authorization"));
    }
}

#[tokio::test]
async fn the_printers_close_reaches_the_visitor_as_it_is() {
    let reason = "r".repeat(123);
    let codes = [(1000u16, ""), (1001, "going away"), (1011, "ü"), (3000, "registered"), (4999, reason.as_str())];
    let closes: Vec<(u16, String)> = codes.iter().map(|(code, reason)| (*code, (*reason).to_owned())).collect();
    let origin = RawOrigin::websocket(&[], move |mut socket, _| {
        let closes = closes.clone();
        async move {
            let Some(Ok(Message::Text(which))) = socket.next().await else { return };
            let frame = which.parse::<usize>().ok().map(|which| {
                let (code, reason) = closes[which].clone();
                CloseFrame { code: code.into(), reason: reason.into() }
            });
            let _ = socket.close(frame).await;
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for (which, (code, reason)) in codes.iter().enumerate() {
            let mut socket = open(&rig, protocol, &[]).await;
            socket.messages.send(Message::text(which.to_string())).await.unwrap();
            assert_eq!(socket.ending().await, Ending::closed(*code, reason), "{protocol:?}");
        }
        let mut socket = open(&rig, protocol, &[]).await;
        socket.messages.send(Message::text("without a code")).await.unwrap();
        assert_eq!(socket.ending().await, Ending::closed(1005, ""), "{protocol:?}");
    }
}

#[tokio::test]
async fn the_visitors_close_reaches_the_printer_and_its_answer_the_visitor() {
    let seen = Arc::new(Mutex::new(None));
    let recording = Arc::clone(&seen);
    let origin = RawOrigin::websocket(&[], move |mut socket, _| {
        let recording = Arc::clone(&recording);
        async move {
            while let Some(message) = socket.next().await {
                if let Ok(Message::Close(close)) = message {
                    *recording.lock() = Some(close);
                }
            }
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let close = CloseFrame { code: 3999.into(), reason: "I am done".into() };
        let mut socket = open(&rig, protocol, &[]).await;
        socket.messages.send(Message::Close(Some(close.clone()))).await.unwrap();
        assert_eq!(socket.ending().await, Ending::closed(3999, "I am done"), "{protocol:?}");
        assert_eq!(wait_for("the close", || seen.lock().take()).await, Some(close), "{protocol:?}");
    }
    wait_until("nothing is left open", || rig.service.relay().open_sessions() == 0).await;
}

#[tokio::test]
async fn messages_up_to_the_largest_pass_unchanged() {
    let origin = RawOrigin::websocket(&[], echo).await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut socket = open(&rig, protocol, &[]).await;
        for message in
            [Message::text(""), Message::text("grüße 🖨"), Message::binary(vec![]), Message::binary(vec![0; 125])]
        {
            socket.messages.send(message.clone()).await.unwrap();
            assert_eq!(socket.next_message().await, message);
        }
        let largest: Vec<u8> = (0..LARGEST).map(|n| (n % 251) as u8).collect();
        let largest = Message::binary(largest);
        let (mut sink, mut stream) = socket.messages.split();
        let (sent, received) = tokio::join!(sink.send(largest.clone()), stream.next());
        sent.unwrap();
        assert!(received.unwrap().unwrap() == largest, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_message_over_the_largest_is_refused() {
    let origin = RawOrigin::websocket(&[], |mut socket, _| async move {
        if let Some(Ok(Message::Text(_))) = socket.next().await {
            let mut head = vec![0x82, 127];
            head.extend_from_slice(&(LARGEST as u64 + 1).to_be_bytes());
            let _ = socket.get_mut().write_all(&head).await;
        }
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        // A head is enough.
        let mut raw = open_raw(&rig, protocol, &[]).await;
        let mut head = vec![0x82, 0x80 | 127];
        head.extend_from_slice(&(LARGEST as u64 + 1).to_be_bytes());
        head.extend_from_slice(&[1, 2, 3, 4]);
        raw.io.write_all(&head).await.unwrap();
        assert_eq!(raw_ending(&mut raw.io).await, Some((1009, "limit exceeded".to_owned())), "{protocol:?}");

        let mut socket = open(&rig, protocol, &[]).await;
        socket.messages.send(Message::text("send one")).await.unwrap();
        assert_eq!(socket.ending().await, Ending::closed(4612, "plugin_error"), "{protocol:?}");
    }
}

/// Fragments of a message, control frames between them, and a character torn in two.
#[tokio::test]
async fn fragments_pass_with_control_frames_in_between() {
    let origin = RawOrigin::websocket(&[], echo).await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut socket = open(&rig, protocol, &[]).await;
        let text = "a 🖨 in pieces".as_bytes();
        let fragment = |bytes: &[u8], kind, last| {
            Message::Frame(Frame::message(Bytes::copy_from_slice(bytes), OpCode::Data(kind), last))
        };
        for message in [
            fragment(&text[..4], Data::Text, false),
            Message::Ping(Bytes::from_static(b"between")),
            fragment(&text[4..5], Data::Continue, false),
            fragment(&[], Data::Continue, false),
            fragment(&text[5..], Data::Continue, true),
        ] {
            socket.messages.send(message).await.unwrap();
        }
        assert_eq!(socket.messages.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"between")));
        assert_eq!(socket.next_message().await, Message::text("a 🖨 in pieces"));
    }
}

/// However long the printer takes over a message, a ping is answered in the middle of it.
#[tokio::test]
async fn a_ping_is_answered_while_a_message_is_under_way() {
    let may_finish = Arc::new(tokio::sync::Notify::new());
    let finishing = Arc::clone(&may_finish);
    let origin = RawOrigin::websocket(&[], move |mut socket, _| {
        let finishing = Arc::clone(&finishing);
        async move {
            let stream = socket.get_mut();
            let mut head = vec![0x82, 127];
            head.extend_from_slice(&(1_000_000u64).to_be_bytes());
            stream.write_all(&head).await.unwrap();
            stream.write_all(&[7; 300_000]).await.unwrap();
            finishing.notified().await;
            stream.write_all(&[7; 700_000]).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut socket = open(&rig, protocol, &[]).await;
        for n in 0..10u8 {
            socket.messages.send(Message::Ping(Bytes::from(vec![n]))).await.unwrap();
            let since = std::time::Instant::now();
            let answer = tokio::time::timeout(Duration::from_secs(10), socket.messages.next()).await.unwrap();
            assert_eq!(answer.unwrap().unwrap(), Message::Pong(Bytes::from(vec![n])), "{protocol:?}");
            println!("a ping beside a message was answered in {:.2?}", since.elapsed());
        }
        may_finish.notify_one();
        assert!(socket.next_message().await == Message::binary(vec![7u8; 1_000_000]), "{protocol:?}");
    }
}

#[tokio::test]
async fn the_printers_pings_reach_the_visitor_and_the_pongs_come_back() {
    let origin = RawOrigin::websocket(&[], |mut socket, _| async move {
        socket.send(Message::Ping(Bytes::from_static(b"printer's"))).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Pong(payload) = message {
                let _ = socket.send(Message::binary(payload)).await;
            }
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut socket = open(&rig, protocol, &[]).await;
        let ping = socket.messages.next().await.unwrap().unwrap();
        assert_eq!(ping, Message::Ping(Bytes::from_static(b"printer's")));
        // The library answers by itself when it is used next.
        assert_eq!(socket.next_message().await, Message::binary("printer's"));
    }
}

/// An extension is agreed between the ends: offer, answer and reserved bits pass as they are.
#[tokio::test]
async fn extensions_pass_untouched() {
    const OFFER: &str = "permessage-deflate; client_max_window_bits, x-other; a=\"b\"";
    const ANSWER: &str = "permessage-deflate; server_no_context_takeover";
    let compressed: &[u8] = &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let origin = RawOrigin::start(move |mut stream: TcpStream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains(&format!("sec-websocket-extensions: {OFFER}\r\n")), "{head}");
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Extensions: {ANSWER}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(compressed).await.unwrap();
        // A masked frame with the same bit comes back byte by byte.
        let mut frame = [0; 15];
        stream.read_exact(&mut frame).await.unwrap();
        let mut echoed = vec![0xc2, frame.len() as u8];
        echoed.extend_from_slice(&frame);
        stream.write_all(&echoed).await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut raw = open_raw(&rig, protocol, &[("sec-websocket-extensions", OFFER)]).await;
        assert_eq!(raw.headers["sec-websocket-extensions"], ANSWER);
        let mut received = vec![0; compressed.len()];
        raw.io.read_exact(&mut received).await.unwrap();
        assert_eq!(received, compressed);
        let masked = [&[0xc2, 0x80 | 9, 9, 8, 7, 6][..], b"nine byte"].concat();
        raw.io.write_all(&masked).await.unwrap();
        let mut echoed = vec![0; 2 + masked.len()];
        raw.io.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed[2..], masked);
    }
}

#[tokio::test]
async fn a_visitor_who_leaves_without_a_word_is_gone_for_the_printer_too() {
    let ended = Arc::new(Mutex::new(None));
    let recording = Arc::clone(&ended);
    let origin = RawOrigin::websocket(&[], move |mut socket: WebSocketStream<TcpStream>, _| {
        let recording = Arc::clone(&recording);
        async move {
            let end = loop {
                match socket.next().await {
                    Some(Ok(Message::Text(_))) => socket.send(Message::text("hello")).await.unwrap(),
                    Some(Ok(Message::Close(_))) => break "closed",
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => break "ended",
                    Some(Err(_)) => break "broken",
                }
            };
            *recording.lock() = Some(end);
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut socket = open(&rig, protocol, &[]).await;
        socket.messages.send(Message::text("hello?")).await.unwrap();
        assert_eq!(socket.next_message().await, Message::text("hello"));
        let since = std::time::Instant::now();
        drop(socket);
        let end = wait_for("the printer sees the end", || ended.lock().take()).await;
        println!("the printer saw the end after {:.2?}", since.elapsed());
        assert_eq!(end, "broken", "{protocol:?}");
    }
    wait_until("nothing is left open", || rig.service.relay().open_sessions() == 0).await;
}

#[tokio::test]
async fn the_printers_refusal_is_the_visitors() {
    let origin = Origin::start(|request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        Response::builder().status(status).header("x-kept", "1").body(full("no sockets here")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let authorization = rig.app.bearer_header();
    for protocol in Protocol::ALL {
        for status in [200, 301, 400, 403, 404, 426, 503, 601] {
            let path = format!("/{status}");
            let headers = [("authorization", authorization.as_str())];
            let refused = rig.client(protocol).websocket(&rig.app.host, &path, &headers).await.err().unwrap();
            let context = format!("{status} in {protocol:?}");
            // In HTTP/2 a success would accept the WebSocket, so that this one cannot be said.
            if status == 200 && protocol == Protocol::Http2 {
                assert_eq!((refused.status.as_u16(), refused.header("x-spoolway-error")), (612, "612"), "{context}");
                continue;
            }
            assert_eq!(refused.status.as_u16(), status, "{context}");
            assert_eq!((refused.header("x-kept"), refused.text().as_str()), ("1", "no sockets here"), "{context}");
            assert_eq!(refused.header("x-spoolway-error"), "", "{context}");
        }
    }
}

#[tokio::test]
async fn a_malformed_handshake_is_told_so() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for lines in [
        "",
        key,
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !\r\n",
    ] {
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n",
            rig.app.host,
            rig.app.bearer_header(),
        );
        let (answer, closed) = raw_exchange(rig.service.address(), head.as_bytes(), Duration::from_secs(20)).await;
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 400 ") && closed, "{lines}: {answer}");
        assert!(answer.contains("\r\nsec-websocket-version: 13\r\n"), "{lines}: {answer}");
    }
    assert!(origin.seen().is_empty());
}

/// Clients come back to the next process.
#[tokio::test]
async fn a_service_that_goes_down_says_so() {
    let origin = RawOrigin::websocket(&[], echo).await;
    let rig = Rig::start(origin.address()).await;
    let mut sockets = Vec::new();
    for protocol in Protocol::ALL {
        let mut socket = open(&rig, protocol, &[]).await;
        socket.messages.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next_message().await, Message::text("hello"));
        sockets.push(socket);
    }
    let Rig { service, agent, .. } = rig;
    let stopping = tokio::spawn(service.stop());
    for socket in sockets {
        assert_eq!(socket.ending().await, Ending::closed(1012, "service restart"));
    }
    agent.stop().await;
    tokio::time::timeout(Duration::from_secs(20), stopping).await.unwrap().unwrap();
}

async fn echo(mut socket: WebSocketStream<TcpStream>, _: http::HeaderMap) {
    while let Some(Ok(message)) = socket.next().await {
        // The library answers pings itself.
        let is_data = message.is_text() || message.is_binary();
        if is_data && socket.send(message).await.is_err() {
            break;
        }
    }
}

async fn open(rig: &Rig, protocol: Protocol, headers: &[(&str, &str)]) -> VisitorSocket {
    let authorization = rig.app.bearer_header();
    let headers = [headers, &[("authorization", &authorization)]].concat();
    let opened = rig.client(protocol).websocket(&rig.app.host, "/ws", &headers).await;
    opened.unwrap_or_else(|refused| panic!("{refused:?}"))
}

async fn open_raw(rig: &Rig, protocol: Protocol, headers: &[(&str, &str)]) -> VisitorBytes {
    let authorization = rig.app.bearer_header();
    let headers = [headers, &[("authorization", &authorization)]].concat();
    let opened = rig.client(protocol).websocket_bytes(&rig.app.host, "/ws", &headers).await;
    opened.unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// Code and reason of the close frame that comes next, if one does.
async fn raw_ending(io: &mut Box<dyn ClientIo>) -> Option<(u16, String)> {
    let reading = async {
        let mut bytes = Vec::new();
        let _ = io.read_to_end(&mut bytes).await;
        bytes
    };
    let bytes = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    let (header, length) = FrameHeader::parse(&mut std::io::Cursor::new(&bytes[..])).unwrap()?;
    let payload = &bytes[header.len(length)..];
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    Some((code, String::from_utf8_lossy(&payload[2..]).into_owned()))
}
