//! The service and its agents, set up as an operator would: by their commands.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::process::{Owned, free_port, resident_bytes};
use crate::target::{Endpoint, Route, Target};

/// The account that owns every printer of the bench.
const OWNER: &str = "bench@example.com";

/// The service's configuration, in its directory.
const CONFIGURATION: &str = "spoolway.toml";

/// Starting takes milliseconds; this is for a machine that does something else too.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    service: PathBuf,
    agent: PathBuf,
}

impl Binaries {
    /// Looks in `directory`, or beside the bench itself, where cargo puts all three.
    pub(crate) fn find(directory: Option<&Path>) -> Result<Self> {
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => env::current_exe()?.parent().context("find the bench's own directory")?.to_owned(),
        };
        let find = |name: &str| {
            let file = directory.join(name);
            ensure!(
                file.is_file(),
                "{} is missing; build it with `cargo build --release -p server -p agent`",
                file.display()
            );
            Ok(file)
        };
        Ok(Self { service: find("spoolway")?, agent: find("spoolway-agent")? })
    }
}

/// A running service: plain HTTP for visitors, as all that it is compared with, and TLS for agents.
#[derive(Debug)]
pub(crate) struct Service {
    process: Owned,
    binaries: Binaries,
    directory: PathBuf,
    plain_port: u16,
    tls_port: u16,
    certificate: PathBuf,
}

/// What `admin printer add` tells.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewPrinter {
    pub(crate) printer_id: String,
    pub(crate) token: String,
}

/// What of `admin app-connection create` the bench needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAppConnection {
    url: String,
    auth_bearer_token: String,
}

impl Service {
    pub(crate) fn start(binaries: &Binaries, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).context("create the service's directory")?;
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        fs::write(&certificate, own.cert.pem()).context("write the certificate")?;
        fs::write(&key, own.signing_key.serialize_pem()).context("write the key")?;

        let (plain_port, tls_port) = (free_port()?, free_port()?);
        let text = format!(
            "listen = \"127.0.0.1:{plain_port}\"\n\
             domain = \"localhost:{plain_port}\"\n\
             data = {data:?}\n\
             [tls]\n\
             listen = \"127.0.0.1:{tls_port}\"\n\
             certificate = {certificate:?}\n\
             key = {key:?}\n",
            data = directory.join("data"),
        );
        fs::write(directory.join(CONFIGURATION), text).context("write the service's configuration")?;

        let service = Self {
            process: launch(binaries, directory)?,
            binaries: binaries.clone(),
            directory: directory.to_owned(),
            plain_port,
            tls_port,
            certificate,
        };
        service.admin(&["user", "add", OWNER])?;
        Ok(service)
    }

    /// Stops the service and starts it anew, with what it has stored and nothing in memory.
    pub(crate) fn restart(self) -> Result<Self> {
        let Self { process, binaries, directory, plain_port, tls_port, certificate } = self;
        drop(process);
        let process = launch(&binaries, &directory)?;
        Ok(Self { process, binaries, directory, plain_port, tls_port, certificate })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    pub(crate) fn add_printer(&self, name: &str) -> Result<NewPrinter> {
        let answer = self.admin(&["printer", "add", "--owner", OWNER, "--name", name])?;
        serde_json::from_slice(&answer).context("read what `printer add` printed")
    }

    /// The address that agents dial.
    pub(crate) fn agent_address(&self) -> String {
        format!("https://localhost:{}", self.tls_port)
    }

    /// Starts an agent for `printer`, whose software is on `origin_port`, and waits until it is connected.
    fn start_agent(&self, name: &str, printer: &NewPrinter, origin_port: u16) -> Result<Owned> {
        let mut command = self.agent_command(name)?;
        command.args(["--server", &self.agent_address(), "--token", &printer.token]);
        command.arg("--printer").arg(format!("http://127.0.0.1:{origin_port}"));
        command.arg("--data").arg(self.directory.join(name)).arg("--ca").arg(&self.certificate);
        let mut process = Owned::start("spoolway-agent", &mut command)?;
        Lines::of(&mut process)?.wait_for("connected to", 1).with_context(|| self.agent_log_hint(name))?;
        Ok(process)
    }

    /// `spoolway-agent run` with its output where the bench can read it.
    pub(crate) fn agent_command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(&self.binaries.agent);
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log_file(&self.directory.join(format!("{name}.log")))?);
        Ok(command)
    }

    pub(crate) fn agent_log_hint(&self, name: &str) -> String {
        log_hint(&self.directory.join(format!("{name}.log")))
    }

    /// How a visitor reaches `printer`: the plain listener, the connection's host name and its bearer token.
    fn open_to_app(&self, printer: &NewPrinter) -> Result<Endpoint> {
        let arguments = ["app-connection", "create", "--printer", &printer.printer_id, "--app", "bench"];
        let connection: NewAppConnection =
            serde_json::from_slice(&self.admin(&arguments)?).context("read what `app-connection create` printed")?;
        let host = connection.url.split_once("://").map_or(connection.url.as_str(), |(_, rest)| rest);
        let mut endpoint = Endpoint::local(self.plain_port);
        endpoint.host = host.trim_end_matches('/').to_owned();
        endpoint.authorization = Some(format!("Bearer {}", connection.auth_bearer_token));
        Ok(endpoint)
    }

    fn admin(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.binaries.service);
        command.arg("admin").args(arguments).arg("--json").arg("--data").arg(self.directory.join("data"));
        let output = command.stdin(Stdio::null()).output().context("run `spoolway admin`")?;
        if !output.status.success() {
            bail!("`spoolway admin {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }
}

fn launch(binaries: &Binaries, directory: &Path) -> Result<Owned> {
    let log = directory.join("spoolway.log");
    let mut command = Command::new(&binaries.service);
    command.arg("serve").arg("--config").arg(directory.join(CONFIGURATION)).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(log_file(&log)?);
    let mut process = Owned::start("spoolway", &mut command)?;
    Lines::of(&mut process)?.wait_for("spoolway is ready", 1).with_context(|| log_hint(&log))?;
    Ok(process)
}

/// The service with two agents: one in front of nginx's files, one in front of the bench's own origin.
#[derive(Debug)]
pub(crate) struct Spoolway {
    // Agents first: a service that goes away before them would have them reconnect.
    agents: Vec<Owned>,
    service: Service,
    files: Endpoint,
    live: Endpoint,
}

impl Spoolway {
    pub(crate) async fn start(binaries: Binaries, directory: &Path, files_port: u16, live_port: u16) -> Result<Self> {
        let service = Service::start(&binaries, directory)?;
        let (files_printer, live_printer) = (service.add_printer("files")?, service.add_printer("live")?);
        let agents = vec![
            service.start_agent("agent-files", &files_printer, files_port)?,
            service.start_agent("agent-live", &live_printer, live_port)?,
        ];
        // The service learns of what `admin` did within a second.
        let (files, live) = (service.open_to_app(&files_printer)?, service.open_to_app(&live_printer)?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Self { agents, service, files, live })
    }

    pub(crate) fn binaries(&self) -> &Binaries {
        &self.service.binaries
    }

    pub(crate) fn target(&self) -> Target {
        let service = self.service.process_id();
        Target {
            route: Route::Spoolway,
            files: self.files.clone(),
            live: self.live.clone(),
            processes: std::iter::once(service).chain(self.agents.iter().map(Owned::id)).collect(),
            service_processes: vec![service],
        }
    }

    /// The larger of the agents, before they have had anything to do.
    pub(crate) fn idle_agent_mebibytes(&self) -> Result<f64> {
        let sizes: Result<Vec<u64>> = self.agents.iter().map(|agent| resident_bytes(&[agent.id()])).collect();
        Ok(sizes?.into_iter().max().unwrap_or_default() as f64 / (1024.0 * 1024.0))
    }
}

/// The lines that a process prints, with the time of each.
#[derive(Debug)]
pub(crate) struct Lines(Receiver<(Instant, String)>);

impl Lines {
    pub(crate) fn of(process: &mut Owned) -> Result<Self> {
        let output = process.child_mut().stdout.take().context("the process's output is not piped")?;
        // Bounded: nobody reads on once the lines that were waited for have come, and the rest is dropped.
        let (sender, receiver) = sync_channel(4096);
        let read = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.try_send((Instant::now(), line));
            }
        };
        thread::Builder::new().name("output".to_owned()).spawn(read).context("read a process's output")?;
        Ok(Self(receiver))
    }

    /// Waits for `count` lines that begin with `beginning`, and gives the times at which they came.
    pub(crate) fn wait_for(&self, beginning: &str, count: usize) -> Result<Vec<Instant>> {
        let mut times = Vec::with_capacity(count);
        let mut deadline = Instant::now() + START_PATIENCE;
        while times.len() < count {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((time, line)) if line.starts_with(beginning) => {
                    times.push(time);
                    // What makes progress may go on.
                    deadline = Instant::now() + START_PATIENCE;
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("`{beginning}` was printed {} times and not {count}", times.len())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the process ended before it printed `{beginning}`"),
            }
        }
        Ok(times)
    }
}

fn log_file(path: &Path) -> Result<Stdio> {
    Ok(fs::File::create(path).with_context(|| format!("create {}", path.display()))?.into())
}

/// The end of a log that will be gone with its temporary directory.
fn log_hint(path: &Path) -> String {
    let log = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
    format!("the end of its log:\n{}", last.join("\n"))
}
