//! Asks a printer's software questions of the agent's own, within bounds: what answers may be anything.

mod multipart;
mod transfer;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::Secret;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::timeout;
use tunnel::agent_side::BoxError;

pub(crate) use self::multipart::Form;
use crate::PrinterUrl;
use crate::connector::{ConnectError, PrinterConnector};
use crate::platforms::CommandFailure;

/// The longest answers are OctoPrint's settings with many plug-ins, some hundred kilobytes.
pub(crate) const MAX_ANSWER: usize = 1024 * 1024;
/// For one question. A Raspberry Pi in the middle of a print answers within one second.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For an order, which the software may carry out or store before it answers.
const ORDER_TIMEOUT: Duration = Duration::from_secs(15);

/// For a list of files, which a busy board reads from a slow card.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Lists of some thousand files.
const MAX_LIST: usize = 8 * 1024 * 1024;

/// How both OctoPrint and Moonraker are shown a key.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Why a question has no answer. The texts are for the owner.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("`{0}` accepts connections but does not answer; is the printer's software overloaded or stuck?")]
    Silent(PrinterUrl),
    #[error("`{0}` does not answer in HTTP; is the port right?")]
    NotHttp(PrinterUrl),
    #[error("`{0}` answers more than a printer has to say")]
    TooLarge(PrinterUrl),
    #[error("`{0}` gives an answer that cannot be understood")]
    NotUnderstood(PrinterUrl),
}

impl From<AskError> for CommandFailure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Connect(_) => Self::NotConnected(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Bytes,
    target: PrinterUrl,
}

impl Answer {
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, AskError> {
        serde_json::from_slice(&self.body).map_err(|_| AskError::NotUnderstood(self.target.clone()))
    }
}

/// Keeps one connection for the questions that are asked again and again.
pub(crate) struct SoftwareClient {
    connector: PrinterConnector,
    api_key: Option<Secret>,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl SoftwareClient {
    pub(crate) fn new(connector: PrinterConnector, api_key: Option<Secret>) -> Self {
        Self { connector, api_key, kept: Mutex::default() }
    }

    pub(crate) fn connector(&self) -> &PrinterConnector {
        &self.connector
    }

    pub(crate) fn target(&self) -> &PrinterUrl {
        self.connector.target()
    }

    /// The key as the header has it.
    pub(crate) fn api_key(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.api_key.as_ref()?.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, AskError> {
        let exchange = async {
            let kept = self.kept.lock().take().filter(SendRequest::is_ready);
            if let Some(send) = kept {
                // A connection that was closed meanwhile says nothing about the printer.
                if let Ok(answer) = self.exchange(send, Method::GET, path, None, MAX_ANSWER).await {
                    return Ok(answer);
                }
            }
            self.exchange(self.connect().await?, Method::GET, path, None, MAX_ANSWER).await
        };
        timeout(TIMEOUT, exchange).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    /// Asks for something that may be long.
    pub(crate) async fn get_list(&self, path: &str) -> Result<Answer, AskError> {
        let exchange = async { self.exchange(self.connect().await?, Method::GET, path, None, MAX_LIST).await };
        timeout(LIST_TIMEOUT, exchange).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    /// Removes something, once.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer, AskError> {
        let exchange = async { self.exchange(self.connect().await?, Method::DELETE, path, None, MAX_ANSWER).await };
        timeout(ORDER_TIMEOUT, exchange).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    /// Tells it something, once, whatever becomes of it.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer, AskError> {
        let exchange = async {
            let send = self.connect().await?;
            self.exchange(send, Method::POST, path, Some(Bytes::from(body.to_string())), MAX_ANSWER).await
        };
        timeout(ORDER_TIMEOUT, exchange).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    async fn connect<B>(&self) -> Result<SendRequest<B>, AskError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let connection = self.connector.connect().await?;
        let handshake = http1::handshake(TokioIo::new(connection.io)).await;
        let (send, driver) = handshake.map_err(|_| AskError::NotHttp(self.target().clone()))?;
        // It ends when `send` is dropped.
        tokio::spawn(driver);
        Ok(send)
    }

    /// Says whom a request is for, and who asks.
    fn introduce<B>(&self, request: &mut Request<B>) -> Result<(), AskError> {
        let host = HeaderValue::from_str(self.target().authority());
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.map_err(|_| AskError::NotHttp(self.target().clone()))?);
        if let Some(key) = self.api_key() {
            headers.insert(API_KEY, key);
        }
        Ok(())
    }

    async fn exchange(
        &self,
        mut send: SendRequest<Full<Bytes>>,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        max_answer: usize,
    ) -> Result<Answer, AskError> {
        let not_http = || AskError::NotHttp(self.target().clone());
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| not_http())?;
        self.introduce(&mut request)?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let response = send.send_request(request).await.map_err(|_| not_http())?;
        let status = response.status();
        let body = self.read(response.into_body(), max_answer).await?;
        *self.kept.lock() = Some(send);
        Ok(Answer { status, body, target: self.target().clone() })
    }

    pub(super) async fn read(&self, mut body: Incoming, max_answer: usize) -> Result<Bytes, AskError> {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| AskError::NotHttp(self.target().clone()))?.into_data() else { continue };
            if read.len() + data.len() > max_answer {
                return Err(AskError::TooLarge(self.target().clone()));
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}
