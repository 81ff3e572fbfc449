//! Pointing an installed plugin at this service, and back.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::places::{Found, Service, key_of_pem, rewrite};
use super::{DataDirectory, local_service, tree};
use crate::admin::Console;

/// Below the plugin's folder: what was there before, and a list of it.
pub(super) const BACKUP: &str = ".spoolway-adopt";
const LIST: &str = "changes.json";
/// Of the public key of the plugin's own service: SHA-256 of PKCS#1 in DER (tunnel.md 4.3).
const KNOWN_KEY: &str = "408f7edcd968c1ed505b41c0eabbaff8680264516d73244360656ec7a0a54442";
/// Programs and pages. Other files have nothing that the plugin dials.
const KINDS: [&str; 4] = ["py", "js", "html", "jinja2"];
/// Of one file of a program.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Major versions whose places this version knows.
const MAJORS: std::ops::RangeInclusive<u32> = 4..=5;
/// Letters of a changed line that are shown.
const SHOWN: usize = 160;

/// Point an installed copy of the plugin at this service, or undo that
#[derive(Debug, Args)]
pub struct Adopt {
    /// Folder that the plugin is installed in: OctoPrint's `site-packages`, or a checkout beside Moonraker
    path: PathBuf,
    /// Put back what was there before
    #[arg(long, conflicts_with_all = ["url", "public_key", "replaces_key"])]
    revert: bool,
    /// Change without asking
    #[arg(long, short)]
    yes: bool,
    /// Address of the service, such as `https://spoolway.example.org`; by default that of the data directory
    #[arg(long, requires = "public_key", value_name = "URL")]
    url: Option<String>,
    /// File with the service's public key, as `spoolway plugin public-key` prints it
    #[arg(long, requires = "url", value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Fingerprint of the public key that the plugin has, where it is not its own service's (SHA-256 of PKCS#1 in DER)
    #[arg(long, value_name = "SHA256", default_value = KNOWN_KEY)]
    replaces_key: String,
    #[command(flatten)]
    data: DataDirectory,
}

/// One file with its change.
struct Change {
    /// Below the plugin's folder.
    file: PathBuf,
    before: String,
    after: String,
}

/// What stands in [`LIST`].
#[derive(Debug, Serialize, Deserialize)]
struct Backup {
    service: String,
    files: Vec<Kept>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    file: PathBuf,
    /// SHA-256 of the file with the change.
    changed: String,
    /// The file as it was, beside the list.
    original: String,
}

/// Returns what to tell the operator.
pub(super) async fn run(adopt: Adopt, console: &mut Console<'_>) -> anyhow::Result<String> {
    anyhow::ensure!(adopt.path.is_dir(), "`{}` is no folder", adopt.path.display());
    if adopt.revert {
        return revert(&adopt, console);
    }
    let service = match (&adopt.url, &adopt.public_key) {
        (Some(url), Some(key)) => remote_service(url, key)?,
        _ => local_service(&adopt.data.data).await?,
    };
    let backup = adopt.path.join(BACKUP);
    anyhow::ensure!(
        !backup.exists(),
        "this copy has been changed before; `spoolway plugin adopt --revert {0}` puts it back. After an update of the \
         plugin, delete `{1}` instead",
        adopt.path.display(),
        backup.display()
    );
    let (changes, found) = find(&adopt, &service)?;
    let mut text = String::new();
    for change in &changes {
        let _ = write!(text, "{}", diff(change));
    }
    writeln!(console.output, "{}", text.trim_end())?;
    if found.left > 0 {
        writeln!(console.output, "\n{} other links to the plugin's own service stay as they are.", found.left)?;
    }
    console.output.flush()?;
    if !agreed(&adopt, console, "Change these files?")? {
        anyhow::bail!("nothing was changed; `--yes` changes without asking");
    }
    keep_originals(&backup, &service, &changes)?;
    for change in &changes {
        let file = adopt.path.join(&change.file);
        replace(&file, change.after.as_bytes()).with_context(|| {
            format!("cannot write `{}`; `spoolway plugin adopt --revert` puts back what was changed", file.display())
        })?;
    }
    Ok(format!(
        "pointed the plugin in `{}` at {}\nRestart OctoPrint, or the plugin, for it to take effect.",
        adopt.path.display(),
        service.authority
    ))
}

/// A service that runs elsewhere.
fn remote_service(url: &str, key: &Path) -> anyhow::Result<Service> {
    let (scheme, authority) = url.split_once("://").with_context(|| format!("`{url}` is no address"))?;
    let authority = authority.trim_end_matches('/');
    let parsed = authority.parse::<relay::Authority>();
    anyhow::ensure!(
        matches!(scheme, "http" | "https") && parsed.is_ok(),
        "`{url}` is no address of a service, such as `https://spoolway.example.org`"
    );
    let text = fs::read_to_string(key).with_context(|| format!("cannot read `{}`", key.display()))?;
    let public_key = key_of_pem(&text)
        .with_context(|| format!("`{}` has no public key as `spoolway plugin public-key` prints it", key.display()))?;
    Ok(Service { is_tls: scheme == "https", authority: authority.to_owned(), public_key })
}

fn find(adopt: &Adopt, service: &Service) -> anyhow::Result<(Vec<Change>, Found)> {
    let known_key = HEXLOWER.decode(adopt.replaces_key.to_ascii_lowercase().as_bytes()).ok();
    let known_key: [u8; 32] =
        known_key.and_then(|bytes| bytes.try_into().ok()).context("`--replaces-key` takes 64 hexadecimal digits")?;
    let (mut changes, mut found, mut version) = (Vec::new(), Found::default(), None);
    for path in tree::files(&adopt.path)? {
        version = version.or_else(|| version_in(&path));
        let is_ours = path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known));
        if !is_ours || fs::metadata(&path).is_ok_and(|file| file.len() > MAX_FILE) {
            continue;
        }
        // Programs are text; what is none is not the plugin's.
        let Ok(before) = fs::read_to_string(&path) else { continue };
        let (after, in_file) = rewrite(&before, service, &known_key)
            .with_context(|| format!("cannot change `{}`, and nothing was changed", path.display()))?;
        found.add(in_file);
        if in_file.has_any() {
            let file = path.strip_prefix(&adopt.path).unwrap_or(&path).to_owned();
            changes.push(Change { file, before, after });
        }
    }
    let version_text = version.as_deref().unwrap_or("of an unknown version");
    if let Some(version) = &version {
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        anyhow::ensure!(
            major.is_some_and(|major| MAJORS.contains(&major)),
            "the plugin in `{}` has version {version}; this version of `spoolway` knows versions {} to {}",
            adopt.path.display(),
            MAJORS.start(),
            MAJORS.end()
        );
    }
    let places = [
        ("the tunnel's host", found.tunnel),
        ("the host for events", found.events),
        ("the host for failure detection", found.gadget),
        ("the public key", found.key),
    ];
    let missing: Vec<&str> = places.iter().filter(|(_, n)| *n == 0).map(|(name, _)| *name).collect();
    anyhow::ensure!(
        missing.is_empty(),
        "this is no copy of the plugin that this version of `spoolway` knows: below `{}` (plugin {version_text}) it does \
         not find {}. Nothing was changed",
        adopt.path.display(),
        missing.join(", ")
    );
    Ok((changes, found))
}

/// The plugin's version, if the file is one that says it.
fn version_in(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?.to_str()?.to_ascii_lowercase();
    let (begins, is_wanted) = match name {
        "METADATA" | "PKG-INFO" => ("Version:", folder.contains("octoeverywhere")),
        "setup.py" => ("plugin_version", true),
        _ => return None,
    };
    if !is_wanted {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(begins))?;
    let value = line.get(begins.len()..)?.trim_matches(|letter: char| " =\"'".contains(letter));
    value.starts_with(|letter: char| letter.is_ascii_digit()).then(|| value.to_owned())
}

/// The lines that are others afterwards.
fn diff(change: &Change) -> String {
    let shown = |line: &str| line.chars().take(SHOWN).collect::<String>();
    let mut text = format!("--- {0}\n+++ {0}\n", change.file.display());
    for (number, (before, after)) in change.before.lines().zip(change.after.lines()).enumerate() {
        if before != after {
            let _ = writeln!(text, "@@ line {} @@\n-{}\n+{}", number + 1, shown(before), shown(after));
        }
    }
    text
}

/// Where nobody can be asked, only `--yes` says yes.
fn agreed(adopt: &Adopt, console: &mut Console<'_>, question: &str) -> anyhow::Result<bool> {
    Ok(adopt.yes || (console.is_terminal && console.confirm(question)?))
}

fn keep_originals(backup: &Path, service: &Service, changes: &[Change]) -> anyhow::Result<()> {
    fs::create_dir(backup).with_context(|| format!("cannot make `{}`", backup.display()))?;
    let mut files = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let original = format!("{index}.original");
        let path = backup.join(&original);
        fs::write(&path, &change.before).with_context(|| format!("cannot write `{}`", path.display()))?;
        files.push(Kept { file: change.file.clone(), changed: fingerprint(change.after.as_bytes()), original });
    }
    let list = serde_json::to_string_pretty(&Backup { service: service.authority.clone(), files })?;
    fs::write(backup.join(LIST), list).context("cannot write the list of changes")?;
    Ok(())
}

fn revert(adopt: &Adopt, console: &mut Console<'_>) -> anyhow::Result<String> {
    let folder = adopt.path.join(BACKUP);
    let list = fs::read_to_string(folder.join(LIST)).with_context(|| {
        format!("`{}` was not changed by `spoolway plugin adopt`, or its backup is gone", adopt.path.display())
    })?;
    let backup: Backup = serde_json::from_str(&list).context("the list of changes is damaged")?;
    let (mut changes, mut updated) = (Vec::new(), Vec::new());
    for kept in &backup.files {
        let is_inside = kept.file.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        anyhow::ensure!(is_inside && !kept.original.contains('/'), "the list of changes is damaged");
        let original = fs::read_to_string(folder.join(&kept.original)).context("a part of the backup is gone")?;
        match fs::read_to_string(adopt.path.join(&kept.file)) {
            Ok(now) if now == original => {}
            Ok(now) if fingerprint(now.as_bytes()) == kept.changed => {
                changes.push(Change { file: kept.file.clone(), before: now, after: original });
            }
            // The plugin was updated meanwhile: its files are its own again.
            _ => updated.push(kept.file.display().to_string()),
        }
    }
    for change in &changes {
        writeln!(console.output, "{}", diff(change).trim_end())?;
    }
    for file in &updated {
        console.warn(&format!("`{file}` has been changed or removed since, and stays as it is"));
    }
    if !changes.is_empty() && !agreed(adopt, console, "Put these files back?")? {
        anyhow::bail!("nothing was changed; `--yes` changes without asking");
    }
    for change in &changes {
        let file = adopt.path.join(&change.file);
        replace(&file, change.after.as_bytes()).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    Ok(format!(
        "put back {} of {} files in `{}`\nRestart OctoPrint, or the plugin, for it to take effect.",
        changes.len(),
        backup.files.len(),
        adopt.path.display()
    ))
}

fn fingerprint(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Puts a new file in an old one's place, for the same owner. The old one may be shared with the cache of an installer,
/// so it is not written to.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let metadata = fs::metadata(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = file.with_file_name(format!("{name}.spoolway-new"));
    let mut new = fs::File::create(&unfinished)?;
    new.write_all(bytes)?;
    new.set_permissions(metadata.permissions())?;
    // Only root can give files away, and only then is that needed.
    let _ = std::os::unix::fs::chown(&unfinished, Some(metadata.uid()), Some(metadata.gid()));
    new.sync_all()?;
    fs::rename(unfinished, file)
}
