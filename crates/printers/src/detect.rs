//! Finds out which software answers at a printer's address, and what is wrong if none does.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::link::PrinterStatus;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::PrinterUrl;
use crate::connector::{ConnectError, PrinterConnector};
use crate::lan_address::lan_address;

/// For one question. A Raspberry Pi in the middle of a print answers within one second.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The answers that matter are shorter. What answers may be anything, so no more is read.
const MAX_BODY: usize = 64 * 1024;
/// Versions are shorter; longer ones are cut, since they are shown to people.
const MAX_VERSION: usize = 64;

/// What software says it is.
pub mod software {
    /// OctoPrint.
    pub const OCTOPRINT: &str = "octoprint";
    /// Moonraker, with Klipper behind it.
    pub const MOONRAKER: &str = "moonraker";
    /// PrusaLink.
    pub const PRUSALINK: &str = "prusalink";
    /// A printer of Bambu Lab's.
    pub const BAMBU: &str = "bambu";
    /// Elegoo's Centauri Carbon.
    pub const ELEGOO_CC1: &str = "elegoo-cc1";
    /// Elegoo's Centauri Carbon 2.
    pub const ELEGOO_CC2: &str = "elegoo-cc2";
    /// The [virtual printer](crate::virtual_printer).
    pub const VIRTUAL: &str = "virtual";
    /// Anything else.
    pub const UNKNOWN: &str = "unknown";
}

/// Asks what listens at `target`, which is an HTTP address; `tls` is used where it is an `https` one.
///
/// Takes a few seconds where nothing answers. It never fails: what is wrong is told in
/// [`PrinterStatus::problem`].
pub async fn detect(target: &PrinterUrl, tls: &Arc<rustls::ClientConfig>) -> PrinterStatus {
    let mut probe = match PrinterConnector::new(target.clone(), tls, TIMEOUT) {
        Ok(connector) => Probe { connector, local: None },
        Err(error) => return unreachable(&error, None),
    };
    let found = identify(&mut probe).await;
    let lan_ip = lan_address(probe.local).map(|address| address.to_string()).unwrap_or_default();
    match found {
        Ok(found) => PrinterStatus {
            reachable: true,
            software: found.software.to_owned(),
            software_version: found.version,
            lan_ip,
            problem: found.problem,
        },
        Err(error) => unreachable(&error, Some(lan_ip)),
    }
}

fn unreachable(error: &dyn std::error::Error, lan_ip: Option<String>) -> PrinterStatus {
    PrinterStatus {
        reachable: false,
        software: software::UNKNOWN.to_owned(),
        software_version: String::new(),
        lan_ip: lan_ip.unwrap_or_default(),
        problem: error.to_string(),
    }
}

#[derive(Debug)]
struct Found {
    software: &'static str,
    version: String,
    problem: String,
}

impl Found {
    fn new(software: &'static str, version: &str) -> Self {
        let version = version.chars().filter(|letter| !letter.is_control()).take(MAX_VERSION).collect();
        Self { software, version, problem: String::new() }
    }
}

/// Moonraker is asked first, because with its `octoprint_compat` component it also answers as OctoPrint does.
async fn identify(probe: &mut Probe) -> Result<Found, ProbeError> {
    let moonraker = probe.get("/server/info").await;
    match &moonraker {
        Ok(answer) => {
            if let Some(found) = as_moonraker(answer) {
                return Ok(found);
            }
        }
        Err(error @ (ProbeError::Connect(_) | ProbeError::Silent(_))) => return Err(error.clone()),
        // Some servers cut the connection on paths that they do not know.
        Err(ProbeError::NotHttp(_)) => {}
    }
    let answer = probe.get("/api/version").await?;
    if let Some(found) = as_prusalink(&answer).or_else(|| as_octoprint_or_virtual(&answer)) {
        return Ok(found);
    }
    // OctoPrint tells its version only to those who may see its status. Its login page shows what it is.
    if matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
        && let Ok(login) = probe.get("/login/").await
        && login.text().contains("<title>OctoPrint")
    {
        return Ok(Found::new(software::OCTOPRINT, ""));
    }
    let target = probe.connector.target();
    let problem = match answer.status {
        // What a proxy says of the software behind it, and OctoPrint of itself while it starts.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            format!(
                "`{target}` answers {}: the printer's software is not running, or still starting",
                answer.status.as_u16()
            )
        }
        _ => format!(
            "`{target}` answers neither as OctoPrint nor as Moonraker or PrusaLink; requests are passed on all the same"
        ),
    };
    Ok(Found { problem, ..Found::new(software::UNKNOWN, "") })
}

fn as_moonraker(answer: &Answer) -> Option<Found> {
    #[derive(Deserialize)]
    struct ServerInfo {
        result: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        moonraker_version: String,
    }
    #[derive(Deserialize)]
    struct Refused {
        error: Reason,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: u16,
        #[serde(rename = "message")]
        _message: String,
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        // The form of all its errors; the code repeats the status.
        let refused: Refused = answer.json()?;
        return (refused.error.code == 401).then(|| Found::new(software::MOONRAKER, ""));
    }
    let info: ServerInfo = answer.json()?;
    Some(Found::new(software::MOONRAKER, &info.result.moonraker_version))
}

/// PrusaLink says what it is, where OctoPrint would; some versions in OctoPrint's own words, for slicers' sake. To
/// strangers it shows a challenge, which OctoPrint never does.
fn as_prusalink(answer: &Answer) -> Option<Found> {
    #[derive(Deserialize)]
    struct Version {
        text: String,
    }
    /// The realms of the firmware, and of the program for the Raspberry Pi.
    const REALMS: [&str; 2] = ["Printer API", "Administrator"];
    /// How it asks for a user or, in old firmware, for a key.
    const SCHEMES: [&str; 2] = ["Digest", "ApiKey"];
    const NAME: &str = "PrusaLink";
    if answer.status == StatusCode::UNAUTHORIZED {
        let is_realm = |challenge: &http_auth::ChallengeRef<'_>| {
            let realm = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case("realm"));
            let is_known = realm.is_some_and(|(_, realm)| REALMS.contains(&realm.to_unescaped().as_str()));
            is_known && SCHEMES.iter().any(|scheme| challenge.scheme.eq_ignore_ascii_case(scheme))
        };
        let texts = answer.challenges.iter().filter_map(|value| value.to_str().ok());
        let mut challenges = texts.filter_map(|text| http_auth::parse_challenges(text).ok()).flatten();
        return challenges.any(|challenge| is_realm(&challenge)).then(|| Found::new(software::PRUSALINK, ""));
    }
    let version: Version = answer.json()?;
    let (_, number) = version.text.split_once(NAME)?;
    Some(Found::new(software::PRUSALINK, number.trim().trim_end_matches(')')))
}

fn as_octoprint_or_virtual(answer: &Answer) -> Option<Found> {
    #[derive(Deserialize)]
    struct Version {
        server: String,
        #[serde(default)]
        version: String,
        #[serde(default)]
        text: String,
    }
    let version: Version = answer.json()?;
    if version.server == crate::virtual_printer::SERVER_NAME {
        return Some(Found::new(software::VIRTUAL, &version.version));
    }
    version.text.starts_with("OctoPrint").then(|| Found::new(software::OCTOPRINT, &version.server))
}

/// Why a question got no answer.
#[derive(Clone, Debug, Error)]
enum ProbeError {
    #[error("{0}")]
    Connect(Arc<ConnectError>),
    #[error("`{0}` accepts connections but does not answer; is the printer's software overloaded or stuck?")]
    Silent(PrinterUrl),
    #[error("`{0}` does not answer in HTTP; is the port right?")]
    NotHttp(PrinterUrl),
}

struct Probe {
    connector: PrinterConnector,
    /// Where the last connection left from.
    local: Option<std::net::IpAddr>,
}

struct Answer {
    status: StatusCode,
    /// How it asks who we are.
    challenges: Vec<HeaderValue>,
    body: Bytes,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Probe {
    async fn get(&mut self, path: &'static str) -> Result<Answer, ProbeError> {
        let connection = self.connector.connect().await.map_err(|error| ProbeError::Connect(Arc::new(error)))?;
        self.local = Some(connection.local);
        let target = self.connector.target();
        match tokio::time::timeout(TIMEOUT, ask(target, TokioIo::new(connection.io), path)).await {
            Ok(answer) => answer.map_err(|_| ProbeError::NotHttp(target.clone())),
            Err(_) => Err(ProbeError::Silent(target.clone())),
        }
    }
}

async fn ask(
    target: &PrinterUrl,
    io: TokioIo<Box<dyn crate::connector::PrinterIo>>,
    path: &'static str,
) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static(path);
    if let Ok(host) = HeaderValue::from_str(target.authority()) {
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json, text/html"));
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE).iter().cloned().collect();
        Ok(Answer { status, challenges, body: read_start(response.into_body()).await })
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection is driven here and not in a task of its own, so that it ends when the timeout does.
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut exchange => answer,
        // What ends the connection also ends the exchange, with the better error.
        _ = &mut connection => exchange.await,
    }
}

/// The body as far as it matters; one that breaks off in the middle is judged by what came.
async fn read_start(mut body: Incoming) -> Bytes {
    let mut start = BytesMut::new();
    while start.len() < MAX_BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(data) = frame.into_data() {
            let room = MAX_BODY - start.len();
            start.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    start.freeze()
}
