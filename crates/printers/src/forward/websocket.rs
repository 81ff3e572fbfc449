//! Opening a WebSocket at the printer.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::wire;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tunnel::agent_side::{Answer, PrinterStream};

use super::headers::{prepare_request, prepare_response};
use super::pool::PooledBody;
use super::{ForwardBody, ForwardError, Shared};

/// Turns an extended CONNECT (RFC 8441) into the HTTP/1.1 handshake of RFC 6455 §4.1 and joins the two streams.
///
/// The frames pass through untouched, so sub-protocols and extensions are agreed between the visitor and the printer.
pub(super) async fn open<B>(shared: &Shared, request: Request<B>) -> Result<Answer<ForwardBody>, ForwardError> {
    let mut request = request.map(|_| Empty::<Bytes>::new());
    prepare_request(&mut request, shared)?;
    *request.method_mut() = Method::GET;
    let key = generate_key();
    let headers = request.headers_mut();
    // A handshake has no body (RFC 6455 §4.1); with a length the printer would wait for one.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).map_err(http::Error::from)?);

    let io: Box<dyn PrinterStream> = Box::new(shared.connector.connect().await?.io);
    let (mut send, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut response = send.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        prepare_response(response.headers_mut(), shared.connector.target());
        return Ok(Answer::Response(response.map(|body| Either::Left(PooledBody::unpooled(body)))));
    }
    let expected = derive_accept_key(key.as_bytes());
    if response.headers().get(header::SEC_WEBSOCKET_ACCEPT).is_none_or(|accept| accept != &expected) {
        return Err(ForwardError::Handshake);
    }
    let mut head = Response::new(());
    std::mem::swap(head.headers_mut(), response.headers_mut());
    prepare_response(head.headers_mut(), shared.connector.target());
    head.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    head.headers_mut().remove(header::CONTENT_LENGTH);
    head.headers_mut().insert(wire::UPGRADED_HEADER, HeaderValue::from_static("1"));
    let upgraded = hyper::upgrade::on(response).await?;
    Ok(Answer::Upgraded(head, Box::new(TokioIo::new(upgraded))))
}
