//! Asks a printer's software questions of the agent's own, within bounds: what answers may be anything.

mod login;
mod multipart;
mod transfer;
pub(crate) mod websocket;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
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

use self::login::{DigestLogin, Signature};
pub(crate) use self::multipart::Form;
use crate::PrinterUrl;
use crate::connector::{ConnectError, PrinterConnector};
use crate::observe::Login;
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

/// How OctoPrint, Moonraker and PrusaLink are shown a key.
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
    headers: HeaderMap,
    body: Bytes,
    target: PrinterUrl,
}

impl Answer {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, AskError> {
        serde_json::from_slice(&self.body).map_err(|_| AskError::NotUnderstood(self.target.clone()))
    }
}

/// A question, apart from who asks it.
struct Question<'a> {
    method: Method,
    path: &'a str,
    accept: HeaderValue,
    /// JSON.
    body: Option<Bytes>,
    max_answer: usize,
    /// Whether it may be asked twice, if the connection that was kept turns out to be dead.
    is_harmless: bool,
}

impl<'a> Question<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        let accept = HeaderValue::from_static("application/json");
        Self { method, path, accept, body: None, max_answer: MAX_ANSWER, is_harmless: false }
    }
}

/// Keeps one connection for the questions that are asked again and again.
pub(crate) struct SoftwareClient {
    connector: PrinterConnector,
    api_key: Option<Secret>,
    login: Option<DigestLogin>,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl SoftwareClient {
    pub(crate) fn new(connector: PrinterConnector, api_key: Option<Secret>) -> Self {
        Self { connector, api_key, login: None, kept: Mutex::default() }
    }

    /// The same for software that signs its users in by HTTP digest.
    pub(crate) fn with_login(connector: PrinterConnector, login: Login) -> Self {
        Self { login: Some(DigestLogin::new(login)), ..Self::new(connector, None) }
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

    /// Whether there is anything to show the software.
    pub(crate) fn has_credentials(&self) -> bool {
        self.api_key.is_some() || self.login.is_some()
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, AskError> {
        let question = Question { is_harmless: true, ..Question::new(Method::GET, path) };
        self.ask(&question, TIMEOUT).await
    }

    /// Asks for something that may be long.
    pub(crate) async fn get_list(&self, path: &str) -> Result<Answer, AskError> {
        let question = Question { max_answer: MAX_LIST, ..Question::new(Method::GET, path) };
        self.ask(&question, LIST_TIMEOUT).await
    }

    /// Asks for a picture of at most so many bytes.
    pub(crate) async fn get_picture(&self, path: &str, max_answer: usize) -> Result<Answer, AskError> {
        let accept = HeaderValue::from_static("image/*");
        let question = Question { accept, max_answer, ..Question::new(Method::GET, path) };
        self.ask(&question, ORDER_TIMEOUT).await
    }

    /// Removes something, once.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer, AskError> {
        self.order(Method::DELETE, path, ORDER_TIMEOUT).await
    }

    /// Tells it something that needs no more words, once, whatever becomes of it.
    pub(crate) async fn order(&self, method: Method, path: &str, limit: Duration) -> Result<Answer, AskError> {
        self.ask(&Question::new(method, path), limit).await
    }

    /// Tells it something, once, whatever becomes of it.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer, AskError> {
        let body = Some(Bytes::from(body.to_string()));
        self.ask(&Question { body, ..Question::new(Method::POST, path) }, ORDER_TIMEOUT).await
    }

    /// A refusal for want of a signature is no answer yet: the order was not carried out, and is given again.
    async fn ask(&self, question: &Question<'_>, limit: Duration) -> Result<Answer, AskError> {
        let asking = async {
            let signature = self.sign(&question.method, question.path);
            let answer = self.ask_once(question, signature.as_ref()).await?;
            match self.sign_again(answer.status, &answer.headers, signature.as_ref(), &question.method, question.path) {
                Some(signature) => self.ask_once(question, Some(&signature)).await,
                None => Ok(answer),
            }
        };
        timeout(limit, asking).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    async fn ask_once(&self, question: &Question<'_>, signature: Option<&Signature>) -> Result<Answer, AskError> {
        if question.is_harmless {
            let kept = self.kept.lock().take().filter(SendRequest::is_ready);
            if let Some(send) = kept {
                // A connection that was closed meanwhile says nothing about the printer.
                if let Ok(answer) = self.exchange(send, question, signature).await {
                    return Ok(answer);
                }
            }
        }
        self.exchange(self.connect().await?, question, signature).await
    }

    fn sign(&self, method: &Method, path: &str) -> Option<Signature> {
        self.login.as_ref()?.sign(method, path)
    }

    fn sign_again(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        last: Option<&Signature>,
        method: &Method,
        path: &str,
    ) -> Option<Signature> {
        self.login.as_ref()?.sign_again(status, headers, last, method, path)
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
    fn introduce<B>(&self, request: &mut Request<B>, signature: Option<&Signature>) -> Result<(), AskError> {
        let host = HeaderValue::from_str(self.target().authority());
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.map_err(|_| AskError::NotHttp(self.target().clone()))?);
        if let Some(key) = self.api_key() {
            headers.insert(API_KEY, key);
        }
        if let Some(signature) = signature {
            headers.insert(header::AUTHORIZATION, signature.header.clone());
        }
        Ok(())
    }

    async fn exchange(
        &self,
        mut send: SendRequest<Full<Bytes>>,
        question: &Question<'_>,
        signature: Option<&Signature>,
    ) -> Result<Answer, AskError> {
        let not_http = || AskError::NotHttp(self.target().clone());
        let mut request = Request::new(Full::new(question.body.clone().unwrap_or_default()));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = question.path.parse::<Uri>().map_err(|_| not_http())?;
        self.introduce(&mut request, signature)?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, question.accept.clone());
        if question.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let response = send.send_request(request).await.map_err(|_| not_http())?;
        let answer = self.whole(response, question.max_answer).await?;
        *self.kept.lock() = Some(send);
        Ok(answer)
    }

    /// Reads an answer to its end.
    async fn whole(&self, response: Response<Incoming>, max_answer: usize) -> Result<Answer, AskError> {
        let (head, body) = response.into_parts();
        let body = self.read(body, max_answer).await?;
        Ok(Answer { status: head.status, headers: head.headers, body, target: self.target().clone() })
    }

    async fn read(&self, mut body: Incoming, max_answer: usize) -> Result<Bytes, AskError> {
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
