//! `make bench`: what reaching a printer through Spoolway costs, beside nginx as a plain local reverse proxy.
//!
//! One run measures three ways to the same two origins in turn: straight to them, through nginx, and through the
//! service and an agent over a TLS tunnel. Everything is on loopback and on this machine, so the load generator and the
//! origins share its cores with what is measured; ratios within a run mean more than absolute figures.
//! "CPU-s" are the user and system seconds of the processes in between, from the kernel's accounts.
//!
//! The bench knows the two binaries only from outside: their commands, their output and their sockets.

mod figures;
mod http1;
mod measure;
mod nginx;
mod origin;
mod process;
mod report;
mod results;
mod spoolway;
mod statistics;
mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use figures::Figure;
use measure::{Measurement, Pace};
use nginx::Nginx;
use report::Report;
use results::Samples;
use spoolway::{Binaries, Spoolway};
use target::{Endpoint, Route, Target};

/// Measures Spoolway beside nginx and beside nothing at all.
#[derive(Debug, Parser)]
struct Arguments {
    /// One short round: a look, not a result
    #[arg(long)]
    quick: bool,
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Only these ways; ratios need nginx
    #[arg(long, value_enum, value_delimiter = ',')]
    routes: Vec<Route>,
    /// How often each measurement is taken; the median counts [default: 5, or 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each measurement looks [default: 2, or 1 with --quick]
    #[arg(long)]
    seconds: Option<f64>,
    /// Idle agents that are connected at once [default: 500, or 150 with --quick]
    #[arg(long)]
    agents: Option<usize>,
    /// Give the nginx in between buffers of so many KiB in place of its own 4 and 16
    #[arg(long, value_name = "KIB")]
    nginx_buffers: Option<u32>,
    /// Print the comparison as a Markdown table too
    #[arg(long)]
    markdown: bool,
    /// Fail when a figure misses the row "first release" of the performance page
    #[arg(long)]
    check: bool,
    /// Where the results go as JSON
    #[arg(long, default_value = "bench/results/latest.json")]
    output: PathBuf,
    /// Where `spoolway` and `spoolway-agent` are [default: beside this program]
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// No run takes longer than this, whatever hangs.
const LONGEST_RUN: Duration = Duration::from_secs(10 * 60);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // One thread: the load generator must not compete with itself for the two cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let report = runtime.block_on(async {
        tokio::select! {
            outcome = tokio::time::timeout(LONGEST_RUN, run(&arguments)) => {
                outcome.unwrap_or_else(|_| bail!("the run took longer than {LONGEST_RUN:?}"))
            }
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;

    report.write_json(&arguments.output)?;
    println!("\n{}\n{}", report.table(), report.caption());
    println!("results in {}", arguments.output.display());
    if arguments.markdown {
        println!("\n{}", report.markdown());
    }
    ensure!(!arguments.check || report.reaches_first_release(), "a figure misses the first release's bound");
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<Report> {
    let n_files = process::raise_open_file_limit();
    let pace = arguments.pace();
    let routes = if arguments.routes.is_empty() { Route::ALL.to_vec() } else { arguments.routes.clone() };
    let measurements = if arguments.only.is_empty() { Measurement::ALL.to_vec() } else { arguments.only.clone() };
    // Both ends of a connection are on this machine, and a few files beside.
    ensure!(n_files > 2 * pace.n_agents as u64 + 200, "only {n_files} open files are allowed (`ulimit -n`)");

    let directory = tempfile::tempdir().context("create a temporary directory")?;
    let ways = Ways::open(directory.path(), &routes, arguments).await?;
    let mut samples = Samples::default();
    if let Some(spoolway) = &ways.spoolway {
        samples.add(Route::Spoolway, [(Figure::AgentResident, spoolway.idle_agent_mebibytes()?)]);
    }

    let n_rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 5 });
    for measurement in measurements {
        if measurement == Measurement::Agents {
            if let Some(spoolway) = &ways.spoolway {
                eprintln!("measuring {measurement:?}");
                samples.add(Route::Spoolway, measure::idle_agents(spoolway.binaries(), directory.path(), pace).await?);
            }
            continue;
        }
        for round in 0..if measurement.repeats() { n_rounds } else { 1 } {
            eprintln!("measuring {measurement:?}, round {}", round + 1);
            // Each round begins with another way, so that a slow change of the machine hits all alike.
            let mut targets = ways.targets.clone();
            targets.rotate_left(round % ways.targets.len());
            for target in targets {
                samples.add(target.route, measurement.run(&target, pace).await?);
            }
        }
    }
    Report::new(samples.rows(), n_rounds, arguments.quick, arguments.nginx_buffers)
}

impl Arguments {
    fn pace(&self) -> Pace {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 });
        Pace {
            warm_up: Duration::from_millis(if self.quick { 150 } else { 500 }),
            window: Duration::from_secs_f64(seconds.clamp(0.1, 30.0)),
            n_agents: self.agents.unwrap_or(if self.quick { 150 } else { 500 }),
        }
    }
}

/// The three ways, and what keeps them open.
struct Ways {
    targets: Vec<Target>,
    spoolway: Option<Spoolway>,
    _nginx: Vec<Nginx>,
}

impl Ways {
    async fn open(directory: &Path, routes: &[Route], arguments: &Arguments) -> Result<Self> {
        let files = Nginx::origin(directory)?;
        let (files_port, live_port) = (files.port(0)?, origin::start()?);
        let mut ways = Self { targets: Vec::new(), spoolway: None, _nginx: vec![files] };
        for route in routes {
            let target = match route {
                Route::Direct => Target {
                    route: Route::Direct,
                    files: Endpoint::local(files_port),
                    live: Endpoint::local(live_port),
                    processes: Vec::new(),
                    service_processes: Vec::new(),
                },
                Route::Nginx => {
                    let proxy = Nginx::proxy(directory, &[files_port, live_port], arguments.nginx_buffers)?;
                    let processes = proxy.processes()?;
                    let target = Target {
                        route: Route::Nginx,
                        files: Endpoint::local(proxy.port(0)?),
                        live: Endpoint::local(proxy.port(1)?),
                        service_processes: processes.clone(),
                        processes,
                    };
                    ways._nginx.push(proxy);
                    target
                }
                Route::Spoolway => {
                    let binaries = Binaries::find(arguments.binaries.as_deref())?;
                    let spoolway =
                        Spoolway::start(binaries, &directory.join("spoolway"), files_port, live_port).await?;
                    let target = spoolway.target();
                    ways.spoolway = Some(spoolway);
                    target
                }
            };
            ways.targets.push(target);
        }
        Ok(ways)
    }
}
