//! A camera that speaks RTSP: its video comes from a real `ffmpeg`, and is passed on to whoever plays it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::client::LONG;

/// `Authorization` of `bblp` with the password `s3cret!`.
const BASIC: &str = "Basic YmJscDpzM2NyZXQh";

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Carrier {
    Tcp,
    Udp,
}

struct Shared {
    carrier: Carrier,
    sdp: String,
    packets: broadcast::Sender<Vec<u8>>,
    requests: Mutex<Vec<String>>,
    playing: AtomicUsize,
    is_silent: AtomicBool,
}

pub(crate) struct RtspServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _encoder: Child,
}

impl RtspServer {
    pub(crate) async fn start(carrier: Carrier) -> Self {
        let video = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = video.local_addr().unwrap().port();
        let mut encoder = Command::new("ffmpeg")
            .args("-hide_banner -loglevel error -re -f lavfi -i testsrc=size=320x240:rate=15".split(' '))
            .args("-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 15".split(' '))
            .args(["-bsf:v", "dump_extra", "-sdp_file", "/dev/stdout", "-f", "rtp", &format!("rtp://127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the package `ffmpeg` is installed");
        let mut sdp = String::new();
        let mut stdout = encoder.stdout.take().unwrap();
        while !sdp.contains("a=fmtp") || !sdp.ends_with('\n') {
            let mut chunk = [0; 1024];
            let length = timeout(LONG, stdout.read(&mut chunk)).await.unwrap().unwrap();
            assert!(length > 0, "the encoder has ended: {sdp}");
            sdp += std::str::from_utf8(&chunk[..length]).unwrap();
        }
        let sdp = sdp.replace(&format!("m=video {port} "), "m=video 0 ").replace("SDP:\n", "").replace('\n', "\r\n");
        let (packets, _) = broadcast::channel(1024);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            carrier,
            sdp,
            packets,
            requests: Mutex::default(),
            playing: AtomicUsize::new(0),
            is_silent: AtomicBool::new(false),
        });
        let (feeding, serving) = (Arc::clone(&shared), Arc::clone(&shared));
        tokio::spawn(async move {
            let mut packet = [0; 2000];
            while let Ok(length) = video.recv(&mut packet).await {
                if !feeding.is_silent.load(Ordering::SeqCst) {
                    let _ = feeding.packets.send(packet[..length].to_vec());
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let (reader, writer) = stream.into_split();
                    let mut is_playing = false;
                    serve(reader, writer, &shared, &mut is_playing).await;
                    shared.playing.fetch_sub(usize::from(is_playing), Ordering::SeqCst);
                });
            }
        });
        Self { address, shared, _encoder: encoder }
    }

    /// How many play it at this moment.
    pub(crate) fn playing(&self) -> usize {
        self.shared.playing.load(Ordering::SeqCst)
    }

    /// Requests of a kind so far.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.shared.requests.lock().unwrap().iter().filter(|request| request.starts_with(method)).count()
    }

    /// Stops the video, and nothing else; or goes on.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Ordering::SeqCst);
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !wanted(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}; {:?}", self.shared.requests));
    }
}

async fn serve(
    mut reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    shared: &Shared,
    is_playing: &mut bool,
) -> Option<()> {
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let mut client_port = 0;
    let mut sender: Option<AbortOnDrop> = None;
    loop {
        let request = read_request(&mut reader).await?;
        shared.requests.lock().unwrap().push(request.clone());
        let has = |text: &str| request.to_ascii_lowercase().contains(&text.to_ascii_lowercase());
        let sequence = request.lines().find(|line| line.starts_with("CSeq"))?;
        let ok = |headers: &str| format!("RTSP/1.0 200 OK\r\n{sequence}\r\nSession: 7\r\n{headers}\r\n");
        let answer = match request.split(' ').next()? {
            "OPTIONS" => ok("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"),
            _ if !request.contains(BASIC) => {
                format!("RTSP/1.0 401 Unauthorized\r\n{sequence}\r\nWWW-Authenticate: Basic realm=\"cam\"\r\n\r\n")
            }
            "DESCRIBE" => {
                let length = shared.sdp.len();
                ok(&format!("Content-Type: application/sdp\r\nContent-Length: {length}\r\n")) + &shared.sdp
            }
            "SETUP" if has("RTP/AVP/TCP") && shared.carrier == Carrier::Tcp => {
                ok("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
            }
            "SETUP" if !has("RTP/AVP/TCP") && shared.carrier == Carrier::Udp => {
                client_port = request.split("client_port=").nth(1)?.split('-').next()?.parse().ok()?;
                ok(&format!(
                    "Transport: RTP/AVP;unicast;client_port={client_port}-{};server_port=9000-9001\r\n",
                    client_port + 1
                ))
            }
            "SETUP" => format!("RTSP/1.0 461 Unsupported Transport\r\n{sequence}\r\n\r\n"),
            _ => ok(""),
        };
        writer.lock().await.write_all(answer.as_bytes()).await.ok()?;
        if request.starts_with("PLAY") {
            shared.playing.fetch_add(1, Ordering::SeqCst);
            *is_playing = true;
            let (packets, writer) = (shared.packets.subscribe(), Arc::clone(&writer));
            sender = Some(AbortOnDrop(tokio::spawn(send(packets, shared.carrier, client_port, writer))));
        }
        if request.starts_with("TEARDOWN") {
            drop(sender.take());
        }
    }
}

async fn send(
    mut packets: broadcast::Receiver<Vec<u8>>,
    carrier: Carrier,
    client_port: u16,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    while let Ok(packet) = packets.recv().await {
        let sent = match carrier {
            Carrier::Udp => udp.send_to(&packet, ("127.0.0.1", client_port)).await.map(drop),
            Carrier::Tcp => {
                let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
                let frame = [&[b'$', 0][..], &length, &packet].concat();
                writer.lock().await.write_all(&frame).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The next request; what players say about the packets that they got is skipped.
async fn read_request(reader: &mut OwnedReadHalf) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let byte = reader.read_u8().await.ok()?;
        if text.is_empty() && byte == b'$' {
            reader.read_u8().await.ok()?;
            let length = reader.read_u16().await.ok()?;
            reader.read_exact(&mut vec![0; length.into()]).await.ok()?;
            continue;
        }
        text.push(byte);
    }
    String::from_utf8(text).ok()
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
