//! `spoolway admin` as a process of its own, next to a running service.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[test]
fn the_running_service_obeys_within_a_second() {
    let directory = TempDir::new().unwrap();
    let service = Service::start(directory.path());
    admin_json(directory.path(), &["plan", "set", "supporters"]);
    admin_json(directory.path(), &["user", "add", "ann@example.org", "--plan", "supporters"]);
    let printer = admin_json(directory.path(), &["printer", "add", "--owner", "ann@example.org", "--name", "Left"]);
    let printer = printer["printerId"].as_str().unwrap();
    let create = ["app-connection", "create", "--printer", printer, "--app", "App"];
    let [first, second, third] = [(); 3].map(|()| admin_json(directory.path(), &create));
    // A label that the service has seen to be unknown must not stay so.
    service.expect("app-abcdefgh", None, 603);
    for app in [&first, &second, &third] {
        service.expect(host(app), Some(app), 601);
        service.expect(host(app), None, 606);
    }

    admin_json(directory.path(), &["plan", "set", "supporters", "--supporter", "false"]);
    service.expect(host(&first), Some(&first), 605);
    admin_json(directory.path(), &["user", "set-plan", "ann@example.org", "unlimited"]);
    service.expect(host(&first), Some(&first), 601);
    admin_json(directory.path(), &["app-connection", "revoke", first["id"].as_str().unwrap()]);
    service.expect(host(&first), Some(&first), 604);
    service.expect(host(&second), Some(&second), 601);
    admin_json(directory.path(), &["printer", "remove", printer]);
    service.expect(host(&second), Some(&second), 604);
    admin_json(directory.path(), &["user", "delete", "ann@example.org"]);
    service.expect(host(&third), Some(&third), 604);
}

#[test]
fn programs_get_json_on_stdout_and_errors_on_stderr() {
    let directory = TempDir::new().unwrap();
    let failed = admin(directory.path(), &["user", "delete", "nobody@example.org", "--json"], "");
    assert_eq!((failed.status.code(), failed.stdout.as_slice()), (Some(1), &b""[..]));
    let errors = String::from_utf8(failed.stderr).unwrap();
    let last: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"], "there is no account `nobody@example.org`");

    let unknown = admin(directory.path(), &["user", "dance"], "");
    assert_eq!((unknown.status.code(), unknown.stdout.as_slice()), (Some(2), &b""[..]));
}

#[test]
fn the_data_directory_can_be_named_by_the_environment() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoolway"));
    command.args(["admin", "user", "add", "ann@example.org", "--password-stdin"]);
    command.env("SPOOLWAY_DATA", directory.path());
    let output = run(command, "correct horse\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("correct horse"));
    assert_eq!(admin_json(directory.path(), &["user", "list"])[0]["hasPassword"], true);
}

/// A pipe that closes, as with `| head -1`.
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let directory = TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_spoolway"))
        .args(["admin", "plan", "list", "--data"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

struct Service {
    child: Child,
    domain: String,
}

impl Service {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spoolway"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ready = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let domain = ready.split("(domain ").nth(1).unwrap().trim_end_matches(')').to_owned();
        Self { child, domain }
    }

    /// Waits until requests to a host have this status, a second at most.
    fn expect(&self, host: &str, app: Option<&Value>, expected: u16) {
        let begun = Instant::now();
        let authorization = app.map_or_else(String::new, |app| {
            format!("Authorization: Bearer {}\r\n", app["authBearerToken"].as_str().unwrap())
        });
        loop {
            let status = self.status(host, &authorization);
            if status == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(1), "{host} answers {status}, not {expected}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn status(&self, host: &str, authorization: &str) -> u16 {
        let port = self.domain.rsplit(':').next().unwrap().parse().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request =
            format!("GET / HTTP/1.1\r\nHost: {host}.{}\r\n{authorization}Connection: close\r\n\r\n", self.domain);
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        let line = String::from_utf8_lossy(&response).into_owned();
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first label of a connection's host.
fn host(app: &Value) -> &str {
    app["url"].as_str().unwrap().strip_prefix("http://").unwrap().split('.').next().unwrap()
}

fn admin_json(directory: &Path, line: &[&str]) -> Value {
    let output = admin(directory, &[line, &["--json"]].concat(), "");
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn admin(directory: &Path, line: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoolway"));
    command.arg("admin").args(line).arg("--data").arg(directory);
    run(command, input)
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
