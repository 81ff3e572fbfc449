//! Pictures, from cameras of all kinds.

use printers::observe::ObserverOptions;

use crate::fake_software::{Reply, http_server};
use crate::observe::Watch;

const PICTURE: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 0xff, 0xd9];

/// An OctoPrint whose camera is at these addresses, and answers so.
async fn octoprint(
    stream: &'static str,
    snapshot: &'static str,
    camera: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> Watch {
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

#[tokio::test]
async fn a_stream_passes_untouched_and_gives_pictures() {
    let watch = octoprint("/cam?action=stream", "", |path| {
        assert_eq!(path, "/cam?action=stream");
        Reply::Stream([part(PICTURE), part(PICTURE)].concat())
    })
    .await;
    let (status, kind, body) = watch.ask("GET", "/camera/0/stream", "").await;
    assert_eq!((status.as_u16(), kind.as_str()), (200, "multipart/x-mixed-replace; boundary=\"odd one\""));
    assert_eq!(body, [part(PICTURE), part(PICTURE)].concat());
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
        assert_eq!((status.as_u16(), kind.as_str()), (200, "multipart/x-mixed-replace;boundary=spoolway-picture"));
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(
            text.starts_with("--spoolway-picture\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n"),
            "{text}"
        );
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
