//! Pictures, from cameras of all kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use printers::observe::ObserverOptions;
use tokio::time::{sleep, timeout};
use tunnel::agent_services::ServiceBody;

use crate::client::LONG;
use crate::fake_software::{Reply, http_server};
use crate::observe::Watch;

const PICTURE: &[u8] = &[0xff, 0xd8, 0xff, 0xe1, 1, 2, 3, 0xff, 0xd9];
const KIND: &str = "multipart/x-mixed-replace; boundary=oestreamboundary";

/// An OctoPrint whose camera is at these addresses, and answers so.
pub(crate) async fn octoprint(
    stream: impl Into<String>,
    snapshot: &'static str,
    camera: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> Watch {
    let stream = stream.into();
    let server = http_server(move |head, _| match head.path.as_str() {
        "/api/job" => Reply::Text(200, r#"{"state":"Operational"}"#.to_owned()),
        "/api/printer?exclude=sd" => Reply::Text(200, "{}".to_owned()),
        "/api/settings" => {
            Reply::Text(200, format!(r#"{{"webcam":{{"streamUrl":"{stream}","snapshotUrl":"{snapshot}"}}}}"#))
        }
        // Keys are for OctoPrint, not for its cameras.
        _ if head.has("x-api-key") => Reply::Text(500, String::new()),
        path => camera(path),
    });
    let key = Some(model::Secret::new("secret"));
    let options = ObserverOptions { api_key: key, ..ObserverOptions::default() };
    let watch = Watch::start("octoprint", &format!("http://{}", server.await), options);
    watch.until("looked at", |state| state.problem.is_none() && state.phase != model::printing::Phase::Unknown).await;
    watch
}

fn part(picture: &[u8]) -> Vec<u8> {
    [b"--odd one\r\nContent-Type: image/jpeg\r\n\r\n", picture, b"\r\n"].concat()
}

/// What a stream of ours begins with: the first picture twice.
fn beginning() -> Vec<u8> {
    let part =
        [b"Content-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n", PICTURE, b"\r\n--oestreamboundary\r\n"].concat();
    [b"--oestreamboundary\r\n", &part[..], &part[..]].concat()
}

#[tokio::test]
async fn a_stream_gives_pictures_one_by_one_and_without_end() {
    let watch = octoprint("/cam?action=stream", "", |path| {
        assert_eq!(path, "/cam?action=stream");
        Reply::Stream([part(PICTURE), part(PICTURE)].concat())
    })
    .await;
    let (status, kind, body) = watch.ask("GET", "/camera/0/stream", "").await;
    assert_eq!((status.as_u16(), kind.as_str()), (200, KIND));
    assert!(body.starts_with(&beginning()), "{body:?}");
    let (status, kind, body) = watch.ask("GET", "/camera/0/snapshot", "").await;
    assert_eq!((status.as_u16(), kind.as_str(), &body[..]), (200, "image/jpeg", PICTURE));
}

#[tokio::test]
async fn pictures_become_a_stream() {
    // The stream's address leads to a player's page, as with WebRTC.
    for stream in ["", "/player"] {
        let watch = octoprint(stream, "/shot", |path| match path {
            "/shot" => Reply::Picture(PICTURE.to_vec()),
            _ => Reply::Text(200, "<html>".to_owned()),
        })
        .await;
        let (status, kind, body) = watch.ask("GET", "/camera/0/stream", "").await;
        assert_eq!((status.as_u16(), kind.as_str()), (200, KIND));
        assert!(body.starts_with(&beginning()), "{body:?}");
    }
}

#[tokio::test]
async fn addresses_of_webrtc_lead_to_the_streams_beside_it() {
    for place in ["/cam/stream", "/cam/stream.mjpg?fps=10"] {
        let watch = octoprint("/cam/webrtc", "", move |path| {
            if path == place {
                Reply::Stream([part(PICTURE), part(PICTURE)].concat())
            } else {
                Reply::Text(200, "<html>".to_owned())
            }
        })
        .await;
        let (status, kind, body) = watch.ask("GET", "/camera/0/stream", "").await;
        assert_eq!((status.as_u16(), kind.as_str()), (200, KIND), "{place}");
        assert!(body.starts_with(&beginning()), "{body:?}");
    }
}

async fn open(watch: &Watch) -> ServiceBody {
    let request = Request::get("http://spoolway-agent/camera/0/stream").body(Full::new(Bytes::new())).unwrap();
    let response = timeout(LONG, watch.observer.answer(request)).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    response.into_body()
}

/// The number in the next picture of a stream of moving pictures.
async fn next_number(body: &mut ServiceBody) -> u32 {
    let frame = timeout(LONG, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
    let start = frame.windows(3).position(|window| window == [0xff, 0xd8, 0xff]).unwrap();
    u32::from_be_bytes(frame[start + 4..start + 8].try_into().unwrap())
}

#[tokio::test]
async fn all_viewers_share_one_connection_which_ends_when_nobody_watches() {
    let (asked, open_now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asking, opened) = (Arc::clone(&asked), Arc::clone(&open_now));
    let watch = octoprint("/cam", "", move |_| {
        asking.fetch_add(1, Ordering::SeqCst);
        Reply::Moving(Arc::clone(&opened))
    })
    .await;
    let mut viewers = Vec::new();
    for _ in 0..5 {
        viewers.push(open(&watch).await);
    }
    for viewer in &mut viewers {
        let first = next_number(viewer).await;
        assert!(next_number(viewer).await > first);
    }
    assert_eq!(watch.status_of("GET", "/camera/0/snapshot").await, 200);
    assert_eq!((asked.load(Ordering::SeqCst), open_now.load(Ordering::SeqCst)), (1, 1));

    // Whoever did not read for a while gets the newest picture, and not all that were missed.
    let before = next_number(&mut viewers[0]).await;
    let newest = loop {
        let newest = next_number(&mut viewers[1]).await;
        if newest > before + 50 {
            break newest;
        }
    };
    assert!(next_number(&mut viewers[0]).await >= newest);

    drop(viewers);
    let stopped = async {
        while open_now.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, stopped).await.unwrap();
    let mut again = open(&watch).await;
    next_number(&mut again).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_camera_that_breaks_off_is_connected_again() {
    let asked = AtomicUsize::new(0);
    let watch = octoprint("/cam", "", move |_| {
        let second = [0xff, 0xd8, 0xff, 0xe1, 0, 0, 0, 2, 0xff, 0xd9];
        let first = [0xff, 0xd8, 0xff, 0xe1, 0, 0, 0, 1, 0xff, 0xd9];
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::BrokenStream(part(&first)),
            _ => Reply::Stream(part(&second)),
        }
    })
    .await;
    let mut viewer = open(&watch).await;
    assert_eq!(next_number(&mut viewer).await, 1);
    assert_eq!(next_number(&mut viewer).await, 2);
}

#[tokio::test]
async fn streams_that_are_none_end_before_they_fill_the_memory() {
    let huge = [b"--odd one\r\nContent-Length: 52428800\r\n\r\n\xff\xd8\xff", &[0; 1000][..]].concat();
    let without_end = [b"--odd one\r\n\r\n\xff\xd8\xff".to_vec(), vec![0; 9_000_000]].concat();
    for stream in [huge, without_end, vec![b'x'; 100_000]] {
        let watch = octoprint("/cam", "", move |_| Reply::Stream(stream.clone())).await;
        assert_eq!(watch.status_of("GET", "/camera/0/stream").await, 502);
    }
}

#[tokio::test]
async fn what_is_no_picture_is_refused() {
    for reply in [
        Reply::Text(200, "<html>".to_owned()),
        Reply::Text(404, String::new()),
        Reply::Text(302, String::new()),
        Reply::Endless,
        Reply::Cut,
    ] {
        let watch = octoprint("", "/shot", move |_| reply.clone()).await;
        assert_eq!(watch.status_of("GET", "/camera/0/snapshot").await, 502);
        assert_eq!(watch.status_of("GET", "/camera/0/stream").await, 502);
    }
}

#[tokio::test]
async fn cameras_elsewhere_are_not_the_agents_business() {
    let watch = octoprint("http://192.0.2.1/stream", "http://169.254.169.254/latest/meta-data", |_| Reply::Cut).await;
    assert_eq!(watch.status_of("GET", "/camera/0/snapshot").await, 404);
}
