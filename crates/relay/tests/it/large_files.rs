//! Files that are larger than any memory.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use testkit::{Client, Origin, Protocol, TestAgent, TestService, alone, full, resident_bytes, stream_body};

/// So much passes each way, unless `SPOOLWAY_TEST_LARGE_BYTES` says otherwise; a release is tried with 5 GB.
const BYTES: u64 = 256 * 1024 * 1024;
/// Of memory, while it passes; printer, agent and visitor are in this process too.
const GROWTH: u64 = 32 * 1024 * 1024;
const PIECE: u64 = 64 * 1024;

fn n_bytes() -> u64 {
    std::env::var("SPOOLWAY_TEST_LARGE_BYTES").map_or(BYTES, |text| text.parse().unwrap()) / PIECE * PIECE
}

/// Every piece is another, so that one that is lost, doubled or out of its place shows.
fn pieces() -> impl Iterator<Item = Bytes> + Send + 'static {
    (0..n_bytes() / PIECE).map(|n| {
        let mut piece = vec![n as u8; PIECE as usize];
        piece[..8].copy_from_slice(&n.to_le_bytes());
        Bytes::from(piece)
    })
}

fn file() -> testkit::OriginBody {
    stream_body(futures_util::stream::iter(pieces().map(Ok)))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a body to its end, and tells its length and its SHA-256.
async fn digest<B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin>(mut body: B) -> String {
    let (mut hash, mut length) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            hash.update(&data);
            length += data.len();
        }
    }
    format!("{length} {}", hex(hash))
}

/// Load L7: whatever passes stays whole, and nothing of it stays here.
#[test]
fn gigabytes_pass_both_ways_unharmed() {
    alone("large_files::gigabytes_pass_both_ways_unharmed", async {
        let service = TestService::start().await;
        let origin = Origin::start(|request| async move {
            match *request.method() {
                Method::PUT => Response::new(full(digest(request.into_body()).await)),
                _ if request.uri().path() == "/page" => Response::new(full("page")),
                _ => Response::new(file()),
            }
        })
        .await;
        let printer = service.add_printer().await;
        let _agent = TestAgent::start(&service, &printer, origin.address()).await;
        let shared = service.shared_connection(&printer.id, None).await;
        let mut hash = Sha256::new();
        pieces().for_each(|piece| hash.update(&piece));
        let expected = format!("{} {}", n_bytes(), hex(hash));

        for protocol in Protocol::ALL {
            let client = Client::speaking(protocol, service.address());
            assert_eq!(client.get(&shared.host, "/page", &[]).await.text(), "page");
            let before = resident_bytes();
            let download = Request::get("/file").header("host", &shared.host).body(testkit::empty()).unwrap();
            let download = client.send(download).await.unwrap();
            assert_eq!(digest(download.into_body()).await, expected, "down in {protocol:?}");
            let upload = Request::put("/file").header("host", &shared.host).body(file()).unwrap();
            let upload = client.send(upload).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(upload, expected, "up in {protocol:?}");
            let growth = resident_bytes().saturating_sub(before);
            println!("{} bytes each way in {protocol:?}: memory has grown by {growth} bytes", n_bytes());
            assert!(growth <= GROWTH, "memory has grown by {growth} bytes in {protocol:?}");
        }
    });
}
