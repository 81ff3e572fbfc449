//! The command line of `spoolway`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use server::admin::{self, AdminCommand, Console};
use server::config::{Config, ConfigFlags, Mistake};
use server::plugin::{self, PluginCommand};
use server::{names_check, serve};

/// Reach your 3D printers from anywhere: the service
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    ///
    /// Each setting can also stand in the file of `--config`, or in a variable: `SPOOLWAY_LISTEN` for `listen`,
    /// `SPOOLWAY_TLS__CERTIFICATE` for `tls.certificate`.
    Serve {
        #[command(flatten)]
        flags: ConfigFlags,
        /// Attach a virtual printer and print how to reach it
        #[arg(long)]
        demo: bool,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prepare service and printers for the existing plugin
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Manage accounts, plans, printers and connections
    Admin(AdminCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Explain each mistake by its key and consequence, and where its names lead
    Check {
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve { flags, demo } => match Config::load(&flags) {
            Ok(config) => match serve::run(config, demo).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                }
            },
            Err(mistakes) => print_mistakes(&mistakes),
        },
        Command::Config(ConfigCommand::Check { flags }) => match Config::load(&flags) {
            Ok(config) => {
                println!("the configuration is good");
                for warning in config.check_names(&names_check::system_resolver).await {
                    eprintln!("warning: {warning}");
                }
                ExitCode::SUCCESS
            }
            Err(mistakes) => print_mistakes(&mistakes),
        },
        Command::Plugin(command) => plugin::run(command, &mut Console::of_process()).await,
        Command::Admin(command) => admin::run(command, &mut Console::of_process()).await,
    }
}

fn print_mistakes(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("error: {mistake}");
    }
    ExitCode::from(2)
}
