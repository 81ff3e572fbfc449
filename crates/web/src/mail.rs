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
        let message = self.message(to, subject, text)?;
        self.transport.send(message).await.map(drop).map_err(MailError::Server)
    }

    fn message(&self, to: &EmailAddress, subject: &str, text: String) -> Result<Message, MailError> {
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.as_str().parse().map_err(MailError::To)?))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(MailError::Message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTILE: [&str; 6] = [
        "\r\nBcc: evil@example.org",
        "\nBcc: evil@example.org\n\nSend me money",
        "\r\n\r\n.\r\nMAIL FROM:<evil@example.org>",
        "=?utf-8?q?=0D=0ABcc:_evil=40example.org?=",
        "\u{2028}Bcc: evil@example.org\u{85}x",
        "\0\x0b\x0c",
    ];

    fn mailer() -> Mailer {
        Mailer::new("smtp://127.0.0.1:25", "Spoolway <printers@example.org>").expect("both can be read")
    }

    /// Names of the header's lines, continued ones left out.
    fn header_names(message: &Message) -> Vec<String> {
        let text = String::from_utf8(message.formatted()).expect("mail is ASCII where it is not 8bit");
        let (head, _) = text.split_once("\r\n\r\n").expect("an empty line ends the header");
        assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
        let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_ascii_lowercase()).collect()
    }

    proptest! {
        /// T46: whatever a text is made of, it adds no line to the header and nobody to those who get the mail.
        #[test]
        fn texts_of_strangers_add_no_header(
            parts in proptest::collection::vec(
                prop_oneof![proptest::sample::select(&HOSTILE[..]).prop_map(str::to_owned), any::<String>()],
                0..4,
            )
        ) {
            let text = parts.concat();
            let to: EmailAddress = "ann@example.org".parse().expect("an address");
            let plain = mailer().message(&to, "Plain", "plain".to_owned()).expect("a message");
            let message = mailer().message(&to, &text, text.clone()).expect("any text can be sent");
            let (mut names, mut expected) = (header_names(&message), header_names(&plain));
            names.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(names, expected);
            let recipients: Vec<&str> = message.envelope().to().iter().map(AsRef::as_ref).collect();
            prop_assert_eq!(recipients, ["ann@example.org"]);
        }

        /// What is taken for an address names one mailbox, on one line.
        #[test]
        fn an_address_is_one_mailbox(
            local in "[a-z]{1,8}",
            slipped in prop_oneof![
                proptest::sample::select(&HOSTILE[..]).prop_map(str::to_owned),
                proptest::sample::select(&[",evil@example.org", ">, <evil@example.org", " (x)", ";"][..])
                    .prop_map(str::to_owned),
            ],
        ) {
            for text in [format!("{local}{slipped}@example.org"), format!("{local}@example.org{slipped}")] {
                let Ok(address) = text.parse::<EmailAddress>() else { continue };
                let Ok(message) = mailer().message(&address, "Plain", String::new()) else { continue };
                prop_assert_eq!(message.envelope().to().len(), 1);
                prop_assert_eq!(header_names(&message).iter().filter(|name| *name == "to").count(), 1);
            }
        }
    }
}
