//! The relay as a whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cluster::Directory;
use ipnet::IpNet;
use model::PrinterId;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::authority::SiteNames;
use crate::body::SiteHandler;
use crate::changes;
use crate::link::Link;
use crate::live::LivePrinters;
use crate::notice_page::Notice;
use crate::owner_door::VisitCache;
use crate::owner_views::OwnerViews;
use crate::plugin::{PluginOptions, Plugins};
use crate::sessions::{SWEEP_INTERVAL, Sessions};
use crate::share_openings::ShareOpenings;
use crate::timeouts::Timeouts;
use crate::usage::{self, UsageMeters};
use crate::webcam::WebcamMeters;

/// Finds the links of printers.
pub type LinkDirectory = Arc<dyn Directory<Arc<dyn Link>>>;

/// What the relay is made of.
pub struct RelayOptions {
    /// Accounts, printers and connections.
    pub store: Store,
    /// The names that lead here.
    pub names: SiteNames,
    /// Where printers are.
    pub directory: LinkDirectory,
    /// What is known of printers, made of the same directory; the site asks it.
    pub live: LivePrinters,
    /// Hands owners over from the site to their printers' hosts.
    pub owner_views: OwnerViews,
    /// Answers requests to the site's own host.
    pub site: SiteHandler,
    /// Proxies that may say who their visitor is.
    pub trusted_proxies: Vec<IpNet>,
    /// What browsers are shown before the first page of an open Shared Connection, if anything.
    pub notice: Option<Notice>,
    /// How long visitors may take.
    pub timeouts: Timeouts,
    /// Until then names and keys that the store does not know are not said to be unknown.
    pub unknown_until: Option<SystemTime>,
    /// What the existing plugin needs.
    pub plugins: PluginOptions,
}

/// Takes visitors' requests to printers.
pub struct Relay {
    pub(crate) store: Store,
    pub(crate) names: SiteNames,
    pub(crate) directory: LinkDirectory,
    pub(crate) live: LivePrinters,
    pub(crate) owner_views: OwnerViews,
    pub(crate) share_openings: ShareOpenings,
    pub(crate) site: SiteHandler,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) notice: Option<Notice>,
    pub(crate) timeouts: Timeouts,
    pub(crate) access: Access,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) visits: VisitCache,
    pub(crate) usage: Arc<UsageMeters>,
    pub(crate) webcams: WebcamMeters,
    pub(crate) plugins: Plugins,
    /// Cancelled when the service begins to end.
    pub(crate) going_down: CancellationToken,
}

impl Relay {
    /// Puts a relay together and starts what it does by the clock: following changes of the store, ending what is
    /// idle or has expired.
    pub fn start(options: RelayOptions) -> Arc<Self> {
        let usage = Arc::<UsageMeters>::default();
        let relay = Arc::new(Self {
            visits: VisitCache::default(),
            access: Access::new(options.store.clone(), options.unknown_until),
            store: options.store,
            names: options.names,
            directory: options.directory,
            sessions: Arc::new(Sessions::new(options.live.clone(), Arc::clone(&usage))),
            usage,
            live: options.live,
            owner_views: options.owner_views,
            share_openings: ShareOpenings::default(),
            site: options.site,
            trusted_proxies: options.trusted_proxies,
            notice: options.notice,
            timeouts: options.timeouts,
            webcams: WebcamMeters::default(),
            plugins: Plugins::new(options.plugins),
            going_down: CancellationToken::new(),
        });
        tokio::spawn(changes::follow(Arc::downgrade(&relay)));
        let telling = Arc::downgrade(&relay);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(usage::INTERVAL).await;
                let Some(relay) = telling.upgrade() else { return };
                relay.store_usage().await;
                relay.cut_ended_visits().await;
            }
        });
        let sweeping = Arc::downgrade(&relay);
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                interval.tick().await;
                let Some(relay) = sweeping.upgrade() else { return };
                relay.sessions.sweep(SystemTime::now());
                metrics::gauge!("spoolway_open_streams").set(relay.sessions.count() as f64);
            }
        });
        relay
    }

    /// The names that lead here.
    pub fn names(&self) -> &SiteNames {
        &self.names
    }

    /// Requests and WebSockets open now.
    pub fn open_sessions(&self) -> usize {
        self.sessions.count()
    }

    /// The printers linked to this node.
    pub fn printers_here(&self) -> Vec<PrinterId> {
        self.directory.links_here().into_iter().map(|(printer, _)| printer).collect()
    }

    /// Whether the relay is going down.
    pub fn is_draining(&self) -> bool {
        self.going_down.is_cancelled()
    }

    /// Prepares for the end: agents are told to connect anew within `spread`, no new ones are taken, and WebSockets,
    /// which may last forever, are closed so that their clients come back to the next process.
    pub fn start_draining(&self, spread: Duration) {
        self.going_down.cancel();
        for (_, link) in self.directory.links_here() {
            link.drain(spread);
        }
    }
}
