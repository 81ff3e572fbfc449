//! `spoolway serve`: starts the service, and ends it in order.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use cluster::InProcess;
use http_body_util::BodyExt;
use relay::body::RelayBody;
use relay::edge::{Certificates, ConnectionLimits, Edge};
use relay::link::Link;
use relay::live::LivePrinters;
use relay::owner_views::OwnerViews;
use relay::relay::LinkDirectory;
use relay::{Authority, Notice, PluginOptions, PluginRegister, Relay, RelayOptions, SiteNames};
use store::{DatabaseUrl, SiteAddress, Store, TokenPurpose};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use web::oidc::Provider;
use web::outbound::{Outbound, OutboundOptions};
use web::passkeys::Passkeys;
use web::{Readiness, ReadyCheck, SiteState};

use crate::config::Config;
use crate::plugin::{PLUGIN_DICTIONARY, PLUGIN_KEY};
use crate::{demo, names_check, telemetry};

/// Open requests get this long at the end.
const GRACE: Duration = Duration::from_secs(30);
/// Agents come back within this time at the least; the next process takes them one by one.
const MIN_DRAIN_SPREAD: Duration = Duration::from_secs(2);
/// Agents that come back in a second, where there are many: a third of what one node was measured to take.
const COMING_BACK_PER_SECOND: u32 = 300;
/// Nobody waits longer than that: the process is gone by then.
const MAX_DRAIN_SPREAD: Duration = Duration::from_secs(25);
/// Files that the process needs besides connections: database, logs, certificates.
const RESERVED_FILES: u64 = 64;
/// The setup link is used on the day that the service is installed; each start prints a new one.
const SETUP_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How often dead connections' tombstones and old changes are cleared away.
const PRUNE_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// A running service.
pub struct Service {
    /// Where it listens without TLS, or with it if that is the only listener.
    pub address: SocketAddr,
    /// Where it listens with TLS, if that is a second listener.
    pub tls_address: Option<SocketAddr>,
    /// The relay inside.
    pub relay: Arc<Relay>,
    /// What is known of its printers.
    pub live: LivePrinters,
    /// Hands owners over to their printers' hosts.
    pub owner_views: OwnerViews,
    /// Its store.
    pub store: Store,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl Service {
    /// Opens the store, binds the listeners, and serves.
    ///
    /// # Errors
    /// If a part cannot start, with what was attempted.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let store = Store::open(&DatabaseUrl::in_data_directory(&config.data))
            .await
            .with_context(|| format!("cannot use the data directory `{}`", config.data.display()))?;
        let listener = bind(config.listen).await?;
        let address = listener.local_addr()?;
        let tls_listener = match &config.tls {
            Some((_, Some(address))) => Some(bind(*address).await?),
            _ => None,
        };
        let tls_address = tls_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let names = names(config, address, tls_address)?;
        let address_of_site = SiteAddress {
            scheme: names.scheme.clone(),
            domain: names.domain.to_string(),
            printers_domain: names.printers_domain.to_string(),
        };
        store.set_site_address(&address_of_site).await.context("cannot write the service's address to the database")?;

        let shutdown = CancellationToken::new();
        let tracker = TaskTracker::new();
        let directory: LinkDirectory = Arc::new(InProcess::<Arc<dyn Link>>::default());
        let live = LivePrinters::new(Arc::clone(&directory));
        let owner_views = OwnerViews::default();
        let plugins = PluginRegister::new(config.data.join(PLUGIN_KEY));
        let site = site_state(config, &names, &store, &live, &plugins, &owner_views, &shutdown)?;
        let following = tokio::spawn(web::watch_prints(site.clone()));
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled().await;
                following.abort();
            }
        });
        let relay = Relay::start(RelayOptions {
            store: store.clone(),
            names,
            directory,
            live: live.clone(),
            owner_views: owner_views.clone(),
            site: site_handler(site),
            trusted_proxies: config.trusted_proxies.clone(),
            notice: config.shared_notice.then(|| Notice { abuse_contact: config.site.abuse_contact.clone() }),
            timeouts: config.timeouts,
            unknown_until: config.site.unknown_until,
            plugins: plugin_options(config, plugins),
        });
        let limits = ConnectionLimits::new(max_connections(config), config.max_connections_per_address);
        let edge = |certificates| Edge {
            relay: Arc::clone(&relay),
            certificates,
            limits: limits.clone(),
            tracker: tracker.clone(),
            shutdown: shutdown.clone(),
        };
        let certificates = match &config.tls {
            Some((files, _)) => Some(Certificates::follow(files.clone(), shutdown.clone())?),
            None => None,
        };
        match tls_listener {
            Some(tls_listener) => {
                tokio::spawn(edge(certificates).serve(tls_listener));
                tokio::spawn(edge(None).serve(listener));
            }
            None => {
                tokio::spawn(edge(certificates).serve(listener));
            }
        }
        tokio::spawn(prune(store.clone(), shutdown.clone()));
        Ok(Self { address, tls_address, relay, live, owner_views, store, shutdown, tracker })
    }

    /// Ends the service: no new connections, agents are told to connect anew, open requests get 30 s.
    pub async fn stop(self) {
        self.relay.start_draining(drain_spread(self.relay.printers_here().len()));
        self.shutdown.cancel();
        self.tracker.close();
        let open = self.relay.open_sessions();
        tracing::info!(open, "going down; open requests may finish");
        if tokio::time::timeout(GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!(open = self.relay.open_sessions(), "requests that did not finish in time are cut");
        }
        self.relay.store_usage().await;
        self.store.close().await;
    }
}

/// Runs the service until SIGTERM or SIGINT; a second signal ends it at once.
///
/// # Errors
/// If a part cannot start.
pub async fn run(config: Config, with_demo: bool) -> anyhow::Result<()> {
    telemetry::start_logging();
    keep_memory_to_itself();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if let Some(address) = config.metrics_listen {
        let address = telemetry::serve_metrics(address).await?;
        say(format_args!("metrics on http://{address}/metrics"));
    }
    let names = config.clone();
    // Beside the start, because a resolver may be slow, or not there yet.
    tokio::spawn(async move {
        for warning in names.check_names(&names_check::system_resolver).await {
            tracing::warn!("{warning}");
        }
    });
    let service = if with_demo { demo::start_service(&config).await? } else { Service::start(&config).await? };
    let scheme = if config.tls.is_some() && service.tls_address.is_none() { "https" } else { "http" };
    if let Some(address) = service.tls_address {
        say(format_args!("TLS on https://{address}"));
    }
    let demo = if with_demo { Some(demo::attach(&service).await?) } else { None };
    say(format_args!("spoolway is ready on {scheme}://{} (domain {})", service.address, service.relay.names().domain));
    if let Some(demo) = &demo {
        demo.print();
    } else if let Some(link) = setup_link(&service.store, service.relay.names()).await? {
        say(format_args!(""));
        say(format_args!("There is no administrator yet. Whoever opens this link within a day becomes it:"));
        say(format_args!("  {link}"));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let stopping = service.stop();
    tokio::select! {
        () = stopping => {}
        _ = terminate.recv() => tracing::warn!("ended at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("ended at once by a second signal"),
    }
    drop(demo);
    Ok(())
}

/// Tells whoever started the service. Nobody may be reading any more, as behind `| head -1`: the service does not depend
/// on it.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// All of it lies in the data directory.
fn plugin_options(config: &Config, register: PluginRegister) -> PluginOptions {
    PluginOptions {
        register,
        spill_directory: config.data.clone(),
        dictionary_file: config.data.join(PLUGIN_DICTIONARY),
        pairing: config.site.pairing,
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on `{address}`; is another service using the port? `--listen 127.0.0.1:0` picks a free one"
        )
    })
}

/// The names under which visitors come.
fn names(config: &Config, address: SocketAddr, tls_address: Option<SocketAddr>) -> anyhow::Result<SiteNames> {
    let has_tls = config.tls.is_some();
    let scheme = config.public_scheme.clone().unwrap_or_else(|| {
        // Behind a proxy, visitors see the proxy's scheme; a name that is not this machine's is hardly without TLS.
        let is_local = config.domain.as_ref().is_none_or(|domain| domain.host() == "localhost");
        let behind_proxy = !config.trusted_proxies.is_empty() && !is_local;
        if (has_tls && tls_address.is_none()) || behind_proxy || (has_tls && !is_local) { "https" } else { "http" }
            .to_owned()
    });
    let domain = match &config.domain {
        Some(domain) => domain.clone(),
        None => {
            let usual_port = if scheme == "https" { 443 } else { 80 };
            let port = if scheme == "https" { tls_address.unwrap_or(address).port() } else { address.port() };
            let text = if port == usual_port { "localhost".to_owned() } else { format!("localhost:{port}") };
            text.parse::<Authority>()?
        }
    };
    let printers_domain = config.printers_domain.clone().unwrap_or_else(|| domain.clone());
    Ok(SiteNames { scheme, domain, printers_domain })
}

/// What the site needs.
fn site_state(
    config: &Config,
    names: &SiteNames,
    store: &Store,
    live: &LivePrinters,
    plugins: &PluginRegister,
    owner_views: &OwnerViews,
    shutdown: &CancellationToken,
) -> anyhow::Result<SiteState> {
    let origin = format!("{}://{}", names.scheme, names.domain);
    let oidc = match &config.provider {
        Some(settings) => Some(Arc::new(Provider::new(settings.clone(), &origin)?)),
        None => None,
    };
    let outbound = Outbound::new(OutboundOptions::new(config.site.allow_private_targets))
        .context("cannot prepare requests to other servers")?;
    Ok(SiteState {
        store: store.clone(),
        live: live.clone(),
        plugins: plugins.clone(),
        owner_views: owner_views.clone(),
        names: Arc::new(names.clone()),
        settings: Arc::new(config.site.clone()),
        mailer: config.mailer.clone(),
        oidc,
        outbound,
        passkeys: Passkeys::new(&origin).map(Arc::new),
        ready: ready_check(store, shutdown),
        attempts: Arc::default(),
        viewers: Default::default(),
        stopping: shutdown.clone(),
        second_factors: Arc::default(),
    })
}

/// Within which time so many agents are to come back.
fn drain_spread(n_agents: usize) -> Duration {
    let seconds = u32::try_from(n_agents).unwrap_or(u32::MAX) / COMING_BACK_PER_SECOND;
    Duration::from_secs(seconds.into()).clamp(MIN_DRAIN_SPREAD, MAX_DRAIN_SPREAD)
}

fn ready_check(store: &Store, shutdown: &CancellationToken) -> ReadyCheck {
    let (store, shutdown) = (store.clone(), shutdown.clone());
    Arc::new(move || {
        let (store, shutdown) = (store.clone(), shutdown.clone());
        Box::pin(async move {
            if shutdown.is_cancelled() {
                return Readiness::NotReady { reason: "the service is going down" };
            }
            match store.ping().await {
                Ok(()) => Readiness::Ready,
                Err(error) => {
                    tracing::warn!(%error, "not ready: the database does not answer");
                    Readiness::NotReady { reason: "the database does not answer" }
                }
            }
        })
    })
}

fn site_handler(state: SiteState) -> relay::body::SiteHandler {
    let router = web::router(state);
    Box::new(move |request| {
        let router = router.clone();
        Box::pin(async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            response.map(|body| RelayBody::Site(body.map_err(Into::into).boxed_unsync()))
        })
    })
}

/// A service that has no administrator prints a link with which one is made: there is no password that anybody could
/// know beforehand.
async fn setup_link(store: &Store, names: &SiteNames) -> anyhow::Result<Option<String>> {
    if store.has_any_admin().await? {
        return Ok(None);
    }
    let now = std::time::SystemTime::now();
    let token = store.issue_token(TokenPurpose::Setup, None, None, None, SETUP_LIFETIME, now).await?;
    Ok(Some(format!("{}://{}/setup?token={}", names.scheme, names.domain, token.expose())))
}

/// What passes through is in memory for a moment, in clear: a crash must not write it to a file that outlives it.
fn keep_memory_to_itself() {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::warn!(%error, "a crash of the service would write its memory to a file");
    }
}

/// What the limit of open files leaves for connections.
fn max_connections(config: &Config) -> usize {
    let open_files = rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap_or(1024);
    let by_files = open_files.saturating_sub(RESERVED_FILES) / 10 * 9;
    let by_files = usize::try_from(by_files).unwrap_or(usize::MAX);
    config.max_connections.map_or(by_files, |configured| configured.min(by_files))
}

async fn prune(store: Store, shutdown: CancellationToken) {
    loop {
        match store.prune(std::time::SystemTime::now()).await {
            Ok(pruned) => tracing::debug!(?pruned, "cleared away what has expired"),
            Err(error) => tracing::warn!(%error, "what has expired was not cleared away"),
        }
        tokio::select! {
            () = tokio::time::sleep(PRUNE_INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_agents_there_are_the_more_time_they_get_to_come_back() {
        let seconds = |n_agents| drain_spread(n_agents).as_secs();
        assert_eq!([seconds(0), seconds(500), seconds(3000), seconds(1_000_000)], [2, 2, 10, 25]);
    }
}
