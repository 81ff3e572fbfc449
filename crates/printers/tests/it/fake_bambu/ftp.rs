//! Its files, which come only over data channels that go on with the control channel's session.

use rustls::HandshakeKind;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mishap {
    /// A file breaks off, and the printer says so.
    BreaksOff,
    /// A file breaks off, and the printer says that it was whole.
    Lies,
    /// The connection ends in the middle of a file.
    HangsUp,
    /// There is no room.
    Full,
    /// Too many are there already.
    Busy,
    /// A list without end.
    Endless,
    /// An answer that is none.
    Nonsense,
}

pub(super) async fn serve(shared: Shared, stream: TlsStream<TcpStream>) -> Option<()> {
    let mut control = BufReader::new(stream);
    let mishap = shared.printer(|printer| printer.mishap);
    match mishap {
        Some(Mishap::Busy) => return say(&mut control, "421 There are too many connections").await,
        Some(Mishap::Nonsense) => return say(&mut control, "hello").await,
        _ => say(&mut control, "220 (vsFTPd 3.0.5)").await?,
    }
    let mut is_in = false;
    let mut listener = None;
    loop {
        let mut line = String::new();
        control.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        let line = line.trim_end();
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "USER" => "331 Please specify the password.",
            "PASS" => {
                is_in = argument == shared.printer(|printer| printer.file_code);
                if is_in { "230 Login successful." } else { "530 Login incorrect." }
            }
            _ if !is_in => "530 Please login with USER and PASS.",
            "PBSZ" | "PROT" | "TYPE" => "200 Fine.",
            "QUIT" => return say(&mut control, "221 Goodbye.").await,
            "PASV" => {
                let bound = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = bound.local_addr().unwrap().port();
                listener = Some(bound);
                // An address that leads elsewhere: whoever believes it is sent into somebody's network.
                &format!("227 Entering Passive Mode (192,0,2,1,{},{}).", port / 256, port % 256)
            }
            "MKD" => "257 created",
            "SIZE" | "MDTM" | "DELE" => {
                let size = shared.printer(|printer| printer.files.get(argument).map(Vec::len));
                match (command, size) {
                    (_, None) => "550 No such file.",
                    ("SIZE", Some(size)) => &format!("213 {size}"),
                    ("MDTM", _) => "213 20240102030405",
                    _ => {
                        shared.printer(|printer| printer.files.remove(argument));
                        "250 Delete operation successful."
                    }
                }
            }
            "MLSD" if !shared.printer(|printer| printer.knows_mlsd) => "500 Unknown command.",
            "STOR" if mishap == Some(Mishap::Full) => "552 No room.",
            "RETR" if !shared.printer(|printer| printer.files.contains_key(argument)) => "550 Failed to open file.",
            "MLSD" | "LIST" | "RETR" | "STOR" => {
                say(&mut control, "150 Here it comes.").await?;
                let (data, _) = listener.take()?.accept().await.ok()?;
                let acceptor = TlsAcceptor::from(shared.printer(|printer| std::sync::Arc::clone(&printer.certificate)));
                let data = acceptor.accept(data).await.ok()?;
                let is_resumed = data.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                shared.printer(|printer| {
                    let count = &mut printer.resumed;
                    *(if is_resumed { &mut count.0 } else { &mut count.1 }) += 1;
                });
                if is_resumed {
                    transfer(&shared, command, argument, data, mishap).await?
                } else {
                    "522 SSL connection failed: session reuse required"
                }
            }
            _ => "500 Unknown command.",
        };
        say(&mut control, answer).await?;
    }
}

async fn transfer(
    shared: &Shared,
    command: &str,
    path: &str,
    mut data: TlsStream<TcpStream>,
    mishap: Option<Mishap>,
) -> Option<&'static str> {
    if command == "STOR" {
        let mut file = Vec::new();
        // A client that goes away leaves what it has sent.
        let _ = data.read_to_end(&mut file).await;
        shared.printer(|printer| printer.files.insert(path.to_owned(), file));
        return Some("226 Transfer complete.");
    }
    let mut bytes = match command {
        "RETR" => shared.printer(|printer| printer.files[path].clone()),
        _ => list(shared, path, command == "MLSD").into_bytes(),
    };
    if mishap == Some(Mishap::Endless) {
        bytes = b"type=file;size=1; a.gcode\r\n".repeat(300_000);
    }
    let breaks = matches!(mishap, Some(Mishap::BreaksOff | Mishap::Lies | Mishap::HangsUp)) && command == "RETR";
    if breaks {
        bytes.truncate(bytes.len() / 2);
    }
    let _ = data.write_all(&bytes).await;
    let _ = data.flush().await;
    if !breaks {
        // Some firmware ends its channels without a word in TLS; others say good-bye.
        let _ = if path.len().is_multiple_of(2) { data.shutdown().await } else { data.get_mut().0.shutdown().await };
        return Some("226 Transfer complete.");
    }
    match mishap {
        Some(Mishap::HangsUp) => None,
        Some(Mishap::Lies) => Some("226 Transfer complete."),
        _ => Some("426 Failure reading network stream."),
    }
}

fn list(shared: &Shared, folder: &str, for_machines: bool) -> String {
    let prefix = if folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") };
    let mut lines = std::collections::BTreeSet::new();
    for (path, file) in shared.printer(|printer| printer.files.clone()) {
        let Some(rest) = path.strip_prefix(&prefix) else { continue };
        let size = file.len();
        lines.insert(match (rest.split_once('/'), for_machines) {
            (None, true) => format!("type=file;modify=20240102030405;size={size}; {rest}\r\n"),
            (Some((name, _)), true) => format!("type=dir;modify=20240102030405; {name}\r\n"),
            (None, false) => format!("-rw-rw-rw-   1 root     root     {size} Jan 02  2024 {rest}\r\n"),
            (Some((name, _)), false) => format!("drwxrwxrwx   2 root     root     4096 Jan 02  2024 {name}\r\n"),
        });
    }
    lines.into_iter().collect()
}

async fn say(control: &mut BufReader<TlsStream<TcpStream>>, line: &str) -> Option<()> {
    let control = control.get_mut();
    control.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    control.flush().await.ok()
}
