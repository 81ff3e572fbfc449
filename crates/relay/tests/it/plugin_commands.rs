//! Commands and cameras over the existing plugin's link: the service's own, and visitors'.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use model::RelayError;
use model::printing::{Phase, PrinterCommand};
use octo::printer::{Answer, PrinterEvent, close};
use octo::wire::{Compression, ServerHost};
use relay::live::{CameraFailure, CommandFailure};
use serde_json::{Value, json};
use testkit::{AppAccess, Client, Exchange, Protocol, TestService, wait_until};

use crate::plugin_support::{Plugin, linked, service};

const PREFIX: &str = "/octoeverywhere-command-api/";

fn app(service: &TestService, app: &AppAccess, method: Method, path: &str) -> tokio::task::JoinHandle<Exchange> {
    let client = Client::speaking(Protocol::Http1, service.address());
    let request = app.request(method, path).header("oe-snapshot", "1").body(Full::new(Bytes::from_static(b"{}")));
    tokio::spawn(async move { client.exchange(request.unwrap()).await })
}

fn printing() -> String {
    json!({"Status": 200, "Result": {
        "JobStatus": {
            "State": "printing", "Lights": [{"Name": "chamber", "On": false}],
            "CurrentPrint": {"Progress": 41.5, "FileName": "cube.gcode", "Temps": {"BedActual": 60.0, "BedTarget": 60.0}}
        },
        "OctoEverywhereStatus": {"MostRecentPrintIdStr": "PRINT"},
        "ListWebcams": {"Webcams": [{"Name": "Nozzle", "FlipH": true, "FlipV": false, "Rotation": 0}], "DefaultIndex": 0}
    }})
    .to_string()
}

/// Has the plugin asked what its printer does, and answers.
async fn learn(service: &TestService, identity: &crate::plugin_support::Identity, plugin: &mut Plugin, is_known: bool) {
    let live = service.live().clone();
    let id = identity.printer.clone();
    let learnt = async {
        loop {
            let state = live.status(&id).await.and_then(|status| status.state);
            if state.is_some_and(|state| (state.phase == Phase::Printing) == is_known) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = learnt => {}
        event = plugin.event() => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn the_service_sees_what_the_printer_does_and_gives_it_orders() {
    let service = service().await;
    let (identity, _) = linked(&service).await;
    let mut plugin = Plugin::connect(&service).await;
    plugin.status = printing();
    let mut plugin = plugin.accept(&identity).await;
    learn(&service, &identity, &mut plugin, true).await;
    let status = service.live().status(&identity.printer).await.unwrap();
    let state = status.state.unwrap();
    assert_eq!((state.file.as_deref(), state.progress, state.light), (Some("cube.gcode"), Some(41.5), Some(false)));
    assert_eq!((state.print_id.as_deref(), state.cameras.len()), (Some("PRINT"), 1));
    assert!(status.status.reachable && state.commands.contains(&PrinterCommand::Pause));
    assert_eq!(service.live().temperatures(&identity.printer).len(), 1);

    for (command, path, body, answer, expected) in [
        (PrinterCommand::Pause, "pause", json!({}), json!({"Status": 200, "Result": {}}), Ok(())),
        (
            PrinterCommand::Resume,
            "resume",
            json!({}),
            json!({"Status": 786, "Error": "not paused"}),
            Err(CommandFailure::Refused("not paused".to_owned())),
        ),
        (
            PrinterCommand::Cancel,
            "cancel",
            json!({}),
            json!({"Status": 785, "Error": "gone"}),
            Err(CommandFailure::Relay(RelayError::PrinterTimeout)),
        ),
        (
            PrinterCommand::LightOn,
            "set-light",
            json!({"Name": "chamber", "On": true}),
            json!({"Status": 754, "Error": "unknown"}),
            Err(CommandFailure::Unsupported),
        ),
    ] {
        let (live, id) = (service.live().clone(), identity.printer.clone());
        let giving = tokio::spawn(async move { live.command(&id, command).await });
        let request = plugin.request().await;
        assert_eq!(request.context.path, Some(format!("{PREFIX}{path}")));
        assert_eq!(request.context.method.as_deref(), Some("POST"));
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), body);
        plugin.answer(request.stream, &Answer::new(200, &[], answer.to_string().as_bytes())).await;
        assert_eq!(giving.await.unwrap(), expected, "{command}");
    }
}

#[tokio::test]
async fn cameras_are_asked_by_headers_that_visitors_cannot_send() {
    let service = service().await;
    let (identity, access) = linked(&service).await;
    let mut plugin = Plugin::connect(&service).await;
    plugin.status = printing();
    let mut plugin = plugin.accept(&identity).await;
    learn(&service, &identity, &mut plugin, true).await;
    let snapshot = |camera| {
        let (live, id) = (service.live().clone(), identity.printer.clone());
        tokio::spawn(async move { live.snapshot(&id, camera).await })
    };
    let taking = snapshot(0);
    let request = plugin.request().await;
    assert_eq!((request.header("oe-snapshot"), request.header("oe-webcam-index")), (Some("1"), Some("0")));
    let jpeg = b"\xff\xd8\xff\xe0 picture";
    plugin.answer(request.stream, &Answer::new(200, &[("Content-Type", "image/jpeg")], jpeg)).await;
    assert_eq!(taking.await.unwrap().unwrap(), &jpeg[..]);
    // A camera that the plugin does not list would be its first one.
    assert_eq!(snapshot(1).await.unwrap(), Err(CameraFailure::NoCamera));
    let taking = snapshot(0);
    let request = plugin.request().await;
    plugin.send(&close(request.stream, true)).await;
    plugin.printer.forget(request.stream);
    assert_eq!(taking.await.unwrap(), Err(CameraFailure::Relay(RelayError::PrinterTimeout)));
    // The address by which an app asks for the stream of a camera.
    let watching = app(&service, &access, Method::GET, "/oe-webcam-stream?index=0");
    let request = plugin.request().await;
    assert_eq!((request.header("oe-webcamstream"), request.header("oe-snapshot")), (Some("1"), None));
    let frame = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 1\r\n\r\nx\r\n--frame--\r\n";
    let stream = Answer::new(200, &[("Content-Type", "multipart/x-mixed-replace; boundary=frame")], frame);
    plugin.answer(request.stream, &stream).await;
    assert_eq!(watching.await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn visitors_commands_reach_the_plugin_as_they_were_judged() {
    let service = service().await;
    let (identity, access) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    for (method, path, expected) in [
        (Method::GET, "status?IncludeMaterialSystem=true", "status?IncludeMaterialSystem=true"),
        (Method::GET, "STATUS", "status"),
        (Method::GET, "p%69ng/", "ping"),
        (Method::GET, "cancel", "cancel"),
        (Method::POST, "pause", "pause"),
        (Method::GET, "files/list?path=gcode%2fa", "files/list?path=gcode%2fa"),
    ] {
        let asking = app(&service, &access, method, &format!("/OctoEverywhere-Command-Api/{path}"));
        let request = plugin.request().await;
        assert_eq!(request.context.path, Some(format!("{PREFIX}{expected}")), "{path}");
        assert_eq!((request.header("oe-snapshot"), request.header("spoolway-caller")), (None, None), "{path}");
        assert_eq!(request.header("authorization"), None, "{path}");
        let answer = Answer::new(200, &[("Content-Type", "text/json")], b"{\"Status\": 754, \"Error\": \"unknown\"}");
        plugin.answer(request.stream, &answer).await;
        let exchange = asking.await.unwrap();
        assert_eq!((exchange.status.as_u16(), exchange.header("x-spoolway-error")), (200, ""), "{path}");
        assert!(exchange.text().contains("754"), "the command's own status is passed on: {path}");
    }
}

#[tokio::test]
async fn the_printers_own_language_needs_the_owners_word_here_too() {
    let service = service().await;
    let (identity, access) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let owner = service.store().printer_owner(&identity.printer).await.unwrap().unwrap();
    service.store().set_full_control_of(&owner, &access.id, true, SystemTime::now()).await.unwrap();
    let send = |path: &str| app(&service, &access, Method::POST, &format!("{PREFIX}{path}"));
    // The service learns of it within a moment.
    let passed = async {
        while send("send-command").await.unwrap().text().starts_with("{\"Status\":403") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = async {
        let request = plugin.request().await;
        assert_eq!(request.context.path, Some(format!("{PREFIX}send-command")));
        plugin.answer(request.stream, &Answer::new(200, &[], b"{\"Status\":200,\"Result\":{}}")).await;
    };
    tokio::join!(passed, answered);
    for command in ["rekey", "get-connection-info", "set-default-webcam"] {
        let refused = send(command).await.unwrap();
        assert!(refused.text().starts_with("{\"Status\":403") || refused.status == 404, "{command}");
    }
    let next = app(&service, &access, Method::GET, "/next");
    assert_eq!(plugin.request().await.context.path.as_deref(), Some("/next"), "nothing came before it");
    next.abort();
}

/// The attack list of command-api.md 15, item 11.
#[tokio::test]
async fn no_spelling_of_what_is_forbidden_reaches_the_plugin() {
    let service = service().await;
    let (identity, access) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let shared = service.shared_connection(&identity.printer, None).await;
    let forbidden = [
        "rekey",
        "REKEY",
        "rekeyx",
        "rekey/",
        "rekey?x",
        "re%6bey",
        "%72%65%6b%65%79",
        "rekey%20",
        "rekey%00",
        "%2frekey",
        "/rekey",
        "./rekey",
        "ping/../rekey",
        "ping%2f..%2frekey",
        "..%2foctoeverywhere-command-api%2frekey",
        "%2572ekey",
        "get-connection-info",
        "get-connection-infox",
        "get-connection-info%20",
        "Get-Connection-Info",
        "get%2dconnection-info",
        "send-command",
        "send-commandx",
        "SEND-COMMAND",
        "send%2Dcommand",
        "set-local-plugin-webcam-items",
        "set-local-plugin-webcam-itemsx",
        "set-default-webcam",
        "SET-DEFAULT-WEBCAM",
        "files%2fdelete",
        "pause%2fx",
        "webcam%5csnapshot",
        "pause;x",
        "pause%0a",
    ];
    let client = Client::speaking(Protocol::Http1, service.address());
    let bearer = access.bearer_header();
    for command in forbidden {
        for prefix in ["/octoeverywhere-command-api/", "/OCTOEVERYWHERE-COMMAND-API/", "/octoeverywhere%2dcommand-api/"]
        {
            let path = format!("{prefix}{command}");
            for method in [Method::GET, Method::POST] {
                let exchange = app(&service, &access, method, &path).await.unwrap();
                let text = exchange.text();
                let is_refused = exchange.status.as_u16() == 200 && text.starts_with("{\"Status\":403");
                assert!(is_refused || exchange.status.as_u16() == 404, "{path}: {} {text}", exchange.status);
                assert_eq!(exchange.header("x-spoolway-error"), "", "{path}");
            }
            let opened = client.websocket(&access.host, &path, &[("authorization", bearer.as_str())]).await;
            let status = opened.err().unwrap().status.as_u16();
            assert!(matches!(status, 403 | 404), "{path}: {status}");
        }
    }
    // A page elsewhere, whose browser has the credentials, gives no orders; nor does a link that was handed out.
    let foreign = [("sec-fetch-site", "cross-site"), ("authorization", bearer.as_str())];
    for (host, headers) in [(&access.host, &foreign[..]), (&shared.host, &[])] {
        let exchange = client.get(host, &format!("{PREFIX}cancel"), headers).await;
        assert!(exchange.text().starts_with("{\"Status\":403"), "{}", exchange.text());
    }
    let next = app(&service, &access, Method::GET, "/next");
    assert_eq!(plugin.request().await.context.path.as_deref(), Some("/next"), "nothing came before it");
    next.abort();
}

#[tokio::test]
async fn mqtt_is_opened_where_the_printer_speaks_it_and_nothing_else_is() {
    let service = service().await;
    let (identity, access) = linked(&service).await;
    let client = Client::speaking(Protocol::Http1, service.address());
    let bearer = access.bearer_header();
    let headers = [("authorization", bearer.as_str())];
    let open = async |path: &str| client.websocket(&access.host, &format!("{PREFIX}{path}"), &headers).await;

    let mut octoprint = Plugin::accepted(&service, &identity).await;
    let refused = open("proxy/mqtt").await.err().unwrap();
    assert_eq!(refused.status.as_u16(), 400);
    assert!(refused.text().contains("788"), "{}", refused.text());
    octoprint.send_frame(0x89, b"").await;
    // Its session goes on; the service may be asking what the printer does in between.
    while octoprint.frame().await.expect("its session goes on").0 != 0x8a {}
    drop(octoprint);

    let mut bambu = Plugin::of_host(&service, ServerHost::Bambu).await.accept(&identity).await;
    wait_until("the new session", || service.relay().printers_here().contains(&identity.printer)).await;
    for path in ["proxy/mqttx", "proxy/", "proxy/mqtt/../x"] {
        assert!(matches!(open(path).await.err().unwrap().status.as_u16(), 403 | 404), "{path}");
    }
    let mut socket = open("Proxy/MQTT").await.unwrap();
    let stream = match bambu.event().await {
        PrinterEvent::WebSocket(stream, context) => {
            assert_eq!(context.path, Some(format!("{PREFIX}proxy/mqtt")));
            stream
        }
        other => panic!("{other:?}"),
    };
    let message = octo::printer::message(
        stream,
        octo::wire::WebSocketKind::Binary,
        b"\x20\x02\0\0",
        Compression::None,
        &mut octo::printer::Deflater::default(),
    );
    bambu.send(&message).await;
    assert_eq!(&socket.next_message().await.into_data()[..], b"\x20\x02\0\0");
}
