//! What the site needs of the rest of the service.

use std::sync::Arc;
use std::time::SystemTime;

use relay::live::LivePrinters;
use relay::owner_views::OwnerViews;
use relay::{PluginRegister, SiteNames};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::accounts::sign_in::SecondFactors;
use crate::attempts::Attempts;
use crate::health::ReadyCheck;
use crate::mail::Mailer;
use crate::oidc::Provider;
use crate::outbound::Outbound;
use crate::passkeys::Passkeys;
use crate::shares::viewers::Viewers;

/// What the site needs of the rest of the service. Cheap to clone.
#[derive(Clone)]
pub struct SiteState {
    /// Accounts, printers, connections.
    pub store: Store,
    /// The printers as they are at this moment.
    pub live: LivePrinters,
    /// The existing plugins as they are at this moment.
    pub plugins: PluginRegister,
    /// Hands signed-in people over to their printers' hosts.
    pub owner_views: OwnerViews,
    /// The names that lead here.
    pub names: Arc<SiteNames>,
    /// The operator's choices.
    pub settings: Arc<SiteSettings>,
    /// Sends mail, where that is configured.
    pub mailer: Option<Mailer>,
    /// Another service that people may sign in with.
    pub oidc: Option<Arc<Provider>>,
    /// Fetches from addresses that strangers chose.
    pub outbound: Outbound,
    /// Passkeys for the site's host; none where browsers allow none, as on a bare address.
    pub passkeys: Option<Arc<Passkeys>>,
    /// Cancelled when the service begins to end: what would go on for ever, such as events, ends then.
    pub stopping: CancellationToken,
    /// Asked by `/readyz`.
    pub ready: ReadyCheck,
    /// Slows down whoever guesses.
    pub attempts: Arc<Attempts>,
    /// Strangers who watch by Live Links.
    pub viewers: Viewers,
    /// People between their password and their second factor.
    pub second_factors: Arc<SecondFactors>,
}

impl SiteState {
    /// Whether browsers reach the site over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.names.scheme == "https"
    }

    /// The origin of the site, as browsers write it.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.names.scheme, self.names.domain)
    }

    /// An absolute URL of the site.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }
}

/// The operator's choices.
#[derive(Clone, Debug)]
pub struct SiteSettings {
    /// Who may make an account.
    pub sign_up: SignUp,
    /// Whether agents may ask to be linked by a code.
    pub pairing: bool,
    /// Beta features that need a grant, such as `gadget-api`.
    pub beta_features: Vec<String>,
    /// Whether outgoing requests may go to private addresses.
    pub allow_private_targets: bool,
    /// Where to report abuse: an address or a URL, shown on public pages.
    pub abuse_contact: Option<String>,
    /// Until then tokens that the store does not know are not said to be unknown: a backup was restored.
    pub unknown_until: Option<SystemTime>,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            sign_up: SignUp::Invitation,
            pairing: true,
            beta_features: Vec::new(),
            allow_private_targets: false,
            abuse_contact: None,
            unknown_until: None,
        }
    }
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignUp {
    /// Everybody.
    Open,
    /// Whoever was invited.
    #[default]
    Invitation,
    /// Nobody.
    Closed,
}
