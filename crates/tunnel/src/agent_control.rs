//! The agent's own end of a link: what the service says to it and asks of it, apart from what is for the printer.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Empty, Limited, StreamBody};
use model::link::{Drain, PrinterStatus};
use model::wire;
use tokio::sync::{mpsc, watch};

use crate::agent_services::{AgentServices, ServiceBody, events};
use crate::agent_side::{Answer, BoxError, PrinterHandler};
use crate::body::RecvBody;

/// A drain order is a short JSON text.
const MAX_ORDER: usize = 4 * 1024;

/// Something that the service tells the agent.
pub(crate) enum Order {
    /// Visitors can reach the printer.
    Linked,
    /// Connect anew.
    Drain(Drain),
}

/// Answers what the service asks of the agent itself, and hands on what is for the printer.
pub(crate) struct Control<H> {
    pub(crate) printer: Arc<H>,
    pub(crate) status: watch::Receiver<PrinterStatus>,
    pub(crate) services: Option<Arc<dyn AgentServices>>,
    pub(crate) orders: mpsc::Sender<Order>,
}

impl<H: PrinterHandler> PrinterHandler for Control<H> {
    type Body = Either<H::Body, ServiceBody>;

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Answer<Self::Body>> {
        if request.uri().authority().is_none_or(|authority| authority.as_str() != wire::AGENT_AUTHORITY) {
            return self
                .printer
                .call(request)
                .map(|answer| match answer {
                    Answer::Response(response) => Answer::Response(response.map(Either::Left)),
                    Answer::Upgraded(head, stream) => Answer::Upgraded(head, stream),
                })
                .boxed();
        }
        let (status, services, orders) = (self.status.clone(), self.services.clone(), self.orders.clone());
        async move { Answer::Response(control(request, status, services, orders).await.map(Either::Right)) }.boxed()
    }
}

async fn control(
    request: Request<RecvBody>,
    status: watch::Receiver<PrinterStatus>,
    services: Option<Arc<dyn AgentServices>>,
    orders: mpsc::Sender<Order>,
) -> Response<ServiceBody> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, wire::EVENTS_PATH) => {
            let state = services.map(|services| services.state());
            let lines = events(status, state).map(|line| Ok::<_, BoxError>(Frame::data(line)));
            Response::new(StreamBody::new(lines).boxed_unsync())
        }
        (&Method::POST, wire::LINKED_PATH) => {
            let _ = orders.try_send(Order::Linked);
            bare(StatusCode::NO_CONTENT)
        }
        (&Method::POST, wire::DRAIN_PATH) => {
            let body = Limited::new(request.into_body(), MAX_ORDER).collect().await;
            let drain = body.ok().and_then(|body| serde_json::from_slice::<Drain>(&body.to_bytes()).ok());
            match drain {
                // A second order while the first waits changes nothing.
                Some(drain) => {
                    let _ = orders.try_send(Order::Drain(drain));
                    bare(StatusCode::NO_CONTENT)
                }
                None => bare(StatusCode::BAD_REQUEST),
            }
        }
        _ => match services {
            Some(services) => services.call(request).await,
            None => bare(StatusCode::NOT_FOUND),
        },
    }
}

fn bare(status: StatusCode) -> Response<ServiceBody> {
    let mut response = Response::new(Empty::<Bytes>::new().map_err(BoxError::from).boxed_unsync());
    *response.status_mut() = status;
    response
}
