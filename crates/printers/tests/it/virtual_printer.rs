use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use printers::virtual_printer::{PrintSpeed, SERVER_NAME, VirtualPrinter, VirtualPrinterOptions};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Reply, eventually, get, send};

#[tokio::test]
async fn says_what_it_is() {
    let printer = start().await;
    let version = get(printer.address(), "/api/version").await;
    let number = env!("CARGO_PKG_VERSION");
    let expected = json!({ "server": SERVER_NAME, "version": number, "text": format!("Virtual printer {number}") });
    assert_eq!(version.json(), expected);
    let page = get(printer.address(), "/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(std::str::from_utf8(&page.body).unwrap().contains("<title>Virtual printer</title>"));
    let head = send(printer.address(), Request::head("/"), "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), page.body.len().to_string());
}

#[tokio::test]
async fn files_come_back_as_they_went_in() {
    let printer = start().await;
    let address = printer.address();
    let contents = pseudo_random(3_000_000);
    let uploaded = put(address, "/api/files/3D%20cube.gcode", contents.clone()).await;
    assert_eq!(uploaded.status, StatusCode::CREATED);
    assert_eq!(uploaded.header("location"), "/api/files/3D%20cube.gcode");
    let sha256 = hex(&Sha256::digest(&contents));
    let described = uploaded.json();
    assert_eq!(described["name"], "3D cube.gcode");
    assert_eq!(described["length"], 3_000_000);
    assert_eq!(described["sha256"], sha256);
    assert_eq!(described["lines"], count_lines(&contents));
    assert_eq!(get(address, "/api/files").await.json(), json!({ "files": [described] }));

    let downloaded = get(address, "/api/files/3D%20cube.gcode").await;
    assert_eq!(downloaded.status, StatusCode::OK);
    assert_eq!(downloaded.header("content-length"), "3000000");
    assert_eq!(downloaded.header("content-type"), "text/x.gcode");
    assert_eq!(downloaded.header("content-disposition"), "attachment; filename=\"3D cube.gcode\"");
    assert_eq!(downloaded.header("x-content-type-options"), "nosniff");
    assert!(downloaded.body == contents);

    let head = send(address, Request::head("/api/files/3D%20cube.gcode"), "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "3000000", 0));

    // A second upload takes the first one's place.
    let replaced = put(address, "/api/files/3D%20cube.gcode", "G28\n").await;
    assert_eq!((replaced.status, &replaced.json()["lines"]), (StatusCode::OK, &json!(1)));
    assert_eq!(get(address, "/api/files/3D%20cube.gcode").await.body, "G28\n");
    assert_eq!(state(address).await["storage"]["bytesUsed"], 4);

    let deleted = send(address, Request::delete("/api/files/3D%20cube.gcode"), "").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    check_error(&get(address, "/api/files/3D%20cube.gcode").await, StatusCode::NOT_FOUND, "file_not_found");
    assert_eq!(state(address).await["storage"]["bytesUsed"], 0);
}

#[tokio::test]
async fn parts_and_conditions() {
    let printer = start().await;
    let address = printer.address();
    let contents = pseudo_random(200_000);
    let tag = put(address, "/api/files/a.bin", contents.clone()).await.header("etag").to_owned();
    let request = |name: &str, value: &str| Request::get("/api/files/a.bin").header(name, value);

    for (range, from, to) in
        [("bytes=0-0", 0, 1), ("bytes=100000-170000", 100_000, 170_001), ("bytes=-5", 199_995, 200_000)]
    {
        let part = send(address, request("range", range), "").await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/200000", to - 1));
        assert_eq!(part.header("content-length"), (to - from).to_string());
        assert!(part.body == contents[from..to], "{range}");
    }
    let outside = send(address, request("range", "bytes=200000-"), "").await;
    assert_eq!(
        (outside.status, outside.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */200000")
    );
    let several = send(address, request("range", "bytes=0-1,5-6"), "").await;
    assert_eq!((several.status, several.body.len()), (StatusCode::OK, 200_000));

    let same = send(address, request("if-none-match", &tag), "").await;
    assert_eq!((same.status, same.header("etag"), same.body.len()), (StatusCode::NOT_MODIFIED, tag.as_str(), 0));
    assert_eq!(send(address, request("if-none-match", "\"other\""), "").await.status, StatusCode::OK);
    assert_eq!(send(address, request("if-match", "\"other\""), "").await.status, StatusCode::PRECONDITION_FAILED);
    let changed = request("range", "bytes=0-1").header("if-range", "\"other\"");
    assert_eq!(send(address, changed, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let printer = start_with(|options| options.directory = Some(directory.path().to_owned())).await;
    let address = printer.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PUT /api/files/a.gcode HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    stream.write_all(&[b'G'; 50_000]).await.unwrap();
    eventually("the bytes arrive", || async { state(address).await["storage"]["bytesUsed"] != 0 }).await;
    assert_eq!(files_below(directory.path()), 1);
    drop(stream);
    eventually("they are gone", || async { state(address).await["storage"]["bytesUsed"] == 0 }).await;
    eventually("the file is gone", || async { files_below(directory.path()) == 0 }).await;
    assert_eq!(get(address, "/api/files").await.json(), json!({ "files": [] }));
}

#[tokio::test]
async fn room_is_limited() {
    let printer = start_with(|options| {
        options.max_file_bytes = 1000;
        options.max_total_bytes = 1500;
    })
    .await;
    let address = printer.address();
    check_error(&put(address, "/api/files/a.g", vec![0; 1001]).await, StatusCode::PAYLOAD_TOO_LARGE, "file_too_large");
    // Without a length announced it is counted as it comes.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PUT /api/files/a.g HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    stream.write_all(&[b"3e9\r\n", &[0; 1001][..], b"\r\n0\r\n\r\n"].concat()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");

    assert_eq!(put(address, "/api/files/a.g", vec![0; 1000]).await.status, StatusCode::CREATED);
    check_error(&put(address, "/api/files/b.g", vec![0; 501]).await, StatusCode::INSUFFICIENT_STORAGE, "card_full");
    assert_eq!(put(address, "/api/files/b.g", vec![0; 500]).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn the_body_is_asked_for_only_when_it_is_wanted() {
    let printer = start().await;
    for (name, first_line) in [("a.g", "HTTP/1.1 100 Continue"), ("%2e%2e", "HTTP/1.1 400 Bad Request")] {
        let mut stream = TcpStream::connect(printer.address()).await.unwrap();
        let head =
            format!("PUT /api/files/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; first_line.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, first_line.as_bytes());
    }
}

#[tokio::test]
async fn odd_names_and_addresses_are_refused() {
    let printer = start().await;
    let address = printer.address();
    for path in ["..%2f..%2fetc%2fpasswd", "%2e%2e", ".hidden", "a%00b", "a%0d%0ab", "%ff", "", "a%2fb"] {
        let path = format!("/api/files/{path}");
        check_error(&put(address, &path, "x").await, StatusCode::BAD_REQUEST, "file_name_invalid");
        check_error(&get(address, &path).await, StatusCode::BAD_REQUEST, "file_name_invalid");
    }
    for path in ["/api/files/a/b", "/api/files/../../etc/passwd"] {
        assert_eq!(get(address, path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    for path in ["/nothing", "/api", "/webcam/?action=zoom", "/webcam/?xaction=stream"] {
        check_error(&get(address, path).await, StatusCode::NOT_FOUND, "not_found");
    }
    let wrong = send(address, Request::put("/api/printer"), "").await;
    check_error(&wrong, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    assert_eq!(wrong.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn a_print_runs_through() {
    let printer = start_with(|options| options.speed = PrintSpeed::LinesPerSecond(2_000)).await;
    let address = printer.address();
    put(address, "/api/files/cube.gcode", "G1 X1\n".repeat(1_000)).await;
    put(address, "/api/files/readme.txt", "no").await;

    check_error(&order(address, json!({ "command": "pause" })).await, StatusCode::CONFLICT, "command_impossible");
    let missing = json!({ "command": "start", "file": "missing.gcode" });
    check_error(&order(address, missing).await, StatusCode::NOT_FOUND, "file_not_found");
    let text = json!({ "command": "start", "file": "readme.txt" });
    check_error(&order(address, text).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_gcode");
    for malformed in [json!({}), json!({ "command": "explode" }), json!({ "command": "start" }), json!([1])] {
        check_error(&order(address, malformed).await, StatusCode::BAD_REQUEST, "job_malformed");
    }
    let endless = send(address, Request::post("/api/job"), vec![b' '; 100_000]).await;
    check_error(&endless, StatusCode::BAD_REQUEST, "job_malformed");

    let start = json!({ "command": "start", "file": "cube.gcode" });
    let started = order(address, start.clone()).await;
    assert_eq!((started.status, &started.json()["state"]), (StatusCode::OK, &json!("printing")));
    check_error(&order(address, start.clone()).await, StatusCode::CONFLICT, "command_impossible");
    let paused = order(address, json!({ "command": "pause" })).await.json();
    assert_eq!(paused["state"], "paused");
    assert_eq!(state(address).await["job"]["progress"], paused["job"]["progress"]);
    // The file of a print stays.
    let deleted = send(address, Request::delete("/api/files/cube.gcode"), "").await;
    check_error(&deleted, StatusCode::CONFLICT, "file_in_use");
    check_error(&put(address, "/api/files/cube.gcode", "x").await, StatusCode::CONFLICT, "file_in_use");

    assert_eq!(order(address, json!({ "command": "resume" })).await.json()["state"], "printing");
    eventually("it is finished", || async { state(address).await["state"] == "finished" }).await;
    let finished = state(address).await;
    assert_eq!((&finished["job"]["progress"], &finished["job"]["bytesPrinted"]), (&json!(1.0), &json!(6_000)));
    assert!(finished["temperatures"]["hotend"]["actual"].as_f64().unwrap() > 21.0);

    order(address, start).await;
    assert_eq!(order(address, json!({ "command": "cancel" })).await.json()["state"], "cancelled");
    assert_eq!(send(address, Request::delete("/api/files/cube.gcode"), "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn starts_again_at_the_same_place_without_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let printer = start_with(|options| options.directory = Some(directory.path().to_owned())).await;
    let address = printer.address();
    put(address, "/api/files/a.g", "G28").await;
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    open.read_u8().await.unwrap();
    let taken = VirtualPrinter::start(VirtualPrinterOptions { port: address.port(), ..Default::default() }).await;
    assert_eq!(taken.err().unwrap().kind(), std::io::ErrorKind::AddrInUse);

    printer.stop().await;
    let mut rest = Vec::new();
    // The connection is cut; whether in order does not matter.
    let _ = tokio::time::timeout(crate::client::LONG, open.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    std::fs::create_dir(directory.path().join("spoolway-virtual-printer-killed")).unwrap();
    std::fs::create_dir(directory.path().join("somebody-else's")).unwrap();

    let again = start_with(|options| {
        options.port = address.port();
        options.directory = Some(directory.path().to_owned());
    })
    .await;
    assert_eq!(get(again.address(), "/api/files").await.json(), json!({ "files": [] }));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "its own and somebody else's");
}

async fn start() -> VirtualPrinter {
    start_with(|_| ()).await
}

async fn start_with(change: impl FnOnce(&mut VirtualPrinterOptions)) -> VirtualPrinter {
    let mut options = VirtualPrinterOptions::default();
    change(&mut options);
    VirtualPrinter::start(options).await.unwrap()
}

async fn put(address: SocketAddr, path: &str, body: impl Into<Bytes>) -> Reply {
    send(address, Request::put(path), body).await
}

async fn order(address: SocketAddr, order: Value) -> Reply {
    send(address, Request::post("/api/job"), order.to_string()).await
}

async fn state(address: SocketAddr) -> Value {
    get(address, "/api/printer").await.json()
}

fn check_error(reply: &Reply, status: StatusCode, error: &str) {
    assert_eq!(reply.status, status, "{:?}", reply.body);
    let body = reply.json();
    assert_eq!(body["error"], error, "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty());
}

fn pseudo_random(length: usize) -> Bytes {
    let mut state = 1u32;
    let next = || {
        // The constants of Numerical Recipes; the upper bits are the random ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn count_lines(contents: &[u8]) -> usize {
    contents.split_inclusive(|byte| *byte == b'\n').count()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files_below(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}
