//! `spoolway plugin`: an installed plugin is pointed at the service and back, and its dictionary is found.
//!
//! The trees are written for these tests: constants at the places where the facts about the plugin say that they are.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use data_encoding::HEXLOWER;
use server::admin::Console;
use server::plugin::{self, PluginCommand};
use sha2::{Digest, Sha256};
use store::{DatabaseUrl, SiteAddress, Store};
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: PluginCommand,
}

struct Outcome {
    is_success: bool,
    output: String,
    errors: String,
}

async fn run(arguments: &[&str], input: Option<&str>) -> Outcome {
    let cli = Cli::try_parse_from(["plugin"].iter().chain(arguments)).unwrap_or_else(|error| panic!("{error}"));
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: Box::new(input.unwrap_or_default().as_bytes()),
        is_terminal: input.is_some(),
        output: Box::new(&mut output),
        errors: Box::new(&mut errors),
    };
    let code = plugin::run(cli.command, &mut console).await;
    drop(console);
    Outcome {
        is_success: format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS),
        output: String::from_utf8(output).unwrap(),
        errors: String::from_utf8(errors).unwrap(),
    }
}

fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----", lines.join("\n"))
}

/// A plugin beside Moonraker, and the fingerprint of its key.
fn checkout(folder: &Path, version: &str) -> String {
    let der = vec![9; 526];
    fs::create_dir_all(folder.join("agent/net")).unwrap();
    fs::write(folder.join("setup.py"), format!("plugin_version = \"{version}\"\n")).unwrap();
    let hosts = "TUNNEL = \"wss://starport-v1.octoeverywhere.com/octoclientwsv2\"\n\
                 EVENTS = \"https://printer-events-v1-oeapi.octoeverywhere.com\"\n\
                 GADGET = \"https://gadget-v1-oeapi.octoeverywhere.com\"\n\
                 INFO = \"https://octoeverywhere.com/api/printer/info\"\n\
                 HELP = \"https://blog.octoeverywhere.com/help\"\n";
    fs::write(folder.join("agent/net/hosts.py"), hosts).unwrap();
    fs::write(folder.join("agent/key.py"), format!("KEY = \"\"\"{}\"\"\"\n", pem(&der))).unwrap();
    fs::write(folder.join("agent/other.py"), "print('nothing of interest')\n").unwrap();
    HEXLOWER.encode(&Sha256::digest(&der))
}

async fn service(data: &Path) {
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/data/plugin_challenge_key.pem"),
        data.join("plugin-key.pem"),
    )
    .unwrap();
    let store = Store::open(&DatabaseUrl::in_data_directory(data)).await.unwrap();
    let domain = "spoolway.example".to_owned();
    let site = SiteAddress { scheme: "https".to_owned(), domain: domain.clone(), printers_domain: domain };
    store.set_site_address(&site).await.unwrap();
    store.close().await;
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_plugin_is_adopted_and_given_back() {
    let (data, tree) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    service(data.path()).await;
    let fingerprint = checkout(tree.path(), "5.3.1");
    let before = contents(tree.path());
    let (data_text, path) = (data.path().to_str().unwrap(), tree.path().to_str().unwrap());
    let adopt = ["adopt", path, "--data", data_text, "--replaces-key", &fingerprint];
    // Nobody there, and somebody who says no.
    for input in [None, Some("\n"), Some("n\n")] {
        let outcome = run(&adopt, input).await;
        assert!(!outcome.is_success && outcome.errors.contains("nothing was changed"), "{}", outcome.errors);
        assert!(outcome.output.contains("-TUNNEL = \"wss://starport-v1."), "{}", outcome.output);
        assert!(outcome.output.contains("+TUNNEL = \"wss://spoolway.example/octoclientwsv2\""), "{}", outcome.output);
        assert_eq!(contents(tree.path()), before);
    }
    let outcome = run(&adopt, Some("y\n")).await;
    assert!(outcome.is_success, "{}", outcome.errors);
    assert!(outcome.output.contains("1 other links"), "{}", outcome.output);
    let hosts = fs::read_to_string(tree.path().join("agent/net/hosts.py")).unwrap();
    assert_eq!(hosts.matches("https://spoolway.example").count(), 3);
    assert!(hosts.contains("https://blog.octoeverywhere.com/help"));
    // The service's key is what stands there now.
    let key = run(&["public-key", "--data", data_text], None).await.output;
    let adopted = fs::read_to_string(tree.path().join("agent/key.py")).unwrap();
    assert_eq!(adopted, format!("KEY = \"\"\"{}\"\"\"\n", key.trim_end()));
    let again = run(&adopt, Some("y\n")).await;
    assert!(!again.is_success && again.errors.contains("--revert"), "{}", again.errors);

    let reverted = run(&["adopt", path, "--revert", "--yes"], None).await;
    assert!(reverted.is_success && reverted.output.contains("put back 2 of 2"), "{}", reverted.output);
    assert_eq!(contents(tree.path()), before);
    assert!(!run(&["adopt", path, "--revert", "--yes"], None).await.is_success, "there is nothing left to put back");

    // On another machine, with the key as it was printed; and an update in between.
    let pem = data.path().join("key.pem");
    fs::write(&pem, key).unwrap();
    let far = ["adopt", path, "--url", "https://far.example/", "--public-key", pem.to_str().unwrap(), "--yes"];
    let outcome = run(&[&far[..], &["--replaces-key", &fingerprint]].concat(), None).await;
    assert!(outcome.is_success, "{}", outcome.errors);
    fs::write(tree.path().join("agent/net/hosts.py"), "UPDATED = 1\n").unwrap();
    let reverted = run(&["adopt", path, "--revert", "--yes"], None).await;
    assert!(reverted.is_success && reverted.errors.contains("hosts.py"), "{}", reverted.errors);
    assert_eq!(fs::read_to_string(tree.path().join("agent/net/hosts.py")).unwrap(), "UPDATED = 1\n");
}

#[tokio::test]
async fn what_is_not_known_is_left_alone() {
    let data = TempDir::new().unwrap();
    service(data.path()).await;
    let data = data.path().to_str().unwrap();
    let adopt = async |tree: &Path, fingerprint: &str| {
        let before = contents(tree);
        let outcome =
            run(&["adopt", tree.to_str().unwrap(), "--data", data, "--replaces-key", fingerprint, "--yes"], None).await;
        assert!(!outcome.is_success);
        assert_eq!(contents(tree), before);
        outcome.errors
    };
    let tree = TempDir::new().unwrap();
    let none = adopt(tree.path(), &"0".repeat(64)).await;
    assert!(none.contains("does not find the tunnel's host"), "{none}");
    let fingerprint = checkout(tree.path(), "6.0.0");
    let newer = adopt(tree.path(), &fingerprint).await;
    assert!(newer.contains("version 6.0.0") && newer.contains("4 to 5"), "{newer}");
    checkout(tree.path(), "5.3.1");
    let other_key = adopt(tree.path(), &"0".repeat(64)).await;
    assert!(other_key.contains(&fingerprint), "{other_key}");
    fs::remove_file(tree.path().join("agent/key.py")).unwrap();
    let keyless = adopt(tree.path(), &fingerprint).await;
    assert!(keyless.contains("does not find the public key"), "{keyless}");
}

#[tokio::test]
async fn a_dictionary_is_checked_before_it_is_kept() {
    let (data, tree) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let data_text = data.path().to_str().unwrap();
    let hex = include_str!("../../../octo/tests/data/zstd_synthetic_dictionary.hex");
    let dictionary = HEXLOWER.decode(hex.split_whitespace().collect::<String>().as_bytes()).unwrap();
    let file = tree.path().join("dictionary");
    fs::write(&file, &dictionary).unwrap();
    let source = file.to_str().unwrap();
    let import = async |source: &str, more: &[&str]| {
        run(&[&["import-dictionary", source, "--data", data_text], more].concat(), None).await
    };
    let unknown = import(source, &[]).await;
    assert!(!unknown.is_success && unknown.errors.contains("--unknown"), "{}", unknown.errors);
    let empty = import(tree.path().to_str().unwrap(), &["--unknown"]).await;
    assert!(!empty.is_success && empty.errors.contains("is not in"), "{}", empty.errors);
    let kept = data.path().join("plugin-dictionary.zstd");
    assert!(!kept.exists());
    let imported = import(source, &["--unknown"]).await;
    assert!(imported.is_success && imported.output.contains("next plugin"), "{} {}", imported.output, imported.errors);
    assert_eq!(fs::read(&kept).unwrap(), dictionary);
    assert!(import(source, &["--unknown"]).await.output.contains("already"));
    fs::write(&file, b"\x37\xa4\x30\xec and no dictionary").unwrap();
    assert!(!import(source, &["--unknown"]).await.is_success);
    assert_eq!(fs::read(&kept).unwrap(), dictionary);
    fs::write(&kept, b"another").unwrap();
    fs::write(&file, &dictionary).unwrap();
    assert!(import(source, &["--unknown"]).await.output.contains("restart"));
}
