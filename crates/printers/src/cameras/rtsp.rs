//! Cameras that speak RTSP, whose H.264 or H.265 becomes pictures in `ffmpeg`, where that is installed.
//!
//! Decoding video takes a large library, and few printers need it; the agent stays small, and borrows the program.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use url::Url;

use super::http_camera::HttpCamera;
use super::mjpeg::Parser;
use super::{CameraError, FrameSource, Frames};

/// Found by the system's `PATH`.
const PROGRAM: &str = "ffmpeg";
/// Without a picture for so long, a stream has failed.
const SILENCE: Duration = Duration::from_secs(5);
/// For the first picture: a stream is understood only from a key frame on, and those are seconds apart.
const FIRST_PICTURE: Duration = Duration::from_secs(8);
/// Read from the pipe at once. Pictures have some 100 KiB.
const CHUNK: usize = 64 * 1024;
/// What goes before each picture, as `ffmpeg` names it.
const BOUNDARY: &str = "ffmpeg";
/// Characters of what `ffmpeg` complains of that are kept.
const MAX_COMPLAINT: usize = 200;
/// Bytes of its complaints that are looked at, at the end.
const COMPLAINTS: usize = 4 * 1024;
/// What may be opened on behalf of a camera: RTSP and what is below it, and the pipe that its address comes through.
const PROTOCOLS: &str = "pipe,rtsp,rtp,tcp,udp,tls,crypto";

/// A camera with an `rtsp` or `rtsps` address, which may hold a user and a password.
pub(super) struct RtspCamera {
    pub(super) url: Url,
    pub(super) frames_per_second: u8,
    /// A cheaper way to one picture.
    pub(super) pictures: Option<HttpCamera>,
    program: PathBuf,
}

impl RtspCamera {
    pub(super) fn new(url: Url, frames_per_second: u8, pictures: Option<HttpCamera>) -> Self {
        Self { url, frames_per_second, pictures, program: PathBuf::from(PROGRAM) }
    }

    /// Whether an address is of this kind.
    pub(super) fn takes(url: &Url) -> bool {
        matches!(url.scheme(), "rtsp" | "rtsps")
    }

    async fn open(&self) -> Result<Frames, CameraError> {
        // TCP passes every network that the camera can be reached through; some old cameras have UDP only.
        let refused = match self.capture("tcp").await {
            Err(CameraError::FfmpegMissing) => return Err(CameraError::FfmpegMissing),
            Err(refused) => refused,
            Ok(frames) => return Ok(frames),
        };
        self.capture("udp").await.map_err(|_| refused)
    }

    /// Captures by way of one transport. It has begun when the first picture is there.
    async fn capture(&self, transport: &str) -> Result<Frames, CameraError> {
        let mut capture = self.start(transport)?;
        capture.hand_over(&self.script(transport)).await?;
        let first = timeout(FIRST_PICTURE, capture.next()).await.map_err(|_| CameraError::Silent)??;
        Ok(stream::unfold((Some(first), Some(capture)), |(first, capture)| async {
            if let Some(first) = first {
                return Some((Ok(first), (None, capture)));
            }
            let mut capture = capture?;
            match timeout(SILENCE, capture.next()).await.unwrap_or(Err(CameraError::Silent)) {
                Ok(picture) => Some((Ok(picture), (None, Some(capture)))),
                Err(error) => Some((Err(error), (None, None))),
            }
        })
        .boxed())
    }

    fn start(&self, transport: &str) -> Result<Capture, CameraError> {
        let mut command = Command::new(&self.program);
        command
            .args(["-hide_banner", "-loglevel", "error", "-protocol_whitelist", PROTOCOLS])
            // A list of one, which comes through the pipe: every user of this machine can read a program's arguments.
            .args(["-f", "concat", "-safe", "0", "-i", "pipe:0"])
            .args(["-map", "0:v:0", "-vf", &format!("fps={}", self.frames_per_second)])
            .args(["-q:v", "5", "-f", "mpjpeg", "-boundary_tag", BOUNDARY, "pipe:1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        tracing::debug!(camera = %public(&self.url), transport, "starts ffmpeg");
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CameraError::FfmpegMissing,
            _ => CameraError::FfmpegBroken(error),
        })?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(CameraError::FfmpegBroken(io::ErrorKind::BrokenPipe.into()));
        };
        let complaints = Arc::default();
        tokio::spawn(listen(stderr, Arc::clone(&complaints)));
        let parser = Parser::with_boundary(BOUNDARY);
        Ok(Capture { child, stdin: Some(stdin), stdout, parser, complaints, url: self.url.clone() })
    }

    /// The list with the camera's address. `ffmpeg` takes the transport from the address's query.
    fn script(&self, transport: &str) -> String {
        let separator = if self.url.query().is_some() { '&' } else { '?' };
        // The quote is the only character with a meaning there, and a URL holds no line breaks.
        let url = self.url.as_str().replace('\'', "%27");
        format!("ffconcat version 1.0\nfile '{url}{separator}{transport}'\n")
    }
}

impl FrameSource for RtspCamera {
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>> {
        self.open().boxed()
    }

    fn snapshot(&self) -> Option<BoxFuture<'_, Result<bytes::Bytes, CameraError>>> {
        self.pictures.as_ref()?.snapshot()
    }
}

/// An `ffmpeg` at work. It ends with this.
struct Capture {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    parser: Parser,
    complaints: Arc<Mutex<Vec<u8>>>,
    url: Url,
}

impl Capture {
    async fn hand_over(&mut self, script: &str) -> Result<(), CameraError> {
        let Some(mut stdin) = self.stdin.take() else { return Ok(()) };
        let written = async {
            stdin.write_all(script.as_bytes()).await?;
            stdin.shutdown().await
        };
        // A program that does not take it has ended, and says why.
        match written.await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CameraError::FfmpegBroken(error)),
            _ => Ok(()),
        }
    }

    async fn next(&mut self) -> Result<bytes::Bytes, CameraError> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Some(picture) = self.parser.poll_picture()? {
                return Ok(picture);
            }
            match self.stdout.read(&mut chunk).await {
                Ok(0) => return Err(self.ended().await),
                Ok(length) => self.parser.handle(&chunk[..length]),
                Err(error) => return Err(CameraError::FfmpegBroken(error)),
            }
        }
    }

    /// Why it has ended.
    async fn ended(&mut self) -> CameraError {
        // Its last words are there when it is gone.
        let _ = timeout(Duration::from_secs(1), self.child.wait()).await;
        tokio::task::yield_now().await;
        let complaints = self.complaints.lock().clone();
        match complaint(&String::from_utf8_lossy(&complaints), &self.url) {
            Some(complaint) => CameraError::Ffmpeg(complaint),
            None => CameraError::Ended,
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // What it may have started goes with it. Once waited for, it has no number that could be somebody else's.
        #[cfg(unix)]
        if let Some(pid) =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Keeps the end of what `ffmpeg` complains of; nobody else empties that pipe.
async fn listen(mut stderr: ChildStderr, complaints: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut chunk).await {
        let mut kept = complaints.lock();
        kept.extend_from_slice(&chunk[..length]);
        let excess = kept.len().saturating_sub(COMPLAINTS);
        kept.drain(..excess);
    }
}

/// The last line that `ffmpeg` complained of, without the camera's address and password.
fn complaint(text: &str, url: &Url) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    // It names its input, which is the pipe.
    let line = line.strip_prefix("pipe:0: ").unwrap_or(line);
    let mut line = line.replace(url.as_str(), public(url).as_str());
    for secret in [url.password(), Some(url.username())].into_iter().flatten().filter(|secret| !secret.is_empty()) {
        let plain = percent_encoding::percent_decode_str(secret).decode_utf8_lossy();
        line = line.replace(secret, "…").replace(plain.as_ref(), "…");
    }
    Some(line.chars().filter(|letter| !letter.is_control()).take(MAX_COMPLAINT).collect())
}

/// The address without user and password.
fn public(url: &Url) -> Url {
    let mut url = url.clone();
    // Only addresses that have no room for them refuse this.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn camera(url: &str) -> RtspCamera {
        RtspCamera::new(url.parse().unwrap(), 10, None)
    }

    #[test]
    fn the_address_goes_through_the_pipe_and_cannot_leave_its_quotes() {
        let script = |url: &str| camera(url).script("tcp");
        let line = |rest: &str| format!("ffconcat version 1.0\nfile '{rest}'\n");
        assert_eq!(script("rtsp://cam/live"), line("rtsp://cam/live?tcp"));
        assert_eq!(script("rtsps://u:p@cam:322/live?channel=1"), line("rtsps://u:p@cam:322/live?channel=1&tcp"));
        let hostile = script("rtsp://cam/a'\nfile 'b\\c d");
        assert_eq!((hostile.matches('\'').count(), hostile.lines().count()), (2, 2), "{hostile}");
    }

    #[test]
    fn arguments_hold_no_credentials() {
        // The arguments do not depend on the address at all.
        let camera = RtspCamera { program: "/does/not/exist".into(), ..camera("rtsp://bblp:secret@cam/live") };
        assert!(matches!(camera.start("tcp"), Err(CameraError::FfmpegMissing)));
    }

    #[tokio::test]
    async fn a_missing_program_is_told_with_what_to_do() {
        let camera = RtspCamera { program: "/does/not/exist".into(), ..camera("rtsp://cam/live") };
        let error = camera.frames().await.err().unwrap().to_string();
        assert!(error.contains("install `ffmpeg`"), "{error}");
    }

    #[test]
    fn complaints_are_the_last_line_without_secrets() {
        let url: Url = "rtsp://bblp:s%21cret@10.0.0.9/live".parse().unwrap();
        let say = |text: &str| complaint(text, &url);
        let text = "[rtsp @ 0x1] method DESCRIBE failed: 401\n\
                    pipe:0: Server returned 401 Unauthorized (authorization failed)\n\n";
        assert_eq!(say(text).as_deref(), Some("Server returned 401 Unauthorized (authorization failed)"));
        let named = say("Impossible to open 'rtsp://bblp:s%21cret@10.0.0.9/live'").unwrap();
        assert_eq!(named, "Impossible to open 'rtsp://10.0.0.9/live'");
        assert_eq!(say("user bblp with s!cret or s%21cret\u{1b}[31m").as_deref(), Some("user … with … or …[31m"));
        assert_eq!(say("x".repeat(1000).as_str()).unwrap().len(), MAX_COMPLAINT);
        assert_eq!(say(" \n"), None);
    }
}
