//! A service in process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::request::Builder;
use http::{Method, Request, header};
use model::{AccountId, ConnectionId, PrinterId, Secret};
use relay::edge::DEFAULT_PER_ADDRESS;
use relay::live::LivePrinters;
use relay::owner_views::OwnerViews;
use relay::{Relay, Timeouts};
use server::config::Config;
use server::serve::Service;
use store::{ConnectionKind, EmailAddress, PasswordHash, Store};
use tempfile::TempDir;

use crate::certificates::TestCertificates;

/// A running service with a database of its own.
pub struct TestService {
    service: Option<Service>,
    config: Config,
    _data: Option<TempDir>,
}

/// A printer that was added to an account, with the token for its agent.
#[derive(Clone, Debug)]
pub struct TestPrinter {
    /// Its id.
    pub id: PrinterId,
    /// The owner's account.
    pub account: AccountId,
    /// The owner's address.
    pub owner: EmailAddress,
    /// Enrols an agent, once.
    pub token: Secret,
}

/// An App Connection with its secrets.
#[derive(Clone, Debug)]
pub struct AppAccess {
    /// Its id.
    pub id: ConnectionId,
    /// Its host name, with the port.
    pub host: String,
    /// The basic pair.
    pub user: String,
    /// The basic pair.
    pub password: Secret,
    /// The bearer token.
    pub bearer: Secret,
    /// Opens the App APIs.
    pub app_token: Secret,
}

impl AppAccess {
    /// A value for `Authorization`.
    pub fn bearer_header(&self) -> String {
        format!("Bearer {}", self.bearer.expose())
    }

    /// The other value for `Authorization`.
    pub fn basic_header(&self) -> String {
        basic_header(&self.user, self.password.expose())
    }

    /// A request that the connection lets in.
    pub fn request(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, self.bearer_header())
    }
}

/// A Shared Connection.
#[derive(Clone, Debug)]
pub struct SharedAccess {
    /// Its id.
    pub id: ConnectionId,
    /// Its host name, with the port.
    pub host: String,
}

/// A value for `Authorization` (RFC 7617).
pub fn basic_header(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

impl TestService {
    /// Starts one with the built-in configuration, on a free port.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts one whose configuration `change` has altered.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            listen_is_default: false,
            domain: None,
            printers_domain: None,
            public_scheme: None,
            data: data.path().to_owned(),
            trusted_proxies: Vec::new(),
            metrics_listen: None,
            max_connections: None,
            max_connections_per_address: DEFAULT_PER_ADDRESS,
            shared_notice: true,
            timeouts: Timeouts::default(),
            site: web::SiteSettings::default(),
            mailer: None,
            provider: None,
            tls: None,
        };
        change(&mut config);
        let service = Service::start(&config).await.unwrap();
        Self { service: Some(service), config, _data: Some(data) }
    }

    /// Starts one with TLS on its only listener, as `spoolway.localhost`.
    pub async fn start_with_tls(certificates: &TestCertificates) -> Self {
        Self::start_with(|config| {
            config.tls = Some((certificates.files(), None));
            config.domain = Some("spoolway.localhost".parse().unwrap());
        })
        .await
    }

    /// Stops the service in order and starts it again on the same port and data.
    pub async fn restart(&mut self) {
        let address = self.address();
        if let Some(service) = self.service.take() {
            service.stop().await;
        }
        self.config.listen = address;
        self.service = Some(Service::start(&self.config).await.unwrap());
    }

    /// Stops the service as SIGTERM does.
    pub async fn stop(mut self) {
        if let Some(service) = self.service.take() {
            service.stop().await;
        }
    }

    fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service().address
    }

    /// Where it listens with TLS, if that is a second listener.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.service().tls_address
    }

    /// The site's host, with the port.
    pub fn domain(&self) -> String {
        self.relay().names().domain.to_string()
    }

    /// The relay inside.
    pub fn relay(&self) -> &Arc<Relay> {
        &self.service().relay
    }

    /// What is known of its printers.
    pub fn live(&self) -> &LivePrinters {
        &self.service().live
    }

    /// Hands owners over to their printers' hosts.
    pub fn owner_views(&self) -> &OwnerViews {
        &self.service().owner_views
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.service().store
    }

    /// The directory of its database.
    pub fn data(&self) -> &Path {
        &self.config.data
    }

    /// The file of its database.
    pub fn database(&self) -> PathBuf {
        self.config.data.join("spoolway.db")
    }

    /// Adds an account on `plan` with a printer.
    pub async fn add_printer_on(&self, plan: Option<&str>) -> TestPrinter {
        let now = SystemTime::now();
        let owner: EmailAddress = format!("{}@example.invalid", AccountId::generate()).parse().unwrap();
        let account = self.store().add_account(&owner, plan, None, now).await.unwrap();
        let new = self.store().add_printer(&owner, &"Printer".parse().unwrap(), now).await.unwrap();
        TestPrinter { id: new.id, account, owner, token: new.token }
    }

    /// Adds an account without limits with a printer.
    pub async fn add_printer(&self) -> TestPrinter {
        self.add_printer_on(None).await
    }

    /// Issues a token with which another agent can take a printer over.
    pub async fn enrol_anew(&self, printer: &TestPrinter) -> TestPrinter {
        let new = self.store().issue_enrolment(&printer.id, SystemTime::now()).await.unwrap();
        TestPrinter { token: new.token, ..printer.clone() }
    }

    /// Gives an app access to a printer.
    pub async fn app_connection(&self, printer: &PrinterId) -> AppAccess {
        self.app_connection_until(printer, None).await
    }

    /// Gives an app access to a printer until `expires_at`.
    pub async fn app_connection_until(&self, printer: &PrinterId, expires_at: Option<SystemTime>) -> AppAccess {
        let name = "Test app".parse().unwrap();
        let new = self.store().create_app_connection(printer, &name, expires_at, SystemTime::now()).await.unwrap();
        AppAccess {
            id: new.id,
            host: format!("app-{}.{}", new.label, self.relay().names().printers_domain),
            user: new.basic_user,
            password: new.basic_password,
            bearer: new.bearer,
            app_token: new.app_token,
        }
    }

    /// Makes a link to a printer, with a password or open.
    pub async fn shared_connection(&self, printer: &PrinterId, password: Option<&str>) -> SharedAccess {
        let hash = password.map(|password| PasswordHash::create(&Secret::new(password)).unwrap());
        let new = self.store().create_shared_connection(printer, hash.as_ref(), None, SystemTime::now()).await.unwrap();
        SharedAccess { id: new.id, host: format!("shared-{}.{}", new.label, self.relay().names().printers_domain) }
    }

    /// Revokes a connection as an administrator does.
    pub async fn revoke(&self, kind: ConnectionKind, id: &ConnectionId) {
        self.store().revoke_connection(kind, id, SystemTime::now()).await.unwrap();
    }
}
