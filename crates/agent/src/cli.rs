//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand};
use tracing_subscriber::filter::Targets;

use crate::config_file::{ConfigFile, PrinterEntry};
use crate::discover;
use crate::logging::{self, LogFormat};
use crate::run::run_until_signal;
use crate::settings::{Overrides, Problem, Settings, SettingsError};
use crate::setup::{self, Known};
use crate::status;

/// All our environment variables begin so, which is how misspelt ones are found.
const ENVIRONMENT_PREFIX: &str = "SPOOLWAY_AGENT_";

/// Names are resolved and camera pictures made on threads of their own; more would only take memory.
const MAX_BLOCKING_THREADS: usize = 4;

/// Links 3D printers to a Spoolway service, so that they can be reached from anywhere.
///
/// It dials out and needs no open port.
#[derive(Parser)]
#[command(name = "spoolway-agent", version, after_help = "The configuration file is described in docs/agent.md.")]
struct Cli {
    #[command(flatten)]
    log: LogArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct LogArguments {
    /// What to log: a level (error, warn, info, debug, trace), or a list like `info,tunnel=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "SPOOLWAY_LOG", value_parser = logging::parse_filter)]
    log_level: Option<Targets>,
    /// How log lines look.
    #[arg(long, global = true, value_name = "FORMAT", env = "SPOOLWAY_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the printers linked until told to stop.
    Run(SettingsArguments),
    /// Show each printer, and whether it is linked; exits with 1 unless all are.
    Status {
        #[command(flatten)]
        settings: SettingsArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask what is needed, and write the configuration file.
    Setup(SetupArguments),
    /// List the printers in this network, and how to link each; exits with 1 if there is none.
    Discover {
        /// How long to look. Some printers make themselves known every five seconds only.
        #[arg(long, value_name = "SECONDS", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=120))]
        seconds: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look after the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Explain each mistake by its key; exits with 1 if there is any.
    Check(SettingsArguments),
}

#[derive(Args)]
struct SetupArguments {
    /// Configuration file (TOML) to write; what is in it stays.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// The service, like `https://spoolway.example`.
    #[arg(long, value_name = "URL", env = "SPOOLWAY_AGENT_SERVER")]
    server: Option<String>,
    /// The printer, like `http://127.0.0.1:5000`; otherwise printers are looked for.
    #[arg(long, value_name = "URL", env = "SPOOLWAY_AGENT_PRINTER")]
    printer: Option<String>,
    /// Certificates (PEM) to trust in the service besides the system's.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_CA")]
    ca: Option<PathBuf>,
    /// Allow plain HTTP to another machine: who listens in between can then take over the printer.
    #[arg(long, env = "SPOOLWAY_AGENT_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,
}

#[derive(Args)]
struct SettingsArguments {
    /// Configuration file (TOML); it can describe several printers.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// The service, like `https://spoolway.example`.
    #[arg(long, value_name = "URL", env = "SPOOLWAY_AGENT_SERVER")]
    server: Option<String>,
    /// Certificates (PEM) to trust in the service besides the system's.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_CA")]
    ca: Option<PathBuf>,
    /// Allow plain HTTP to another machine: who listens in between can then take over the printer.
    #[arg(long, env = "SPOOLWAY_AGENT_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,
    /// Where identities are kept.
    #[arg(long, value_name = "DIR", env = "SPOOLWAY_AGENT_DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    printer: PrinterArguments,
}

#[derive(Args)]
#[command(next_help_heading = "The printer, where no configuration file describes any")]
struct PrinterArguments {
    /// OctoPrint, Moonraker or PrusaLink, like `http://127.0.0.1:5000`; or `bambu://HOST`, `elegoo-cc1://HOST`,
    /// `elegoo-cc2://HOST`.
    #[arg(long = "printer", value_name = "URL", env = "SPOOLWAY_AGENT_PRINTER")]
    url: Option<String>,
    /// A printer made of software, in place of a real one.
    #[arg(long, env = "SPOOLWAY_AGENT_VIRTUAL", value_parser = BoolishValueParser::new())]
    r#virtual: bool,
    /// The one-time token of the first start; with a configuration file of one printer, that printer's.
    #[arg(long, value_name = "TOKEN", env = "SPOOLWAY_AGENT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with a key of the printer's software, with which the agent reads what the printer does.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_PRINTER_API_KEY_FILE")]
    printer_api_key_file: Option<PathBuf>,
    /// The key itself. As a flag, every user of this machine could read it.
    #[arg(long, hide = true, value_name = "KEY", env = "SPOOLWAY_AGENT_PRINTER_API_KEY", hide_env_values = true)]
    printer_api_key: Option<String>,
    /// A user of PrusaLink's, in place of a key; mostly `maker`.
    #[arg(long, value_name = "NAME", env = "SPOOLWAY_AGENT_PRINTER_USERNAME")]
    printer_username: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_PRINTER_PASSWORD_FILE")]
    printer_password_file: Option<PathBuf>,
    /// The password itself. As a flag, every user of this machine could read it.
    #[arg(long, hide = true, value_name = "PASSWORD", env = "SPOOLWAY_AGENT_PRINTER_PASSWORD", hide_env_values = true)]
    printer_password: Option<String>,
    /// A file with the access code that a printer of Bambu Lab's or Elegoo's shows on its screen.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_PRINTER_ACCESS_CODE_FILE")]
    printer_access_code_file: Option<PathBuf>,
    /// The code itself. As a flag, every user of this machine could read it.
    #[arg(long, hide = true, value_name = "CODE", env = "SPOOLWAY_AGENT_PRINTER_ACCESS_CODE", hide_env_values = true)]
    printer_access_code: Option<String>,
    /// The serial number of such a printer.
    #[arg(long, value_name = "SERIAL", env = "SPOOLWAY_AGENT_PRINTER_SERIAL")]
    printer_serial: Option<String>,
    /// Tell the printer's software its visitors' addresses (`forward`), or not (`hide`).
    #[arg(long, value_name = "HOW", env = "SPOOLWAY_AGENT_VISITOR_ADDRESS")]
    visitor_address: Option<String>,
    /// Certificates (PEM) to trust in the printer's software besides the system's.
    #[arg(long, value_name = "FILE", env = "SPOOLWAY_AGENT_PRINTER_CA")]
    printer_ca: Option<PathBuf>,
    /// The virtual printer's port on this machine; any free one otherwise.
    #[arg(long, value_name = "PORT", env = "SPOOLWAY_AGENT_VIRTUAL_PORT")]
    virtual_port: Option<u16>,
    /// How fast the virtual printer prints.
    #[arg(long, value_name = "N", env = "SPOOLWAY_AGENT_VIRTUAL_BYTES_PER_SECOND")]
    virtual_bytes_per_second: Option<u64>,
    /// The same in lines of G-code.
    #[arg(long, value_name = "N", env = "SPOOLWAY_AGENT_VIRTUAL_LINES_PER_SECOND")]
    virtual_lines_per_second: Option<u64>,
    /// Pictures that the virtual printer's camera makes.
    #[arg(long, value_name = "N", env = "SPOOLWAY_AGENT_VIRTUAL_FRAMES_PER_SECOND")]
    virtual_frames_per_second: Option<f64>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log.log_level, cli.log.log_format);
    match execute(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            let settings = arguments.resolve()?;
            runtime()?.block_on(run_until_signal(settings))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { settings, json } => {
            let settings = settings.resolve()?;
            let all_linked = runtime()?.block_on(status::show(&settings, json))?;
            Ok(if all_linked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Setup(SetupArguments { config, server, printer, ca, insecure }) => {
            setup::run(Known { config, server, printer, ca, insecure }, &runtime()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Discover { seconds, json } => {
            let any = runtime()?.block_on(discover::show(Duration::from_secs(seconds), json))?;
            Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Config { command: ConfigCommand::Check(arguments) } => {
            let settings = arguments.resolve()?;
            let tls = settings.tls()?;
            for printer in &settings.printers {
                printer.tls(&tls)?;
            }
            println!("the configuration is right: printers {}, service {}", settings.printers.len(), settings.server);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// One thread: the agent runs on boards with one core, and most of its time it waits.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build()
}

impl SettingsArguments {
    fn resolve(self) -> Result<Settings, SettingsError> {
        refuse_unknown_variables(std::env::vars_os().map(|(name, _)| name))?;
        let file = self.config.as_deref().map_or_else(|| Ok(ConfigFile::default()), ConfigFile::read)?;
        Settings::resolve(self.into_overrides()?, file, default_data())
    }

    fn into_overrides(self) -> Result<Overrides, SettingsError> {
        let PrinterArguments {
            url,
            r#virtual,
            token,
            printer_api_key_file,
            printer_api_key,
            printer_username: username,
            printer_password_file,
            printer_password,
            printer_access_code_file,
            printer_access_code,
            printer_serial: serial,
            visitor_address,
            printer_ca: ca,
            virtual_port,
            virtual_bytes_per_second,
            virtual_lines_per_second,
            virtual_frames_per_second,
        } = self.printer;
        let api_key = from_file("printer_api_key_file", printer_api_key_file)?.or(printer_api_key);
        let password = from_file("printer_password_file", printer_password_file)?.or(printer_password);
        let access_code = from_file("printer_access_code_file", printer_access_code_file)?.or(printer_access_code);
        let printer = PrinterEntry {
            name: None,
            url,
            data: None,
            ca,
            token,
            visitor_address,
            api_key,
            username,
            password,
            access_code,
            serial,
            camera_hosts: Vec::new(),
            r#virtual,
            virtual_port,
            virtual_bytes_per_second,
            virtual_lines_per_second,
            virtual_frames_per_second,
        };
        Ok(Overrides { server: self.server, ca: self.ca, insecure: self.insecure, data: self.data, printer })
    }
}

/// What a file holds, whose path is a setting.
fn from_file(key: &str, path: Option<PathBuf>) -> Result<Option<String>, SettingsError> {
    let Some(path) = path else { return Ok(None) };
    std::fs::read_to_string(&path).map(Some).map_err(|error| {
        let message = format!("`{}` cannot be read: {error}", path.display());
        SettingsError::Problems(vec![Problem { key: key.to_owned(), message }])
    })
}

/// A misspelt variable would otherwise do nothing, and nobody would be told.
fn refuse_unknown_variables(names: impl Iterator<Item = OsString>) -> Result<(), SettingsError> {
    let command = Cli::command();
    let run = command.find_subcommand("run");
    let known: Vec<&str> = run
        .into_iter()
        .flat_map(|run| run.get_arguments())
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let problems: Vec<Problem> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(ENVIRONMENT_PREFIX) && !known.contains(&name.as_str()))
        .map(|name| Problem { key: name, message: format!("there is no such setting; there are {}", known.join(", ")) })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(SettingsError::Problems(problems)) }
}

/// What service managers give, else the place for such files in the user's home, else here.
fn default_data() -> PathBuf {
    const NAME: &str = "spoolway-agent";
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directories) = variable("STATE_DIRECTORY") {
        // systemd gives several, divided by colons, where a unit asks for several.
        return std::env::split_paths(&directories).next().unwrap_or_else(|| NAME.into());
    }
    variable("XDG_STATE_HOME")
        .map(|state| PathBuf::from(state).join(NAME))
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state").join(NAME)))
        .unwrap_or_else(|| NAME.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_issues_command_lines_parse() {
        for line in [
            "spoolway-agent run --server http://localhost:8080 --printer http://127.0.0.1:5000 --token abc --data d",
            "spoolway-agent run --server http://localhost:8080 --virtual --virtual-lines-per-second 100",
            "spoolway-agent run --config agent.toml --log-level info,tunnel=debug --log-format json",
            "spoolway-agent --log-level debug status --json --config agent.toml",
            "spoolway-agent config check --config agent.toml",
            "spoolway-agent discover --seconds 10 --json",
            "spoolway-agent setup --config agent.toml --server https://s.example --printer http://127.0.0.1:5000",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    #[test]
    fn misspelt_variables_are_told() {
        let names =
            |names: &[&str]| refuse_unknown_variables(names.iter().map(OsString::from).collect::<Vec<_>>().into_iter());
        assert!(names(&["PATH", "SPOOLWAY_AGENT_SERVER", "SPOOLWAY_AGENT_TOKEN", "SPOOLWAY_LISTEN"]).is_ok());
        let error = names(&["SPOOLWAY_AGENT_SERVR"]).unwrap_err().to_string();
        assert!(error.starts_with("`SPOOLWAY_AGENT_SERVR`: there is no such setting"), "{error}");
        assert!(error.contains("SPOOLWAY_AGENT_SERVER, "), "{error}");
    }
}
