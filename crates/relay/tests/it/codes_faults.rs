//! Faults of the service itself are told as 600, and never as anything that makes an app forget its connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use cluster::{Directory, DirectoryError, Finding, Registration, Whereabouts};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use model::link::PrinterStatus;
use model::printing::PrinterState;
use model::{Label, Limits, PrinterId};
use relay::edge::{ConnectionLimits, Edge};
use relay::link::{Link, LinkBody, LinkBodyError, LinkError, Upgrade};
use relay::live::LivePrinters;
use relay::owner_views::OwnerViews;
use relay::relay::LinkDirectory;
use relay::upload::UploadBody;
use relay::{PluginOptions, PluginRegister, Relay, RelayOptions, Timeouts};
use store::ConnectionKind;
use testkit::{AppAccess, Client, Ending, Origin, Protocol, Rig, TestService};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Answers of a store that is down.
const REQUESTS: usize = 2000;

#[tokio::test]
async fn a_directory_that_fails_is_600() {
    for panics in [false, true] {
        let (_service, app, client) = serve_with(Arc::new(BrokenDirectory { panics })).await;
        expect_600(&app, client).await;
    }
}

#[tokio::test]
async fn a_link_that_panics_is_600() {
    let (_service, app, client) = serve_with(Arc::new(DirectoryOf(Arc::new(PanickingLink { on_call: true })))).await;
    expect_600(&app, client).await;
}

#[tokio::test]
async fn a_body_that_panics_breaks_off() {
    let (_service, app, client) = serve_with(Arc::new(DirectoryOf(Arc::new(PanickingLink { on_call: false })))).await;
    for protocol in Protocol::ALL {
        let authorization = app.bearer_header();
        let request = Request::get("/").header("host", &app.host).header("authorization", &authorization);
        let response = client(protocol).send(request.body(http_body_util::Empty::new()).unwrap()).await;
        // The panic may come before the head has left.
        if let Ok(response) = response {
            assert!(testkit::Exchange::read(response).await.body.is_err(), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn an_open_websocket_whose_stream_panics_is_closed_with_4600() {
    let (_service, app, client) = serve_with(Arc::new(DirectoryOf(Arc::new(PanickingLink { on_call: false })))).await;
    for protocol in Protocol::ALL {
        let authorization = app.bearer_header();
        let opened = client(protocol).websocket(&app.host, "/ws", &[("authorization", &authorization)]).await;
        let socket = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
        assert_eq!(socket.ending().await, Ending::closed(4600, "unknown"), "{protocol:?}");
    }
}

/// Whatever is asked while the store is down, nobody's app is told to forget its connection; what is known goes on.
#[tokio::test]
async fn while_the_store_is_down_nothing_is_said_that_apps_act_on() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let revoked = rig.service.app_connection(&rig.printer.id).await;
    rig.service.revoke(ConnectionKind::App, &revoked.id).await;
    let shared = rig.service.shared_connection(&rig.printer.id, Some("a password")).await;
    let known = testkit::wait_for_answer("a cached connection", async || {
        (rig.get(Protocol::Http1, "/", &[]).await.status == 200).then_some(())
    });
    known.await;
    rig.service.store().close().await;

    let unknown = format!("app-{}.{}", Label::generate(), rig.service.relay().names().printers_domain);
    let right = rig.app.bearer_header();
    let hosts = [&rig.app.host, &revoked.host, &shared.host, &unknown];
    let authorizations = [Some(right.as_str()), Some("Bearer wrong"), Some("Basic bm86Ym9keQ=="), None];
    let mut connections = [
        rig.client(Protocol::Http1).connect("localhost").await.unwrap(),
        rig.client(Protocol::Http2).connect("localhost").await.unwrap(),
    ];
    let mut n_of_known = 0;
    for n in 0..REQUESTS {
        let (host, authorization) = (hosts[n % 4], authorizations[n / 4 % 4]);
        let mut request = Request::get("/").header("host", host);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(http_body_util::Empty::new()).unwrap();
        let response = connections[n % 2].send(request).await.unwrap();
        let exchange = testkit::Exchange::read(response).await;
        if host == &rig.app.host && authorization == Some(&right) {
            n_of_known += 1;
            assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "hello"));
        } else {
            assert_eq!(exchange.status.as_u16(), 600, "{host} with {authorization:?}");
        }
    }
    assert!(n_of_known > 0);
    for protocol in Protocol::ALL {
        for host in hosts {
            let opened = rig.client(protocol).websocket(host, "/ws", &[("authorization", "Bearer wrong")]).await;
            assert_eq!(opened.err().unwrap().status.as_u16(), 600, "{host} in {protocol:?}");
        }
    }
}

/// A file of nonsense in place of the database may fail every answer; it must not make one up.
#[tokio::test]
async fn a_damaged_database_is_600() {
    let origin = Origin::saying("hello").await;
    let mut rig = Rig::start(origin.address()).await;
    let other = rig.service.app_connection(&rig.printer.id).await;
    // The restart moves everything from the log into the file and leaves nothing of it in memory.
    rig.service.restart().await;
    let database = rig.service.database();
    let length = std::fs::metadata(&database).unwrap().len();
    // In place: the service holds the file open.
    let mut file = std::fs::OpenOptions::new().write(true).open(&database).unwrap();
    io::Write::write_all(&mut file, &vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    drop(file);
    for protocol in Protocol::ALL {
        for (host, authorization) in [(&rig.app.host, rig.app.bearer_header()), (&other.host, "Bearer wrong".into())] {
            let exchange = rig.client(protocol).get(host, "/", &[("authorization", &authorization)]).await;
            let code = exchange.status.as_u16();
            assert!(!(603..=606).contains(&code), "{code} from {host} in {protocol:?}");
        }
    }
}

async fn expect_600(app: &AppAccess, client: impl Fn(Protocol) -> Client) {
    let authorization = app.bearer_header();
    for protocol in Protocol::ALL {
        let exchange = client(protocol).get(&app.host, "/", &[("authorization", &authorization)]).await;
        assert_eq!(exchange.status.as_u16(), 600, "{protocol:?}");
        assert_eq!(exchange.header("x-spoolway-error"), "600");
        assert_eq!(exchange.header("retry-after"), "5");
        let opened = client(protocol).websocket(&app.host, "/ws", &[("authorization", &authorization)]).await;
        assert_eq!(opened.err().unwrap().status.as_u16(), 600, "{protocol:?}");
        // Strangers are refused before anything of it is touched.
        let stranger = client(protocol).get(&app.host, "/", &[]).await;
        assert_eq!(stranger.status.as_u16(), 606, "{protocol:?}");
    }
}

/// A backup was restored: what was made after it is missing, and nobody may be told to forget it.
#[tokio::test]
async fn for_a_while_after_a_restored_backup_nothing_is_said_to_be_unknown() {
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let service = TestService::start_with(|config| config.site.unknown_until = Some(soon)).await;
    let (printer, app) = Rig::printer_on(&service, Limits::default()).await;
    let domain = service.domain();
    let client = Client::new(service.address());
    let label = Label::generate();
    for kind in ["app", "shared", "p"] {
        let exchange = client.get(&format!("{kind}-{label}.{domain}"), "/", &[("authorization", "Bearer x")]).await;
        assert_eq!(exchange.status.as_u16(), 600, "{kind}");
        assert!(!exchange.header("retry-after").is_empty());
    }
    let info = client.get(&domain, "/api/appconnection/info", &[("apptoken", "unknown")]).await;
    assert_eq!(info.status.as_u16(), 600);
    // What the store does know is said as ever.
    assert_eq!(client.get(&app.host, "/", &[("authorization", "Bearer x")]).await.status.as_u16(), 606);
    assert_eq!(client.get(&app.host, "/", &[("authorization", &app.bearer_header())]).await.status.as_u16(), 601);
    service.store().revoke_connection(ConnectionKind::App, &app.id, SystemTime::now()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = client.get(&app.host, "/", &[("authorization", &app.bearer_header())]).await.status.as_u16();
        if status == 604 {
            break;
        }
        assert!(status == 601 && Instant::now() < deadline, "{status}");
    }
    drop(printer);

    let over = SystemTime::now() - Duration::from_secs(1);
    let service = TestService::start_with(|config| config.site.unknown_until = Some(over)).await;
    let host = format!("app-{label}.{}", service.domain());
    let exchange = Client::new(service.address()).get(&host, "/", &[]).await;
    assert_eq!(exchange.status.as_u16(), 603, "its time is over");
}

/// A relay of its own on the store of a service, with another directory.
async fn serve_with(directory: LinkDirectory) -> (TestService, AppAccess, impl Fn(Protocol) -> Client) {
    let service = TestService::start().await;
    let (_, app) = Rig::printer_on(&service, Limits::default()).await;
    let relay = Relay::start(RelayOptions {
        store: service.store().clone(),
        names: service.relay().names().clone(),
        live: LivePrinters::new(Arc::clone(&directory)),
        owner_views: OwnerViews::default(),
        directory,
        site: Box::new(|_| async { Response::new(relay::body::RelayBody::Empty) }.boxed()),
        trusted_proxies: Vec::new(),
        notice: None,
        timeouts: Timeouts::default(),
        unknown_until: None,
        plugins: PluginOptions {
            register: PluginRegister::new(service.data().join("plugin-key.pem")),
            spill_directory: service.data().to_owned(),
            dictionary_file: "/nowhere".into(),
            pairing: false,
        },
    });
    let edge = Edge {
        relay,
        certificates: None,
        limits: ConnectionLimits::new(100, 100),
        tracker: TaskTracker::new(),
        shutdown: CancellationToken::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(edge.serve(listener));
    (service, app, move |protocol| Client::speaking(protocol, address))
}

/// Does not know where anything is.
struct BrokenDirectory {
    panics: bool,
}

impl Directory<Arc<dyn Link>> for BrokenDirectory {
    fn find<'a>(&'a self, _: &'a PrinterId) -> Finding<'a, Arc<dyn Link>> {
        assert!(!self.panics, "a panic that a test wants");
        Box::pin(std::future::ready(Err(DirectoryError)))
    }
    fn register(&self, _: &PrinterId, _: Arc<dyn Link>) -> (Registration, Option<Arc<dyn Link>>) {
        unreachable!("no agent connects")
    }
    fn remove(&self, _: &PrinterId, _: Registration) {}
    fn links_here(&self) -> Vec<(PrinterId, Arc<dyn Link>)> {
        Vec::new()
    }
}

/// Has the same link for every printer.
struct DirectoryOf(Arc<dyn Link>);

impl Directory<Arc<dyn Link>> for DirectoryOf {
    fn find<'a>(&'a self, _: &'a PrinterId) -> Finding<'a, Arc<dyn Link>> {
        Box::pin(std::future::ready(Ok(Whereabouts::Here(Arc::clone(&self.0)))))
    }
    fn register(&self, _: &PrinterId, _: Arc<dyn Link>) -> (Registration, Option<Arc<dyn Link>>) {
        unreachable!("no agent connects")
    }
    fn remove(&self, _: &PrinterId, _: Registration) {}
    fn links_here(&self) -> Vec<(PrinterId, Arc<dyn Link>)> {
        Vec::new()
    }
}

/// Panics when it is called, or when what it gave is read.
struct PanickingLink {
    on_call: bool,
}

impl Link for PanickingLink {
    fn call(&self, _: Request<UploadBody>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        assert!(!self.on_call, "a panic that a test wants");
        std::future::ready(Ok(Response::new(Box::pin(PanickingBytes) as LinkBody))).boxed()
    }
    fn open_websocket(&self, _: Request<()>) -> BoxFuture<'_, Result<Upgrade, LinkError>> {
        assert!(!self.on_call, "a panic that a test wants");
        std::future::ready(Ok(Upgrade::Accepted(Response::new(()), Box::new(PanickingBytes)))).boxed()
    }
    fn call_agent(&self, _: Request<Bytes>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        unreachable!("its agent has no abilities")
    }
    fn printer_status(&self) -> PrinterStatus {
        PrinterStatus::default()
    }
    fn printer_state(&self) -> Option<PrinterState> {
        None
    }
    fn agent_version(&self) -> String {
        String::new()
    }
    fn has_capability(&self, _: &str) -> bool {
        false
    }
    fn connected_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn round_trip(&self) -> Option<Duration> {
        None
    }
    fn drain(&self, _: Duration) {}
    fn close_when_idle(&self) {}
    fn close(&self) {}
    fn open_streams(&self) -> usize {
        0
    }
}

struct PanickingBytes;

impl http_body::Body for PanickingBytes {
    type Data = Bytes;
    type Error = LinkBodyError;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, LinkBodyError>>> {
        panic!("a panic that a test wants")
    }
}

impl AsyncRead for PanickingBytes {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        panic!("a panic that a test wants")
    }
}

impl AsyncWrite for PanickingBytes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
