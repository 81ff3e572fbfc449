//! Runs `spoolway-agent`.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// Nothing that a test waits for takes this long.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A running agent; it is killed when the test ends.
pub(crate) struct Program {
    child: Child,
    output: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spoolway-agent"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = collect(child.stdout.take().unwrap());
        let log = collect(child.stderr.take().unwrap());
        Self { child, output, log }
    }

    /// `run` with one printer.
    pub(crate) fn run(server: &str, data: &Path, more: &[&str]) -> Self {
        Self::start(&[&["run", "--server", server, "--data", data.to_str().unwrap()], more].concat())
    }

    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for_output(&self, text: &str) {
        wait_for(&self.output, text, || self.log()).await;
    }

    pub(crate) async fn wait_for_log(&self, text: &str) {
        wait_for(&self.log, text, String::new).await;
    }

    /// Asks it to end, as service managers do.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.exit().await
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        timeout(LONG, self.child.wait()).await.unwrap().unwrap()
    }
}

async fn wait_for(collected: &Mutex<String>, text: &str, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + LONG;
    while !collected.lock().unwrap().contains(text) {
        let so_far = collected.lock().unwrap().clone();
        assert!(Instant::now() < deadline, "never said {text:?}:\n{so_far}\n{}", otherwise());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> Arc<Mutex<String>> {
    let collected = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&collected);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut into = into.lock().unwrap();
            into.push_str(&line);
            into.push('\n');
        }
    });
    collected
}
