//! A plugin's arrival: who it is, and whether it is served.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{AccountId, PrinterId, Secret};
use octo::wire::{Compression, Notification};
use octo::{Acceptance, Introduction, PluginVersion, Refusal};
use store::{AgentAuth, AgentSeen, NewPairing};

use super::UNLINKED_TIME;
use super::link::software_of;
use super::register::LinkCode;
use crate::budgets::Origin;
use crate::live::ConnectionChange;
use crate::relay::Relay;

/// The oldest version whose messages the specification was checked against.
const MIN_VERSION: PluginVersion = PluginVersion { major: 4, minor: 0, patch: 0 };
/// A refused challenge takes this long, whatever was wrong with it.
const REFUSAL_TIME: Duration = Duration::from_millis(100);
/// Besides the plugin's own back-off, where trying again soon is no use.
const LONG_BACKOFF: u64 = 600;
/// The same where the service cannot tell.
const SHORT_BACKOFF: u64 = 30;

/// What becomes of a plugin that introduced itself.
pub(super) enum Verdict {
    /// It is served.
    Accepted(Acceptance),
    /// It may stay, and nobody reaches its printer before its owner has typed the code.
    Unlinked(Acceptance, Notification, LinkCode),
    Refused(Refusal),
}

impl Relay {
    /// Looks at an introduction that came from `address`.
    pub(super) async fn judge(&self, introduction: &Introduction, address: IpAddr) -> Verdict {
        let Ok(printer) = introduction.printer.as_str().parse::<PrinterId>() else {
            return refused("the printer id is malformed", LONG_BACKOFF);
        };
        if self.is_draining() {
            return refused("the service is restarting", 0);
        }
        if introduction.version < MIN_VERSION {
            self.note_too_old(&printer, introduction).await;
            let error = format!("This service needs version {MIN_VERSION} of the plugin or a newer one.");
            return Verdict::Refused(Refusal { error, backoff_seconds: 0, update_required: true });
        }
        if !introduction.is_primary {
            return refused("nobody asked for a second session", LONG_BACKOFF);
        }
        if introduction.compression == Compression::Zstandard && self.plugins.dictionary().await.is_none() {
            return refused(
                "This plugin compresses with zstd and a dictionary that this service does not have. Whoever runs the \
                 service can import the dictionary, or uninstall the Python package zstandard beside the plugin.",
                LONG_BACKOFF,
            );
        }
        let answer = match self.answer_challenge(introduction, address).await {
            Ok(answer) => answer,
            Err(refusal) => return refusal,
        };
        let accounts_and_linked = match self.store.authenticate_agent(&printer, &introduction.key).await {
            Ok(AgentAuth::Accepted { account, .. }) => Some(self.names_of(&account).await),
            Ok(AgentAuth::Removed) => None,
            Ok(AgentAuth::WrongKey) => {
                let _ = self.access.guesses().handle_wrong_secret(address, Instant::now());
                self.live.handle_connection(&printer, ConnectionChange::WrongKey(address));
                tracing::warn!(%printer, "refused a plugin: the printer is linked with another key");
                return refused(
                    "This printer id is linked with another key. If that was you, unlink the printer on the service's \
                     site first; if this installation is a copy, let it draw an id of its own.",
                    LONG_BACKOFF,
                );
            }
            Err(error) => return unavailable(&error),
        };
        let (key, octokey) = (&introduction.key, answer.1.octokey(&printer, &introduction.key.hash()));
        let acceptance =
            |accounts: Vec<String>| Acceptance { answer: answer.0.clone(), octokey: octokey.clone(), accounts };
        match accounts_and_linked {
            Some(accounts) => Verdict::Accepted(acceptance(accounts)),
            None => self.begin_linking(introduction, &printer, key, address, acceptance(Vec::new())).await,
        }
    }

    /// The accounts of a printer that is this plugin's; none if it is nobody's, or the store does not answer.
    pub(super) async fn accounts_of(&self, printer: &PrinterId, introduction: &Introduction) -> Option<Vec<String>> {
        match self.store.authenticate_agent(printer, &introduction.key).await {
            Ok(AgentAuth::Accepted { account, .. }) => Some(self.names_of(&account).await),
            _ => None,
        }
    }

    /// What an account is called towards the plugin, which shows it to whoever stands before the printer. The name does
    /// not matter; that there is one does.
    async fn names_of(&self, account: &AccountId) -> Vec<String> {
        let profile = self.store.account(account).await;
        vec![profile.map_or_else(|_| account.to_string(), |profile| profile.email.to_string())]
    }

    async fn answer_challenge(
        &self,
        introduction: &Introduction,
        address: IpAddr,
    ) -> Result<(octo::ChallengeAnswer, Arc<super::challenge::ChallengeKey>), Verdict> {
        let started = tokio::time::Instant::now();
        let is_over_budget = !self.plugins.challenges.has_any(&Origin::of(address), Instant::now());
        let key = match self.plugins.register.key().await {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(%error, "plugins cannot be served");
                return Err(refused("the service cannot prove its identity right now", SHORT_BACKOFF));
            }
        };
        let answer = if is_over_budget {
            None
        } else {
            // One at a time: each takes milliseconds of a core, and anybody can ask.
            let _turn = self.plugins.turn.acquire().await;
            let (key, challenge) = (Arc::clone(&key), introduction.challenge.clone());
            tokio::task::spawn_blocking(move || key.answer(&challenge)).await.ok().flatten()
        };
        match answer {
            Some(answer) => Ok((answer, key)),
            None => {
                let _ = self.plugins.challenges.spend(Origin::of(address), Instant::now());
                tokio::time::sleep_until(started + REFUSAL_TIME).await;
                tracing::info!("refused a plugin whose challenge cannot be answered");
                Err(refused(
                    "The service cannot answer the plugin's challenge: the plugin has another service's public key.",
                    LONG_BACKOFF,
                ))
            }
        }
    }

    async fn begin_linking(
        &self,
        introduction: &Introduction,
        printer: &PrinterId,
        key: &Secret,
        address: IpAddr,
        acceptance: Acceptance,
    ) -> Verdict {
        if !self.plugins.pairing {
            return refused("This service links no plugins; ask whoever runs it.", LONG_BACKOFF);
        }
        if self.plugins.unlinked.spend(Origin::of(address), Instant::now()).is_err() {
            return refused("Too many plugins of this address wait to be linked.", LONG_BACKOFF);
        }
        let pairing = NewPairing {
            key,
            printer: Some(printer.clone()),
            host: String::new(),
            software: software_of(introduction.host).to_owned(),
            software_version: String::new(),
            agent_version: format!("plugin {}", introduction.version_text),
            lan_ip: introduction.lan_address.map(|address| address.to_string()).unwrap_or_default(),
            address: Some(address),
        };
        let now = SystemTime::now();
        let code = match self.store.start_pairing(pairing, now).await {
            Ok(code) => code,
            Err(error) => return unavailable(&error),
        };
        let link = format!("{}://{}/link?code={}", self.names.scheme, self.names.domain, code.as_str());
        let notification = Notification {
            title: Some("Link this printer".to_owned()),
            text: Some(format!("Type the code {} at {}/link within 15 minutes.", code.as_str(), self.names.domain)),
            action_text: Some("Link".to_owned()),
            action_link: Some(link),
            show_for_sec: 0,
            // Nobody can have come through the service yet.
            show_only_if_loaded_from_oe: false,
            ..Notification::default()
        };
        let code = LinkCode { code: Secret::new(code.as_str()), until: now + UNLINKED_TIME };
        Verdict::Unlinked(acceptance, notification, code)
    }

    /// Remembers that a printer's plugin is too old, if it is its plugin: anybody can say so of any printer.
    async fn note_too_old(&self, printer: &PrinterId, introduction: &Introduction) {
        let version = &introduction.version_text;
        tracing::info!(%printer, version, "refused a plugin that is too old");
        if self.accounts_of(printer, introduction).await.is_some() {
            self.plugins.register.handle_too_old(printer, version);
            self.live.handle_connection(printer, ConnectionChange::TooOld);
            self.live.handle_change(printer);
        }
    }

    pub(super) async fn note_plugin(&self, printer: &PrinterId, introduction: &Introduction) {
        let seen = AgentSeen {
            agent_version: format!("plugin {}", introduction.version_text),
            software: software_of(introduction.host).to_owned(),
            software_version: String::new(),
            lan_ip: introduction.lan_address.map(|address| address.to_string()).unwrap_or_default(),
        };
        if let Err(error) = self.store.record_agent_connected(printer, SystemTime::now(), &seen).await {
            tracing::warn!(%printer, %error, "the plugin's connection was not noted");
        }
    }
}

fn refused(error: &str, backoff_seconds: u64) -> Verdict {
    Verdict::Refused(Refusal { error: error.to_owned(), backoff_seconds, update_required: false })
}

fn unavailable(error: &store::StoreError) -> Verdict {
    tracing::error!(%error, "the store did not answer about a plugin");
    refused("the service cannot check the printer's key right now", SHORT_BACKOFF)
}
