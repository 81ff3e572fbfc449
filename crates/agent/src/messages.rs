//! What the person who runs the agent is told: what happened, and what to do about it.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::link::{Refusal, RefusalReason, Welcome};
use rustls::CertificateError;
use tracing::Level;
use tunnel::agent_loop::Notice;
use tunnel::dial::{DialError, Upgrade};

/// Clocks that differ by more break certificates and logins.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// A text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) level: Level,
    /// What happened.
    pub(crate) text: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Message {
    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self::new(Level::ERROR, text)
    }

    pub(crate) fn warn(text: impl Into<String>) -> Self {
        Self::new(Level::WARN, text)
    }

    fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " — {hint}"))
    }
}

/// Puts a link's news into words. `now` is this machine's clock.
pub(crate) fn describe(notice: &Notice, agent_version: &str, now: SystemTime) -> Message {
    match notice {
        Notice::Connected { welcome, upgrade } => connected(welcome, *upgrade),
        Notice::Refused { refusal, .. } => refused(refusal, agent_version),
        Notice::Failed { error, .. } => failed(error, now),
        Notice::Lost { end, .. } => Message::new(Level::WARN, format!("the connection was lost: {}", chain(end))),
        Notice::Draining { .. } => {
            Message::new(Level::INFO, "the service asks to connect anew; it is probably restarting")
        }
        Notice::IdentityNotKept(error) => {
            Message::new(Level::ERROR, format!("the printer's identity cannot be kept, so it is not linked: {error}"))
                .hint("check the data directory and its free space")
        }
    }
}

/// When the agent will try again, where it will.
pub(crate) fn retry_in(notice: &Notice) -> Option<Duration> {
    match notice {
        Notice::Refused { retry_in, .. } | Notice::Failed { retry_in, .. } | Notice::Lost { retry_in, .. } => {
            Some(*retry_in)
        }
        Notice::Draining { reconnect_in } => Some(*reconnect_in),
        Notice::Connected { .. } | Notice::IdentityNotKept(_) => None,
    }
}

fn connected(welcome: &Welcome, upgrade: Upgrade) -> Message {
    let way = match upgrade {
        Upgrade::Raw => "",
        Upgrade::WebSocket => ", through a WebSocket because something in between lets nothing else pass",
    };
    let Welcome { printer_name, service_version, .. } = welcome;
    Message::new(Level::INFO, format!("linked as \"{printer_name}\"; the service has version {service_version}{way}"))
}

/// A warning if this machine's clock is far from the service's.
pub(crate) fn clock_warning(welcome: &Welcome, now: SystemTime) -> Option<Message> {
    let service = UNIX_EPOCH.checked_add(Duration::from_millis(welcome.unix_time_ms))?;
    let (difference, direction) = match now.duration_since(service) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (difference > CLOCK_TOLERANCE).then(|| {
        let difference = humantime::format_duration(Duration::from_secs(difference.as_secs()));
        Message::new(Level::WARN, format!("this machine's clock is {difference} {direction} the service's")).hint(
            "set it, or certificates and sign-ins will fail; on a Raspberry Pi see that time synchronisation runs",
        )
    })
}

/// Why the service said no.
pub(crate) fn refused(refusal: &Refusal, agent_version: &str) -> Message {
    let level = match refusal.reason {
        RefusalReason::Busy | RefusalReason::Unavailable => Level::WARN,
        _ => Level::ERROR,
    };
    let message = |text: String| Message::new(level, text);
    match refusal.reason {
        RefusalReason::InvalidToken => message("the service does not accept the enrolment token".to_owned()).hint(
            "a token works once and only for some time; make a new one with `spoolway admin printer add` on the service",
        ),
        RefusalReason::WrongKey => message("the service knows this printer by another key".to_owned()).hint(
            "if the agent was set up anew or its data restored from a backup, enrol it with a new token; \
             if not, somebody else may have taken the printer over: remove it on the service",
        ),
        RefusalReason::PrinterRemoved => message("this printer is in no account of the service any more".to_owned())
            .hint("to link it again, delete `identity.json` in the agent's data directory and start the agent for a new code, or start it with a new `--token TOKEN`"),
        RefusalReason::AgentTooOld => {
            message(format!("this agent, version {agent_version}, is too old for the service: {}", refusal.message))
                .hint("update `spoolway-agent`")
        }
        RefusalReason::ServiceTooOld => {
            message(format!("the service is too old for this agent, version {agent_version}: {}", refusal.message))
                .hint("ask whoever runs the service to update it, or use an older agent")
        }
        RefusalReason::Malformed => {
            message(format!("the service cannot read this agent's introduction: {}", refusal.message))
                .hint("something in between may change headers; otherwise this is a fault to report")
        }
        RefusalReason::Busy | RefusalReason::Unavailable => {
            message(format!("the service cannot take this printer right now: {}", refusal.message))
        }
        RefusalReason::Unknown => message(format!("the service refuses this printer: {}", refusal.message)),
    }
}

/// Why the service was not reached.
pub(crate) fn failed(error: &DialError, now: SystemTime) -> Message {
    let message = Message::new(Level::WARN, chain(error));
    match error {
        DialError::Connect { .. } | DialError::Timeout(_) => {
            message.hint("is the service running, is its address right, and is this machine online?")
        }
        DialError::Tls { source, .. } => match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(reason)) => match certificate_hint(reason, now) {
                Some(hint) => message.hint(hint),
                None => message,
            },
            _ => message.hint("is there really a service with TLS at this address and port?"),
        },
        DialError::PlainHttp(_) | DialError::Http { .. } | DialError::NotUpgraded { .. } | DialError::Refused(_) => {
            message
        }
    }
}

fn certificate_hint(reason: &CertificateError, now: SystemTime) -> Option<String> {
    let clock = humantime::format_rfc3339_seconds(now);
    match reason {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Some(format!(
            "the certificate is not valid yet; this machine's clock says {clock}: if that is wrong, set it"
        )),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some(format!("the certificate has expired, or this machine's clock is wrong; it says {clock}"))
        }
        CertificateError::UnknownIssuer => Some(
            "if the service uses a certificate authority of your own, give its certificate with `--ca FILE`".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some("the certificate is for another name; use the name that the service calls itself by".to_owned())
        }
        _ => None,
    }
}

/// An error with everything below it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let part = source.to_string();
        // Some errors print what is below them as well.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        below = source.source();
    }
    text
}

#[cfg(test)]
mod tests;
