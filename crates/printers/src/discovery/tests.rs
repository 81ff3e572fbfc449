#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use mdns_sd::{ServiceDaemon, ServiceInfo};
use proptest::prelude::*;
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::cameras::tests::no_tls;

const NOTIFY: &str = "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nServer: UPnP/1.0\r\nLocation: 10.9.9.9\r\n\
    NT: urn:bambulab-com:device:3dprinter:1\r\nUSN: 01P00A000000001\r\nCache-Control: max-age=1800\r\n\
    DevModel.bambu.com: C12\r\nDevName.bambu.com: Work\u{1b}[31mshop\u{202e}\r\nDevVersion.bambu.com: 01.09.01.00\r\n\r\n";

fn nowhere() -> Ways {
    Ways { mdns_port: 1, centauri: vec![], centauri_2: vec![], bambu: vec![], bambu_ports: vec![], own_ports: vec![] }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(500)
}

/// Answers every packet so, and says which port it is on.
async fn answering(expected: &'static [u8], answers: Vec<Vec<u8>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 2000];
        while let Ok((length, source)) = socket.recv_from(&mut packet).await {
            assert!(packet[..length].starts_with(expected));
            for answer in &answers {
                let _ = socket.send_to(answer, source).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn elegoos_printers_answer_their_words() {
    let centauri = |name: &str, machine: &str| {
        json!({"Id": "x", "Data": {"Name": name, "MachineName": machine, "BrandName": "ELEGOO",
            "MainboardIP": "10.9.9.9", "FirmwareVersion": "V1.1.29"}})
        .to_string()
        .into_bytes()
    };
    let nested = json!({"Data": {"Attributes": {"MachineName": "Centauri Carbon"}}}).to_string().into_bytes();
    let first = answering(b"M99999", vec![b"junk".to_vec(), centauri("In the cellar", "Centauri Carbon")]).await;
    let resin = answering(b"M99999", vec![centauri("Resin", "Saturn 4 Ultra"), vec![0xff; 3000]]).await;
    let found = elegoo::look_for_centauri(&[first, resin], soon()).await.unwrap();
    let expected = Found {
        software: "elegoo-cc1",
        url: "elegoo-cc1://127.0.0.1".parse().unwrap(),
        name: "In the cellar".to_owned(),
        model: "Centauri Carbon".to_owned(),
        version: "V1.1.29".to_owned(),
        serial: None,
    };
    assert_eq!(found, [expected]);
    let older = answering(b"M99999", vec![nested]).await;
    assert_eq!(elegoo::look_for_centauri(&[older], soon()).await.unwrap()[0].name, "Centauri Carbon");

    let answer = |serial: &str| json!({"id": 0, "result": {"sn": serial, "host_name": "CC2\n\u{7}", "machine_model": "Centauri Carbon 2"}});
    let good = answering(b"{\"id\":0,\"method\":7000}", vec![answer("F01ABC").to_string().into_bytes()]).await;
    let found = elegoo::look_for_centauri_2(&[good], soon()).await.unwrap();
    assert_eq!((found[0].name.as_str(), found[0].serial.as_deref()), ("CC2", Some("F01ABC")));
    assert_eq!(found[0].url.to_string(), "elegoo-cc2://127.0.0.1");
    // What would become another MQTT topic is no serial number.
    let hostile = answering(b"{", vec![answer("#/+").to_string().into_bytes()]).await;
    assert_eq!(elegoo::look_for_centauri_2(&[hostile], soon()).await.unwrap(), []);
}

#[tokio::test]
async fn bambus_printers_are_heard_and_answer() {
    // A port that is free.
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let until = Instant::now() + Duration::from_secs(3);
    let announcing = async {
        let printer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        loop {
            for packet in [NOTIFY, "NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nUSN: x\r\n", "GET / HTTP/1.1\r\n\r\n"] {
                let _ = printer.send_to(packet.as_bytes(), ("127.0.0.1", port)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ports = [port];
    let heard = tokio::select! {
        heard = bambu::look(&[], &ports, until) => heard.unwrap(),
        () = announcing => vec![],
    };
    let expected = Found {
        software: "bambu",
        url: "bambu://127.0.0.1".parse().unwrap(),
        name: "Work[31mshop".to_owned(),
        model: "C12".to_owned(),
        version: "01.09.01.00".to_owned(),
        serial: Some("01P00A000000001".to_owned()),
    };
    assert_eq!(heard, std::slice::from_ref(&expected));
    let answer = NOTIFY.replace("NOTIFY * HTTP/1.1", "HTTP/1.1 200 OK").replace("NT:", "ST:").into_bytes();
    let printer = answering(b"M-SEARCH * HTTP/1.1\r\n", vec![answer]).await;
    assert_eq!(bambu::look(&[printer], &[], soon()).await.unwrap(), [expected]);
}

#[tokio::test]
async fn services_are_found_by_mdns() {
    // Not the usual port, so that nothing of the network around is heard.
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let announcer = ServiceDaemon::new_with_port(port).unwrap();
    let announce = |service: &str, name: &str, listens: u16, properties: &[(&str, &str)]| {
        let info = ServiceInfo::new(service, name, "printer-host.local.", "", listens, properties).unwrap();
        announcer.register(info.enable_addr_auto()).unwrap();
    };
    announce("_octoprint._tcp.local.", "OctoPrint \"Ender\u{202e}\"", 5000, &[("version", "1.11.8"), ("path", "/")]);
    announce("_moonraker._tcp.local.", "voron", 7125, &[]);
    announce("_prusalink._tcp.local.", "prusa-mk4", 8088, &[("model", "MK4")]);
    let mut found = Vec::new();
    // The announcer looks at its network first, and takes its time.
    for _ in 0..10 {
        found = mdns::look(port, Instant::now() + Duration::from_secs(3)).await.unwrap();
        if found.len() == 3 {
            break;
        }
    }
    let seen: Vec<_> = found.iter().map(|found| (found.software, found.url.port(), found.name.as_str())).collect();
    assert_eq!(
        seen,
        [("octoprint", 5000, "OctoPrint \"Ender\""), ("moonraker", 7125, "voron"), ("prusalink", 8088, "prusa-mk4"),]
    );
    assert_eq!((found[0].version.as_str(), found[2].model.as_str()), ("1.11.8", "MK4"));
    let _ = announcer.shutdown();
}

#[tokio::test]
async fn software_on_this_machine_is_found_once() {
    let serve = async |answer: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 2000];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
                let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
            }
        });
        port
    };
    let moonraker = r#"{"result":{"moonraker_version":"v0.9"}}"#;
    let ports = [serve(moonraker).await, serve(moonraker).await, serve("<html>").await, 1];
    let ways = Ways { own_ports: ports.to_vec(), ..nowhere() };
    let found = this_machine::look(&ways.own_ports, Instant::now() + Duration::from_secs(10), &no_tls()).await;
    let expected = format!("http://127.0.0.1:{}", ports[0]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].software, found[0].url.to_string(), found[0].version.as_str()),
        ("moonraker", expected, "v0.9")
    );
}

#[tokio::test]
async fn a_flood_of_answers_ends() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let flooding = async {
        let flooder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        loop {
            let _ = flooder.send_to(NOTIFY.as_bytes(), ("127.0.0.1", port)).await;
            tokio::task::yield_now().await;
        }
    };
    let ports = [port];
    let found = tokio::select! {
        found = bambu::look(&[], &ports, Instant::now() + Duration::from_secs(2)) => found.unwrap(),
        () = flooding => vec![],
    };
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn all_ways_together_end_in_time() {
    let centauri = json!({"Data": {"MachineName": "Centauri Carbon"}}).to_string().into_bytes();
    let printer = answering(b"M99999", vec![centauri]).await;
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ways = Ways { centauri: vec![printer], mdns_port: port, ..nowhere() };
    let since = Instant::now();
    let found = look(&ways, Duration::from_millis(500), &no_tls()).await;
    assert_eq!(found.printers.len(), 1, "{found:?}");
    assert!(since.elapsed() < Duration::from_secs(10));
}

#[test]
fn addresses_lead_somewhere_and_texts_are_harmless() {
    let address = |text: &str| url("http", text.parse().unwrap(), Some(80)).map(|url| url.to_string());
    assert_eq!(address("192.168.1.5").as_deref(), Some("http://192.168.1.5"));
    assert_eq!(address("fd00::5").as_deref(), Some("http://[fd00::5]"));
    for nowhere in ["0.0.0.0", "255.255.255.255", "224.0.0.251", "fe80::1", "ff02::fb", "::"] {
        assert_eq!(address(nowhere), None);
    }
    assert_eq!(clean("a\r\nb\u{1b}]0;x\u{7}\u{202e}\u{200b}\u{e0041}c "), "ab]0;xc");
    assert_eq!(clean(&"ä".repeat(1000)).chars().count(), 64);
    assert_eq!(
        (serial(" 01P-a_9 ").as_deref(), serial(""), serial("a/b"), serial("ä")),
        (Some("01P-a_9"), None, None, None)
    );
    let usual = Ways::usual();
    assert!(usual.centauri.iter().any(|target| target.to_string() == "255.255.255.255:3000"));
    assert_eq!(usual.bambu.len(), 2);
}

proptest! {
    #[test]
    fn every_text_becomes_harmless(text in any::<String>()) {
        let cleaned = clean(&text);
        prop_assert!(cleaned.chars().count() <= 64);
        let harmful = ['\u{1b}', '\n', '\r', '\u{7f}', '\u{9b}', '\u{202e}'];
        prop_assert!(!cleaned.contains(harmful));
    }
}
