//! Processes the bench starts, and what the kernel's accounts say about them.
//!
//! Every process is owned by a guard that ends it, so a failed measurement leaves nothing behind.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// How long a process may take to stop by itself before it is killed: none of them holds work worth waiting for.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A child process that is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Owned {
    name: String,
    child: Child,
}

impl Owned {
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("start {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Fails when the process ended by itself, which makes every figure taken from it worthless.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("look after {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}", self.name),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that `processes` have used since they started.
pub(crate) fn cpu_time(processes: &[u32]) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for process in processes {
        let fields = stat_fields(*process)?;
        // Fields 14 and 15 of proc(5), counted here from field 3, the first one after the command's name.
        for index in [11, 12] {
            let ticks: u64 = fields.get(index).context("a short line in /proc/PID/stat")?.parse()?;
            total += Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?;
        }
    }
    Ok(total)
}

/// Resident memory of `processes`, in bytes.
pub(crate) fn resident_bytes(processes: &[u32]) -> Result<u64> {
    let mut total = 0;
    for process in processes {
        let path = format!("/proc/{process}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in the status")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().context("read VmRSS")?;
        total += kibibytes * 1024;
    }
    Ok(total)
}

/// `parent` and all its children: nginx works in child processes.
pub(crate) fn with_children(parent: u32) -> Result<Vec<u32>> {
    let mut parent_by_process = HashMap::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between being listed and being read.
        let Ok(fields) = stat_fields(process) else { continue };
        if let Some(found) = fields.get(1).and_then(|field| field.parse::<u32>().ok()) {
            parent_by_process.insert(process, found);
        }
    }
    let children = parent_by_process.iter().filter(|(_, found)| **found == parent).map(|(process, _)| *process);
    Ok(std::iter::once(parent).chain(children).collect())
}

/// Lets this process and those it starts open as many files as the machine allows: hundreds of agents need more than
/// the usual soft limit of 1,024. Gives the limit that is then in force.
pub(crate) fn raise_open_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?.local_addr()?.port())
}

/// Waits until something accepts connections on a loopback port.
pub(crate) fn wait_for_port(port: u16, process: &mut Owned) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        process.check_running()?;
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).with_context(|| format!("reach port {port}")),
        }
    }
}

/// The fields of /proc/PID/stat from the third on; the second, the command's name, may itself contain spaces.
fn stat_fields(process: u32) -> Result<Vec<String>> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let (_, rest) = stat.rsplit_once(')').with_context(|| format!("no command in {path}"))?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}
