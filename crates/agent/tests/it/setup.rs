//! `spoolway-agent setup` at a terminal, with a person who types.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_spoolway-agent");
const LONG: Duration = Duration::from_secs(30);

/// Serves one request a connection.
fn http_server(answer: impl Fn(&str) -> (u16, String, String) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut chunk = [0; 4096];
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                    _ => break,
                }
            }
            let (status, headers, body) = answer(&String::from_utf8_lossy(&head));
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status} X\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes());
        }
    });
    address
}

/// An OctoPrint whose owner allows the third time that is asked, or never.
fn octoprint(allows: bool, key: &'static str) -> SocketAddr {
    let polls = Arc::new(Mutex::new(0));
    http_server(move |head| {
        let has_key = head.to_ascii_lowercase().contains(&format!("x-api-key: {}\r\n", key.to_ascii_lowercase()));
        let first = head.lines().next().unwrap_or_default().to_owned();
        let of = |status: u16, headers: &str, body: &str| (status, headers.to_owned(), body.to_owned());
        match first.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["GET", "/api/settings"] if has_key => of(200, "", "{}"),
            ["GET", "/login/"] => of(200, "", "<title>OctoPrint Login</title>"),
            ["GET", "/plugin/appkeys/probe"] => of(204, "", ""),
            ["POST", "/plugin/appkeys/request"] => {
                of(201, "Location: http://octopi.local/plugin/appkeys/request/TOKEN\r\n", r#"{"app_token":"TOKEN"}"#)
            }
            ["GET", "/plugin/appkeys/request/TOKEN"] => {
                let mut polls = polls.lock().unwrap();
                *polls += 1;
                match (*polls, allows) {
                    (..=2, _) => of(202, "", r#"{"message":"Awaiting decision"}"#),
                    (_, true) => of(200, "", &format!(r#"{{"api_key":"{key}"}}"#)),
                    (_, false) => of(404, "", "{}"),
                }
            }
            ["GET", "/api/version" | "/api/settings"] => of(403, "", "{}"),
            _ => of(404, "", ""),
        }
    })
}

/// Somebody at a terminal.
struct Person {
    program: Child,
    output: Arc<Mutex<Vec<u8>>>,
    /// How much of it has been waited for.
    seen: usize,
}

impl Person {
    fn run(arguments: &str) -> Self {
        // `script` gives it a terminal of its own.
        let mut program = Command::new("script")
            .args(["-qefc", &format!("{PROGRAM} {arguments}"), "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = program.stdout.take().unwrap();
        let output = Arc::<Mutex<Vec<u8>>>::default();
        let collecting = Arc::clone(&output);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                collecting.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { program, output, seen: 0 }
    }

    /// Waits for a text that comes after what was waited for before.
    fn sees(&mut self, text: &str) -> &mut Self {
        let until = Instant::now() + LONG;
        loop {
            let output = self.output.lock().unwrap().clone();
            let rest = &output[self.seen..];
            if let Some(at) = rest.windows(text.len()).position(|bytes| bytes == text.as_bytes()) {
                self.seen += at + text.len();
                return self;
            }
            assert!(Instant::now() < until, "never: {text:?}; there is {:?}", String::from_utf8_lossy(rest));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn types(&mut self, text: &str) -> &mut Self {
        let stdin = self.program.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
        self
    }

    fn ends(mut self) -> bool {
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn is_right(config: &Path) -> bool {
    let mode = std::fs::metadata(config).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let check = Command::new(PROGRAM).args(["config", "check", "--config"]).arg(config).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    true
}

#[test]
fn octoprint_gives_a_key_to_whoever_its_owner_allows() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("agent.toml");
    std::fs::write(&config, "# mine\n[[printer]]\nname = 'Other'\nvirtual = true\n").unwrap();
    let service = http_server(|_| (404, String::new(), String::new()));
    let printer = octoprint(true, "OCTOKEY123");
    let flags = format!("--config {} --server http://{service} --printer http://{printer}", config.display());
    let mut person = Person::run(&format!("setup {flags}"));
    person.sees("answers.").sees("There is OctoPrint").sees("Ask OctoPrint for one?").types("y");
    person.sees("allow \"Spoolway agent\"").sees("OctoPrint has given a key");
    person.sees("Your name for the printer").types("\r").sees("Next: spoolway-agent run --config");
    assert!(person.ends() && is_right(&config));
    let text = std::fs::read_to_string(&config).unwrap();
    let added = format!("[[printer]]\nname = \"OctoPrint\"\nurl = \"http://{printer}\"\napi_key = \"OCTOKEY123\"\n");
    assert!(text.starts_with("server") || text.starts_with("# mine"), "{text}");
    assert!(text.contains("# mine") && text.contains("name = 'Other'") && text.ends_with(&added), "{text}");

    // The second time it is asked before anything is written over, and the key may be typed.
    let printer = octoprint(false, "TYPED");
    let flags = format!("--config {} --server http://{service} --printer http://{printer}", config.display());
    let mut person = Person::run(&format!("setup {flags}"));
    person.sees("Ask OctoPrint for one?").types("y").sees("It was not allowed");
    person.sees("Application Keys").types("wrong\r").sees("It is not accepted").types("n");
    person.sees("Application Keys").types("TYPED\r").sees("Your name for the printer").types("\r");
    person.sees("Write over it?").types("y").sees("Next:");
    assert!(person.ends() && is_right(&config));
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(
        text.contains(&format!("\"http://{printer}\"\napi_key = \"TYPED\"")) && !text.contains("OCTOKEY123"),
        "{text}"
    );
}

#[test]
fn what_a_printer_shows_on_its_screen_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("agent.toml");
    let service = http_server(|_| (404, String::new(), String::new()));
    let mut person = Person::run(&format!("setup --config {} --server http://{service}/x", config.display()));
    // A service that is none, and then one that is.
    person.sees("!").sees("Address of the service").types(&format!("http://{service}\r")).sees("answers.");
    person.sees("Looking for printers");
    // Whatever is around here: the last choice, or the only question, is an address.
    person.sees("?");
    drop(person);
    assert!(!config.exists(), "nothing is written before the end");

    let flags = format!("--config {} --server http://{service} --printer bambu://192.0.2.9", config.display());
    let mut person = Person::run(&format!("setup {flags}"));
    person
        .sees("Serial number")
        .types("01P00A0\r")
        .sees("Access code")
        .types("\r")
        .sees("Access code")
        .types("12345678\r");
    person.sees("Your name").types("Bambu in the cellar\r").sees("Next:");
    assert!(person.ends() && is_right(&config));
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("serial = \"01P00A0\"\naccess_code = \"12345678\"\n"), "{text}");
    assert!(text.contains("name = \"Bambu in the cellar\"\nurl = \"bambu://192.0.2.9\"\n"), "{text}");
}

#[test]
fn without_a_terminal_the_flags_are_named() {
    let output = Command::new(PROGRAM).arg("setup").stdin(Stdio::null()).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for flag in ["no terminal", "--server", "--printer ", "--printer-api-key-file", "--printer-access-code-file"] {
        assert!(problem.contains(flag), "{flag}: {problem}");
    }
}

#[test]
fn discovery_is_there_for_programs() {
    let output = Command::new(PROGRAM).args(["discover", "--seconds", "1", "--json"]).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), !found.as_array().unwrap().is_empty());
}
