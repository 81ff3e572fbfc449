//! The usual set: a service, a printer's server behind an agent, and an App Connection to it.

use std::net::SocketAddr;
use std::time::SystemTime;

use http::Method;
use http::request::Builder;
use model::Limits;

use crate::agent::TestAgent;
use crate::client::{Client, Exchange, Protocol};
use crate::service::{AppAccess, TestPrinter, TestService};

/// The name of a rig's plan.
const PLAN: &str = "rig";

/// A service, a printer's server behind an agent, and an App Connection to it.
pub struct Rig {
    /// The service.
    pub service: TestService,
    /// The printer; its account is on a plan of its own.
    pub printer: TestPrinter,
    /// The agent.
    pub agent: TestAgent,
    /// The App Connection.
    pub app: AppAccess,
}

impl Rig {
    /// Without limits.
    pub async fn start(origin: SocketAddr) -> Self {
        Self::limited(origin, Limits::default()).await
    }

    /// With the plan's limits.
    pub async fn limited(origin: SocketAddr, limits: Limits) -> Self {
        let service = TestService::start().await;
        let (printer, app) = Self::printer_on(&service, limits).await;
        let agent = TestAgent::start(&service, &printer, origin).await;
        Self { service, printer, agent, app }
    }

    /// A printer without an agent, and an App Connection to it.
    pub async fn printer_on(service: &TestService, limits: Limits) -> (TestPrinter, AppAccess) {
        service.store().set_plan(PLAN, SystemTime::now(), |plan| plan.limits = limits).await.unwrap();
        let printer = service.add_printer_on(Some(PLAN)).await;
        let app = service.app_connection(&printer.id).await;
        (printer, app)
    }

    /// Says whether the owner's plan includes App Connections.
    pub async fn set_supporter(&self, supporter: bool) {
        set_supporter(&self.service, supporter).await;
    }

    /// A client of the service.
    pub fn client(&self, protocol: Protocol) -> Client {
        Client::speaking(protocol, self.service.address())
    }

    /// A request that the App Connection lets in.
    pub fn request(&self, method: Method, path: &str) -> Builder {
        self.app.request(method, path)
    }

    /// Gets a path through the App Connection.
    pub async fn get(&self, protocol: Protocol, path: &str, headers: &[(&str, &str)]) -> Exchange {
        let authorization = self.app.bearer_header();
        let headers = [&[("authorization", authorization.as_str())], headers].concat();
        self.client(protocol).get(&self.app.host, path, &headers).await
    }
}

/// Says whether the plan of [`Rig`]s on this service includes App Connections.
pub async fn set_supporter(service: &TestService, supporter: bool) {
    service.store().set_plan(PLAN, SystemTime::now(), |plan| plan.supporter = supporter).await.unwrap();
}
