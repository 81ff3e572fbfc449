//! Where a relayed request turns off to the command API, or goes on to the printer's own software.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::Either;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::{Answer, PrinterHandler};
use tunnel::body::RecvBody;

use super::CommandApi;
use super::commands::below_prefix;
use crate::forward::{ForwardBody, Forwarder};

/// Answers commands, and passes everything else on.
pub struct Gate {
    commands: CommandApi,
    forwarder: Arc<Forwarder>,
}

impl Gate {
    /// In front of `forwarder`.
    pub fn new(commands: CommandApi, forwarder: Arc<Forwarder>) -> Self {
        Self { commands, forwarder }
    }
}

impl PrinterHandler for Gate {
    type Body = Either<ForwardBody, ServiceBody>;

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Answer<Self::Body>> {
        let Some(name) = below_prefix(request.uri().path()) else {
            let forwarded = self.forwarder.call(request);
            return async {
                match forwarded.await {
                    Answer::Response(response) => Answer::Response(response.map(Either::Left)),
                    Answer::Upgraded(head, stream) => Answer::Upgraded(head, stream),
                }
            }
            .boxed();
        };
        let commands = self.commands.clone();
        if request.extensions().get::<h2::ext::Protocol>().is_some() {
            return async move {
                match commands.open(&name, request.into_parts().0) {
                    Ok((head, stream)) => Answer::Upgraded(head, stream),
                    Err(response) => Answer::Response((*response).map(Either::Right)),
                }
            }
            .boxed();
        }
        async move { Answer::Response(commands.answer(&name, request).await.map(Either::Right)) }.boxed()
    }
}
