#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;

use super::*;

fn load(toml: &str) -> Result<Config, Vec<Mistake>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    Config::load(&ConfigFlags { config: Some(file.path().to_owned()), ..ConfigFlags::default() })
}

fn mistaken_keys(toml: &str) -> Vec<String> {
    load(toml).err().unwrap_or_default().into_iter().map(|mistake| mistake.key).collect()
}

#[test]
fn an_empty_file_is_the_built_in_configuration() {
    let config = load("").unwrap();
    assert_eq!(config.listen.to_string(), DEFAULT_LISTEN);
    assert!(config.listen_is_default && config.domain.is_none() && config.tls.is_none());
}

#[test]
fn every_mistake_is_named_by_its_key() {
    let keys = mistaken_keys(
        "listen = 'here'\ndomain = 'a b'\npublic_scheme = 'ftp'\ntrusted_proxies = ['10.0.0.0/99']\n\
         max_connections = 0\nmetrics-listen = '127.0.0.1:1'\n[tls]\nkey = '/nowhere'\nlisten = 'x'\n",
    );
    for expected in [
        "metrics-listen",
        "listen",
        "domain",
        "public_scheme",
        "trusted_proxies",
        "max_connections",
        "tls.listen",
        "tls.certificate",
    ] {
        assert!(keys.iter().any(|key| key == expected), "{expected} is not among {keys:?}");
    }
}

#[test]
fn a_misspelt_key_is_told_its_name() {
    let mistakes = load("domian = 'a'\ntrusted-proxies = []\nx = 1").unwrap_err();
    let of = |key: &str| mistakes.iter().find(|mistake| mistake.key == key).unwrap().problem.clone();
    assert!(of("domian").contains("`domain`"));
    assert!(of("trusted-proxies").contains("`trusted_proxies`"));
    assert!(!of("x").contains("did you mean"));
}

#[test]
fn plain_http_beyond_this_machine_needs_a_reason() {
    assert_eq!(mistaken_keys("listen = '0.0.0.0:80'"), ["listen"]);
    assert!(load("listen = '0.0.0.0:80'\ntrusted_proxies = ['10.0.0.1']").is_ok());
    assert!(load("listen = '0.0.0.0:80'\nallow_plain_http = true").is_ok());
    assert!(load("listen = '[::1]:80'").is_ok());
}

#[test]
fn certificates_that_cannot_be_read_are_a_mistake() {
    assert_eq!(mistaken_keys("[tls]\ncertificate = '/nowhere'\nkey = '/nowhere'"), ["tls.certificate"]);
    assert_eq!(mistaken_keys("[tls]\ncertificate = '/nowhere'"), ["tls.key"]);
}

#[test]
fn the_sites_settings_are_checked_as_well() {
    let config = load("sign_up = 'open'\nbeta_features = ['gadget-api']\npairing = false").unwrap();
    assert_eq!(config.site.sign_up, web::SignUp::Open);
    assert!(config.shared_notice && !load("shared_notice = false").unwrap().shared_notice);
    assert_eq!(mistaken_keys("shared_notice = 'perhaps'"), ["shared_notice"]);
    assert!(!config.site.pairing && config.site.beta_features == ["gadget-api"]);
    let keys = mistaken_keys(
        "sign_up = 'maybe'\npairing = 'yes'\nbeta_features = ['No Name']\n[smtp]\nurl = 'smtps://mail.example.org'\n\
         [oidc]\nissuer = 'somewhere'\nclient_id = 'x'",
    );
    assert_eq!(keys, ["sign_up", "beta_features", "pairing", "smtp.from", "oidc.client_secret"]);
    assert_eq!(mistaken_keys("[smtp]\nurl = 'nonsense'\nfrom = 'a@example.org'"), ["smtp.url"]);
    assert_eq!(mistaken_keys("[oidc]\nissuer = 'x'\nclient_id = 'x'\nclient_secret = 'x'"), ["oidc.issuer"]);
}
