//! Mail of the service's own: proofs of an address, new passwords, invitations.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use store::EmailAddress;
use thiserror::Error;

/// A server that takes longer does not answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends mail over SMTP.
#[derive(Clone)]
pub struct Mailer {
    transport: Arc<AsyncSmtpTransport<Tokio1Executor>>,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    /// Without the server, whose address holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mailer({})", self.from)
    }
}

/// Why mail cannot be sent.
#[derive(Debug, Error)]
pub enum MailError {
    /// The server's URL makes no sense.
    #[error("the URL of the mail server cannot be read; it looks like `smtps://user:password@mail.example.org`")]
    Url(#[source] lettre::transport::smtp::Error),
    /// The sender's address makes no sense.
    #[error("the sender's address cannot be read; it looks like `Spoolway <printers@example.org>`")]
    From(#[source] lettre::address::AddressError),
    /// The recipient's address is not one that mail can be sent to.
    #[error("no mail can be sent to that address")]
    To(#[source] lettre::address::AddressError),
    /// The text could not be put together.
    #[error("the mail could not be put together")]
    Message(#[source] lettre::error::Error),
    /// The server did not take it.
    #[error("the mail server did not take the mail")]
    Server(#[source] lettre::transport::smtp::Error),
}

impl Mailer {
    /// Makes a mailer of a server's URL (`smtp://`, `smtps://`; `?tls=required` for STARTTLS) and a sender.
    ///
    /// # Errors
    /// If either cannot be read.
    pub fn new(url: &str, from: &str) -> Result<Self, MailError> {
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(MailError::Url)?.timeout(Some(TIMEOUT)).build();
        Ok(Self { transport: Arc::new(transport), from: from.parse().map_err(MailError::From)? })
    }

    /// Sends a plain text.
    ///
    /// # Errors
    /// If the server does not take it.
    pub(crate) async fn send(&self, to: &EmailAddress, subject: &str, text: String) -> Result<(), MailError> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.as_str().parse().map_err(MailError::To)?))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(MailError::Message)?;
        self.transport.send(message).await.map(drop).map_err(MailError::Server)
    }
}
