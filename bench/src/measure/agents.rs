//! Many agents that have nothing to do: what each costs the service, and how fast they come.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Pace, Sample};
use crate::figures::Figure;
use crate::process::{Owned, resident_bytes};
use crate::spoolway::{Binaries, Lines, Service};

/// After this the service has dropped what connecting needed.
const TIME_TO_SETTLE: Duration = Duration::from_secs(3);

/// A service of its own, and one agent process that serves many printers over a connection each.
pub(crate) async fn idle_agents(binaries: &Binaries, directory: &Path, pace: Pace) -> Result<Vec<Sample>> {
    let directory = directory.join("many");
    let service = Service::start(binaries, &directory)?;
    let configuration = directory.join("agents.toml");
    let mut text = format!(
        "server = {:?}\nca = {:?}\ndata = {:?}\n",
        service.agent_address(),
        service.certificate(),
        directory.join("agents")
    );
    for index in 0..pace.n_agents {
        let name = format!("printer {index}");
        let token = service.add_printer(&name)?.token;
        // Nothing listens there; an idle agent stays connected all the same.
        let entry = format!("[[printer]]\nname = {name:?}\nurl = \"http://127.0.0.1:9\"\ntoken = {token:?}\n");
        text.push_str(&entry);
    }
    fs::write(&configuration, text).context("configure the agents")?;

    // The first time each enrols, which writes to the database. What counts is coming back, to a service that has no
    // memory left over from the first time.
    drop(connect_all(&service, &configuration, pace.n_agents)?);
    let service = service.restart()?;
    tokio::time::sleep(TIME_TO_SETTLE).await;
    let before = resident_bytes(&[service.process_id()])?;
    let (_agents, per_second) = connect_all(&service, &configuration, pace.n_agents)?;
    tokio::time::sleep(TIME_TO_SETTLE).await;
    let after = resident_bytes(&[service.process_id()])?;

    let kibibytes = (after as f64 - before as f64) / 1024.0 / pace.n_agents as f64;
    Ok(vec![(Figure::AgentMemory, kibibytes), (Figure::AgentsPerSecond, per_second)])
}

/// Starts the agents, which have no session to resume, and gives how many came a second.
fn connect_all(service: &Service, configuration: &Path, n_agents: usize) -> Result<(Owned, f64)> {
    let mut command = service.agent_command("agents")?;
    command.arg("--config").arg(configuration);
    let start = Instant::now();
    let mut process = Owned::start("spoolway-agent", &mut command)?;
    let times = Lines::of(&mut process)?
        .wait_for("connected to", n_agents)
        .with_context(|| service.agent_log_hint("agents"))?;
    let last = times.last().context("no agent connected")?;
    Ok((process, n_agents as f64 / last.duration_since(start).as_secs_f64()))
}
