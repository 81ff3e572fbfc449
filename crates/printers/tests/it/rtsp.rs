//! Cameras that speak RTSP, with a real `ffmpeg` at both ends.

use crate::cameras::octoprint;
use crate::fake_software::Reply;
use crate::observe::Watch;
use crate::rtsp_server::{Carrier, RtspServer};

async fn watch(server: &RtspServer, login: &str) -> Watch {
    let url = format!("rtsp://{login}@{}/live?channel=1", server.address);
    octoprint(url, "", |_| Reply::Cut).await
}

/// Command lines of all programs of this machine.
fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path().join("cmdline")));
    let read = |path| Some(String::from_utf8_lossy(&std::fs::read(path).ok()?).replace('\0', " "));
    processes.filter_map(read).collect()
}

#[tokio::test]
async fn video_becomes_pictures_for_all_viewers_by_either_transport() {
    for carrier in [Carrier::Tcp, Carrier::Udp] {
        let server = RtspServer::start(carrier).await;
        let watch = watch(&server, "bblp:s3cret%21").await;
        let stream = async || watch.ask("GET", "/camera/0/stream", "").await;
        let ((status, kind, body), second, third) = tokio::join!(stream(), stream(), stream());
        assert_eq!((status.as_u16(), second.0.as_u16(), third.0.as_u16()), (200, 200, 200), "{carrier:?}");
        assert!(kind.starts_with("multipart/x-mixed-replace"));
        assert!(body.windows(4).any(|bytes| bytes == [0xff, 0xd8, 0xff, 0xe0]));
        let (status, kind, picture) = watch.ask("GET", "/camera/0/snapshot", "").await;
        assert_eq!((status.as_u16(), kind.as_str()), (200, "image/jpeg"));
        assert!(picture.starts_with(&[0xff, 0xd8, 0xff]) && picture.ends_with(&[0xff, 0xd9]));
        assert_eq!((server.playing(), server.asked("PLAY")), (1, 1), "one capture for all");

        // What it was started with is for every user of this machine to read.
        let ours: Vec<String> = command_lines().into_iter().filter(|line| line.contains("-boundary_tag")).collect();
        assert!(!ours.is_empty() && command_lines().iter().all(|line| !line.contains("s3cret")), "{ours:?}");

        server.until("the capture has ended", |server| server.playing() == 0).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let server = RtspServer::start(Carrier::Tcp).await;
    let watch = watch(&server, "bblp:guessed").await;
    let (status, _, problem) = watch.ask("GET", "/camera/0/snapshot", "").await;
    let problem = String::from_utf8_lossy(&problem).into_owned();
    assert_eq!(status.as_u16(), 502);
    assert!(problem.contains("ffmpeg") && problem.contains("401") && !problem.contains("guessed"), "{problem}");
    assert_eq!(server.asked("PLAY"), 0);
}

#[tokio::test]
async fn silence_is_a_failure_and_the_stream_is_begun_anew() {
    let server = RtspServer::start(Carrier::Tcp).await;
    let watch = watch(&server, "bblp:s3cret%21").await;
    let (status, _, _) = watch.ask("GET", "/camera/0/stream", "").await;
    assert_eq!(status.as_u16(), 200);
    server.be_silent(true);
    let waiting = async {
        // Somebody who goes on watching.
        loop {
            watch.ask("GET", "/camera/0/snapshot", "").await;
        }
    };
    let begun = async {
        server.until("it is asked again", |server| server.asked("PLAY") > 1).await;
        server.be_silent(false);
        server.until("it plays", |server| server.playing() > 0).await;
    };
    tokio::select! {
        () = waiting => {}
        () = begun => {}
    }
    assert_eq!(watch.status_of("GET", "/camera/0/snapshot").await, 200);
}

#[tokio::test]
async fn nothing_at_the_address_is_told() {
    let watch = octoprint("rtsp://127.0.0.1:9/live", "", |_| Reply::Cut).await;
    let (status, _, problem) = watch.ask("GET", "/camera/0/stream", "").await;
    let problem = String::from_utf8_lossy(&problem).into_owned();
    assert_eq!(status.as_u16(), 502);
    assert!(problem.contains("ffmpeg"), "{problem}");
}
