use bytes::{Buf, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use printers::virtual_printer::{VirtualPrinter, VirtualPrinterOptions};
use tokio::time::timeout;

use crate::client::{LONG, get, open, send};

#[tokio::test]
async fn all_viewers_get_the_same_moving_picture() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let mut first = Viewer::open(&printer, "/webcam/?action=stream").await;
    let mut second = Viewer::open(&printer, "/webcam/stream").await;
    let (mut from_first, mut from_second) = (vec![], vec![]);
    for _ in 0..10 {
        from_first.push(first.next_part().await);
        from_second.push(second.next_part().await);
    }
    for parts in [&from_first, &from_second] {
        assert!(parts.windows(2).all(|pair| pair[0].frame < pair[1].frame && pair[0].jpeg != pair[1].jpeg));
        assert!(parts.iter().all(|part| is_jpeg(&part.jpeg)));
    }
    let shared =
        from_first.iter().filter_map(|part| Some((part, from_second.iter().find(|it| it.frame == part.frame)?)));
    let pictures: Vec<bool> = shared.map(|(one, other)| one.jpeg == other.jpeg).collect();
    assert!(!pictures.is_empty() && pictures.iter().all(|same| *same), "frames are made once for all");
}

#[tokio::test]
async fn nobody_watches_nothing_is_made() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let mut viewer = Viewer::open(&printer, "/webcam/stream").await;
    viewer.next_part().await;
    drop(viewer);
    // The camera notices with its next frame that nobody is left. From then on the counter stands still.
    let rest = |printer: &VirtualPrinter| {
        let address = printer.address();
        async move { get(address, "/webcam/?action=snapshot").await }
    };
    let mut frames = vec![];
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert!(is_jpeg(&rest(&printer).await.body));
        let mut viewer = Viewer::open(&printer, "/webcam/stream").await;
        frames.push(viewer.next_part().await.frame);
    }
    // Half a second of work would have made 25 frames.
    assert!(frames.windows(2).all(|pair| pair[1] - pair[0] < 20), "{frames:?}");
}

#[tokio::test]
async fn a_snapshot_is_one_picture() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    for path in ["/webcam/?action=snapshot", "/webcam/snapshot", "/webcam?cache=1&action=snapshot"] {
        let reply = get(printer.address(), path).await;
        assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "image/jpeg"));
        assert!(is_jpeg(&reply.body));
    }
    let head = send(printer.address(), Request::head("/webcam/stream"), "").await;
    assert_eq!(head.header("content-type"), "multipart/x-mixed-replace;boundary=boundarydonotcross");
}

#[tokio::test]
async fn a_viewer_who_does_not_read_holds_nobody_up() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let stalled = Viewer::open(&printer, "/webcam/stream").await;
    let mut viewer = Viewer::open(&printer, "/webcam/stream").await;
    let first = viewer.next_part().await.frame;
    while viewer.next_part().await.frame < first + 100 {}
    drop(stalled);
}

fn options() -> VirtualPrinterOptions {
    VirtualPrinterOptions { frames_per_second: 50.0, picture_size: (320, 240), ..Default::default() }
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9])
}

struct Part {
    frame: u64,
    jpeg: Bytes,
}

/// Reads a stream as browsers do: delimiter, headers, picture.
struct Viewer {
    body: Incoming,
    read: BytesMut,
}

impl Viewer {
    async fn open(printer: &VirtualPrinter, path: &str) -> Self {
        let response = open(printer.address(), Request::get(path), "").await;
        assert_eq!(response.headers()["content-type"], "multipart/x-mixed-replace;boundary=boundarydonotcross");
        Self { body: response.into_body(), read: BytesMut::new() }
    }

    async fn next_part(&mut self) -> Part {
        let head = self.read_until("\r\n\r\n").await;
        let head = head.strip_prefix("--boundarydonotcross\r\n").unwrap();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(": ").parse::<u64>().unwrap()
        };
        assert!(head.contains("Content-Type: image/jpeg\r\n"));
        let (length, frame) = (field("Content-Length") as usize, field("X-Frame"));
        while self.read.len() < length + 2 {
            self.more().await;
        }
        let jpeg = self.read.split_to(length).freeze();
        assert_eq!(&self.read[..2], b"\r\n");
        self.read.advance(2);
        Part { frame, jpeg }
    }

    async fn read_until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                return String::from_utf8(self.read.split_to(at + end.len()).to_vec()).unwrap();
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let frame = timeout(LONG, self.body.frame()).await.unwrap().unwrap().unwrap();
        self.read.extend_from_slice(&frame.into_data().unwrap());
    }
}
