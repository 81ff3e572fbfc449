//! `spoolway plugin`: what has to be done once so that the existing plugin and this service know each other.
//!
//! It knows the plugin by what stands in it, such as names of hosts and the fingerprint of a key, and has no line of it.

mod adopt;
mod dictionary;
mod places;
mod tree;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use store::{DatabaseUrl, Store};

use crate::admin::Console;
use places::{Service, pem_of};

/// The RSA key that plugins know the service by, in the data directory.
pub(crate) const PLUGIN_KEY: &str = "plugin-key.pem";
/// The zstd dictionary that plugins compress with, in the data directory.
pub(crate) const PLUGIN_DICTIONARY: &str = "plugin-dictionary.zstd";

/// Prepare service and printers for the existing plugin
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Give the service the dictionary that plugins compress with
    ///
    /// Plugins on machines with three or more cores compress with zstd and a dictionary that is part of the plugin.
    /// Without it the service refuses them, because it could not read what they send.
    ImportDictionary(dictionary::Import),
    /// Print the public key that plugins have to be given, for `adopt` on another machine
    PublicKey(DataDirectory),
    /// Point an installed copy of the plugin at this service, or undo that
    ///
    /// Looks below PATH for the hosts and the key of the plugin's own service, shows what it would change, and changes
    /// nothing before you have agreed. The originals are kept beside it for `--revert`. Run it again after each update
    /// of the plugin, and restart OctoPrint or the plugin afterwards.
    Adopt(adopt::Adopt),
}

/// Where the service keeps its data.
#[derive(Debug, Args)]
pub struct DataDirectory {
    /// Data directory of the service
    #[arg(long, env = "SPOOLWAY_DATA", default_value = "./data", value_name = "DIR")]
    data: PathBuf,
}

/// Runs a command.
pub async fn run(command: PluginCommand, console: &mut Console<'_>) -> ExitCode {
    let outcome = match command {
        PluginCommand::ImportDictionary(import) => dictionary::run(&import),
        PluginCommand::PublicKey(data) => public_key(&data.data).map(|key| pem_of(&key)),
        PluginCommand::Adopt(adopt) => adopt::run(adopt, console).await,
    };
    // Whoever closed our output does not read on.
    match outcome {
        Ok(text) => match writeln!(console.output, "{}", text.trim_end()).and_then(|()| console.output.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(console.errors, "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The key in a data directory, made if there is none: the service then takes that one.
fn public_key(data: &Path) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(data.is_dir(), "there is no data directory `{}`; `--data DIR` names the service's", data.display());
    relay::plugin_public_key(&data.join(PLUGIN_KEY)).context("cannot read the service's key for plugins")
}

/// The service whose data are here.
async fn local_service(data: &Path) -> anyhow::Result<Service> {
    let key = public_key(data)?;
    anyhow::ensure!(
        data.join("spoolway.db").exists(),
        "there is no service in `{}`; on another machine say `--url` and `--public-key`",
        data.display()
    );
    let store = Store::open(&DatabaseUrl::in_data_directory(data)).await.context("cannot use the data directory")?;
    let site = store.site_address().await;
    store.close().await;
    let site =
        site?.context("the service has not started yet with this data directory, so its address is not known")?;
    Ok(Service { is_tls: site.scheme == "https", authority: site.domain, public_key: key })
}
