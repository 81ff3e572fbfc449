//! What the service knows of plugins besides their links: the key that they know it by, which of them are there, and
//! which were sent away. The site asks it, for the calls that plugins make outside of their sessions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use model::{PrinterId, Secret, SecretHash};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};

use super::challenge::{ChallengeKey, KeyError};
use crate::budgets::Origin;

/// A plugin that is told to update comes again twelve hours later (tunnel.md 4.5). It is remembered a while longer.
const TOO_OLD_KEPT: Duration = Duration::from_secs(13 * 60 * 60);
/// Printers whose plugins are remembered as too old.
const MAX_TOO_OLD: u64 = 10_000;

/// All that is known of plugins. Clones share it.
#[derive(Clone)]
pub struct PluginRegister(Arc<Inner>);

struct Inner {
    key_file: PathBuf,
    key: OnceCell<Arc<ChallengeKey>>,
    present: Mutex<HashMap<PrinterId, Present>>,
    next: AtomicU64,
    /// The versions that were refused.
    too_old: Cache<PrinterId, String>,
}

/// A plugin whose session is open.
struct Present {
    number: u64,
    address: IpAddr,
    /// While it waits for somebody to type it.
    code: Option<LinkCode>,
    /// Woken when it should be asked again what its printer does.
    refresh: Arc<Notify>,
}

/// The code on a printer's screen that links it to whoever types it.
#[derive(Clone, Debug)]
pub struct LinkCode {
    /// Its text.
    pub code: Secret,
    /// Until when it works.
    pub until: SystemTime,
}

/// What may be said of a plugin to somebody at its own address.
#[derive(Clone, Debug)]
pub enum PluginPresence {
    /// It waits for somebody to type its code.
    Waiting(LinkCode),
    /// Its printer is somebody's.
    Linked,
}

impl PluginRegister {
    /// Knows the service's key by its file.
    pub fn new(key_file: PathBuf) -> Self {
        let too_old = Cache::builder().max_capacity(MAX_TOO_OLD).time_to_live(TOO_OLD_KEPT).build();
        let (key, present, next) = (OnceCell::new(), Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { key_file, key, present, next, too_old }))
    }

    pub(super) async fn key(&self) -> Result<Arc<ChallengeKey>, KeyError> {
        let load = || async {
            let file = self.0.key_file.clone();
            let loaded = tokio::task::spawn_blocking(move || ChallengeKey::load_or_make(&file)).await;
            loaded.unwrap_or(Err(KeyError::NotMade)).map(Arc::new)
        };
        self.0.key.get_or_try_init(load).await.cloned()
    }

    /// What the plugin of a printer with this key is given to prove itself with.
    ///
    /// # Errors
    /// If the service's key cannot be read.
    pub async fn octokey(&self, printer: &PrinterId, key: &SecretHash) -> Result<Secret, KeyError> {
        Ok(self.key().await?.octokey(printer, key))
    }

    /// Whether `given` is what the plugin of a printer with this key was given to prove itself with. Takes the same time
    /// whatever the answer.
    ///
    /// # Errors
    /// If the service's key cannot be read.
    pub async fn is_octokey(&self, printer: &PrinterId, key: &SecretHash, given: &Secret) -> Result<bool, KeyError> {
        let octokey = self.octokey(printer, key).await?;
        Ok(octokey.hash().matches(given.expose()))
    }

    /// The plugin of a printer, for somebody at `asker`. Printers' ids are no secret, so strangers hear nothing: not
    /// even whether there is such a printer.
    pub fn presence(&self, printer: &PrinterId, asker: IpAddr, now: SystemTime) -> Option<PluginPresence> {
        let present = self.0.present.lock();
        let plugin = present.get(printer).filter(|plugin| Origin::of(plugin.address) == Origin::of(asker))?;
        match &plugin.code {
            None => Some(PluginPresence::Linked),
            Some(code) => (now < code.until).then(|| PluginPresence::Waiting(code.clone())),
        }
    }

    /// The version of a printer's plugin, if it was refused lately because it is too old.
    pub fn too_old(&self, printer: &PrinterId) -> Option<String> {
        self.0.too_old.get(printer)
    }

    /// Has the plugin asked what its printer does, because something has happened.
    pub fn refresh(&self, printer: &PrinterId) {
        if let Some(plugin) = self.0.present.lock().get(printer) {
            plugin.refresh.notify_one();
        }
    }

    pub(super) fn handle_too_old(&self, printer: &PrinterId, version: &str) {
        self.0.too_old.insert(printer.clone(), version.to_owned());
    }

    /// Notes a plugin for as long as the returned value is there. A newer session takes an older one's place.
    pub(super) fn enter(&self, printer: &PrinterId, address: IpAddr, code: Option<LinkCode>) -> Entered {
        if code.is_none() {
            self.0.too_old.invalidate(printer);
        }
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let refresh = Arc::new(Notify::new());
        let plugin = Present { number, address, code, refresh: Arc::clone(&refresh) };
        self.0.present.lock().insert(printer.clone(), plugin);
        Entered { register: self.clone(), printer: printer.clone(), number, refresh }
    }
}

/// Keeps a plugin among those that are there.
pub(super) struct Entered {
    register: PluginRegister,
    printer: PrinterId,
    number: u64,
    pub(super) refresh: Arc<Notify>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut present = self.register.0.present.lock();
        if present.get(&self.printer).is_some_and(|plugin| plugin.number == self.number) {
            present.remove(&self.printer);
        }
    }
}

/// The public key that plugins have to be given, PKCS#1 in DER, of the key in a file, which is made if there is none.
///
/// # Errors
/// If there is no key and none can be made.
pub fn plugin_public_key(key_file: &Path) -> Result<Vec<u8>, KeyError> {
    ChallengeKey::load_or_make(key_file)?.public_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_hear_nothing_and_the_newest_session_counts() {
        let register = PluginRegister::new("/nowhere".into());
        let printer: PrinterId = "P".repeat(60).parse().expect("it is an id");
        let (home, elsewhere) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = SystemTime::now();
        let code = LinkCode { code: Secret::new("ABCDEFGH"), until: now + Duration::from_secs(60) };
        assert!(register.presence(&printer, home, now).is_none());
        let first = register.enter(&printer, home, Some(code));
        assert!(matches!(register.presence(&printer, home, now), Some(PluginPresence::Waiting(_))));
        assert!(register.presence(&printer, elsewhere, now).is_none());
        assert!(register.presence(&printer, home, now + Duration::from_secs(61)).is_none(), "its time is over");
        register.handle_too_old(&printer, "3.0.0");
        let second = register.enter(&printer, home, None);
        assert_eq!(register.too_old(&printer), None, "it has been updated");
        drop(first);
        assert!(matches!(register.presence(&printer, home, now), Some(PluginPresence::Linked)));
        drop(second);
        assert!(register.presence(&printer, home, now).is_none());
    }
}
