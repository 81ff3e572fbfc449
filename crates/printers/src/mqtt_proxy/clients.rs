//! Clients by the names that they give themselves: a second one of a name takes the place of the first (MQTT 3.1.1
//! §3.1.4), which is how an app that lost its connection comes back.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Bytes of a name. The standard wants 23 at least; some libraries make longer ones.
pub(super) const MAX_NAME: usize = 256;

/// Those who are there; there are no more of them than WebSockets.
#[derive(Default)]
pub(super) struct Clients {
    by_name: Mutex<HashMap<String, CancellationToken>>,
}

/// A client's hold on its name.
pub(super) struct Named {
    clients: Arc<Clients>,
    name: String,
    /// Cancelled when another client takes the name.
    pub(super) displaced: CancellationToken,
}

impl Clients {
    /// Takes a name, away from whoever has it.
    pub(super) fn take(self: &Arc<Self>, name: &str) -> Named {
        let displaced = CancellationToken::new();
        if let Some(older) = self.by_name.lock().insert(name.to_owned(), displaced.clone()) {
            older.cancel();
        }
        Named { clients: Arc::clone(self), name: name.to_owned(), displaced }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // Who was displaced has no name any more.
        if !self.displaced.is_cancelled() {
            self.clients.by_name.lock().remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_younger_one_keeps_the_name() {
        let clients = Arc::new(Clients::default());
        let older = clients.take("app");
        let younger = clients.take("app");
        assert!(older.displaced.is_cancelled() && !younger.displaced.is_cancelled());
        drop(older);
        assert_eq!(clients.by_name.lock().len(), 1);
        drop(younger);
        assert!(clients.by_name.lock().is_empty());
    }
}
