//! Requests whose bodies stream: files to and from a printer, and messages that pass through.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use tokio::time::timeout;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use super::{Answer, AskError, MAX_ANSWER, Signature, SoftwareClient};
use crate::platforms::{Download, NativeHttp};

/// For a whole upload: the slowest boards take minutes for a large file.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(1800);
/// For a download to begin.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A download without a byte for this long has died.
const STALL: Duration = Duration::from_secs(60);

impl SoftwareClient {
    /// Sends a body as it comes, and reads the answer whole.
    pub(crate) async fn upload(
        &self,
        path: &str,
        method: Method,
        headers: HeaderMap,
        body: ServiceBody,
        length: Option<u64>,
    ) -> Result<Answer, AskError> {
        let sending = async {
            let mut request = Request::new(body);
            *request.method_mut() = method;
            *request.headers_mut() = headers;
            if let Some(length) = length {
                request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            }
            let response = self.send_once(path, request, None).await?;
            self.whole(response, MAX_ANSWER).await
        };
        timeout(UPLOAD_TIMEOUT, sending).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    /// Opens something to read; the answer's body streams where its status is 200, and is read whole elsewhere.
    pub(crate) async fn download(&self, path: &str) -> Result<Result<Download, Answer>, AskError> {
        let opening = async {
            let response = self.send_once(path, Request::new(Full::<Bytes>::default()), None).await?;
            if response.status() != http::StatusCode::OK {
                return self.whole(response, MAX_ANSWER).await.map(Err);
            }
            let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
            let length = response.body().size_hint().exact();
            Ok(Ok(Download { body: watched(response.into_body()), length, content_type }))
        };
        timeout(DOWNLOAD_TIMEOUT, opening).await.map_err(|_| AskError::Silent(self.target().clone()))?
    }

    /// Passes a message on, once.
    pub(crate) async fn pass(&self, message: &NativeHttp) -> Result<Answer, AskError> {
        let pass_once = async |signature: Option<&Signature>| {
            let mut request = Request::new(Full::new(message.body.clone()));
            *request.method_mut() = message.method.clone();
            *request.headers_mut() = message.headers.clone();
            let response = self.send_once(&message.path, request, signature).await?;
            self.whole(response, MAX_ANSWER).await
        };
        let signature = self.sign(&message.method, &message.path);
        let answer = pass_once(signature.as_ref()).await?;
        match self.sign_again(answer.status, &answer.headers, signature.as_ref(), &message.method, &message.path) {
            Some(signature) => pass_once(Some(&signature)).await,
            None => Ok(answer),
        }
    }

    /// On a connection of its own.
    async fn send_once<B>(
        &self,
        path: &str,
        mut request: Request<B>,
        signature: Option<&Signature>,
    ) -> Result<Response<Incoming>, AskError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let not_http = || AskError::NotHttp(self.target().clone());
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| not_http())?;
        self.introduce(&mut request, signature)?;
        self.connect().await?.send_request(request).await.map_err(|_| not_http())
    }
}

/// A body that fails when nothing comes for long, and never ends early as if it were whole.
fn watched(body: Incoming) -> ServiceBody {
    let frames = stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match timeout(STALL, body.frame()).await {
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(error))) => Some((Err(BoxError::from(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(BoxError::from("the printer's software has stopped in the middle of the file")), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}
