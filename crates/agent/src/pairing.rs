//! Linking a printer by a code: the agent shows it, and the printer's owner enters it on the service's site.
//!
//! The key is the printer's from then on. It is on the disk before the first question, so an agent that is stopped in
//! between finds out what became of its code.

use std::io::Write;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use model::link::{PairingAnswer, PairingOffer, PairingRequest};
use model::{PrinterId, Secret, wire};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use tokio::time::{Instant, sleep};
use tunnel::backoff::{Backoff, random_fraction};
use tunnel::dial::{DialError, DialOptions, ServiceAnswer, ask};

use crate::messages::{self, Message};

/// The service says how often it may be asked, within these.
const POLL_SECONDS: std::ops::RangeInclusive<u32> = 1..=60;
/// And how long a code is good for.
const EXPIRES_SECONDS: std::ops::RangeInclusive<u32> = 30..=24 * 60 * 60;
/// A service that is busy and does not say for how long is asked again after this.
const BUSY: Duration = Duration::from_secs(30);
/// However long it wants to be left alone.
const LONGEST_BUSY: Duration = Duration::from_secs(60 * 60);
/// Codes live for minutes.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
/// Longer ones are no addresses to be typed.
const MAX_URL: usize = 512;
/// Longer ones are no codes to be typed.
const MAX_CODE: usize = 32;

/// What happens meanwhile.
pub(crate) enum News<'a> {
    /// A code to show.
    Offer(&'a PairingOffer),
    /// Something went wrong, and is tried again.
    Retry(Message, Duration),
}

/// Asks for codes until one has been entered.
///
/// # Errors
/// What the person who runs the agent has to do, where asking again cannot help.
pub(crate) async fn pair(
    dial: &DialOptions,
    key: &Secret,
    request: &PairingRequest,
    mut tell: impl FnMut(News<'_>),
) -> Result<PrinterId, Message> {
    let mut backoff = Backoff::default();
    // An earlier start may have got a code that was entered when nobody was listening.
    let mut known = true;
    loop {
        if known {
            match look(dial, key).await {
                Ok(Some(PairingAnswer::Linked { printer_id, .. })) => return Ok(printer_id),
                Ok(_) => known = false,
                Err(failure) => failure.wait(&mut backoff, &mut tell).await?,
            }
            continue;
        }
        let offer = match offer(dial, key, request).await {
            Ok(offer) => offer,
            Err(failure) => {
                failure.wait(&mut backoff, &mut tell).await?;
                continue;
            }
        };
        tell(News::Offer(&offer));
        let offered = Instant::now();
        let seconds = |value: u32, within: std::ops::RangeInclusive<u32>| {
            Duration::from_secs(value.clamp(*within.start(), *within.end()).into())
        };
        let expires = Instant::now() + seconds(offer.expires_in_seconds, EXPIRES_SECONDS);
        let poll = seconds(offer.poll_seconds, POLL_SECONDS);
        // The service knows better than our clock when the code has expired; ours is for one that forgets to say so.
        while Instant::now() < expires + 2 * poll {
            sleep(poll).await;
            match look(dial, key).await {
                Ok(Some(PairingAnswer::Linked { printer_id, .. })) => return Ok(printer_id),
                Ok(Some(PairingAnswer::Pending)) => backoff = Backoff::default(),
                Ok(Some(PairingAnswer::Denied)) => {
                    return Err(Message::error("somebody said on the service that this is not their printer")
                        .hint("start the agent again for a new code"));
                }
                // A code that nobody knows as soon as it is made is a fault, and new ones would only fill the terminal.
                Ok(None) => {
                    if offered.elapsed() < SHORTEST_LIFE {
                        Failure::Odd(StatusCode::NOT_FOUND).wait(&mut backoff, &mut tell).await?;
                    }
                    break;
                }
                Err(failure) => failure.wait(&mut backoff, &mut tell).await?,
            }
        }
    }
}

/// Why the service gave no answer.
enum Failure {
    /// Asking again cannot help.
    Fatal(Message),
    /// It wants to be left alone for so long.
    Busy(Duration),
    Dial(DialError),
    Odd(StatusCode),
}

impl Failure {
    async fn wait(self, backoff: &mut Backoff, tell: &mut impl FnMut(News<'_>)) -> Result<(), Message> {
        let shortest = Duration::from_secs(1);
        let (message, delay) = match self {
            Self::Fatal(message) => return Err(message),
            Self::Busy(delay) => (Message::warn("the service is busy"), delay),
            Self::Dial(error) => (messages::failed(&error, SystemTime::now()), backoff.next_delay(random_fraction())),
            Self::Odd(status) => {
                let text = format!("the service answers {} when it is asked for a code", status.as_u16());
                (Message::warn(text), backoff.next_delay(random_fraction()))
            }
        };
        let delay = delay.max(shortest);
        tell(News::Retry(message, delay));
        sleep(delay).await;
        Ok(())
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::PlainHttp(_) => Self::Fatal(messages::failed(&error, SystemTime::now())),
            error => Self::Dial(error),
        }
    }
}

/// What became of the last code; `None` if there is none any more.
async fn look(dial: &DialOptions, key: &Secret) -> Result<Option<PairingAnswer>, Failure> {
    let answer = ask(dial, Method::GET, wire::PAIRING_PATH, key, bytes::Bytes::new()).await?;
    match answer.status {
        StatusCode::OK => match serde_json::from_slice(&answer.body) {
            Ok(answer) => Ok(Some(answer)),
            Err(_) => Err(Failure::Odd(answer.status)),
        },
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
        _ => Err(refused(&answer)),
    }
}

async fn offer(dial: &DialOptions, key: &Secret, request: &PairingRequest) -> Result<PairingOffer, Failure> {
    // Text and nothing else always becomes JSON.
    let body = serde_json::to_vec(request).unwrap_or_default();
    let answer = ask(dial, Method::POST, wire::PAIRING_PATH, key, body.into()).await?;
    let without = |text: &str| {
        Failure::Fatal(Message::error(format!("this printer has not been enrolled yet, and {text}")).hint(
            "ask whoever runs the service for a token (`spoolway admin printer add`), \
             and start the agent once with `--token TOKEN`",
        ))
    };
    match answer.status {
        StatusCode::OK | StatusCode::CREATED => {
            let offer: Option<PairingOffer> = serde_json::from_slice(&answer.body).ok();
            offer.filter(is_harmless).ok_or(Failure::Odd(answer.status))
        }
        StatusCode::FORBIDDEN => Err(without("the service does not link printers by a code")),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Err(without("what answers is no service that links printers by a code"))
        }
        _ => Err(refused(&answer)),
    }
}

fn refused(answer: &ServiceAnswer) -> Failure {
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Failure::Busy(answer.retry_after.unwrap_or(BUSY).min(LONGEST_BUSY))
        }
        status => Failure::Odd(status),
    }
}

/// It goes to a terminal, where other characters could do anything.
fn is_harmless(offer: &PairingOffer) -> bool {
    let is_url =
        |url: &str| url.len() <= MAX_URL && url.starts_with("http") && url.bytes().all(|byte| byte.is_ascii_graphic());
    let is_code = |code: &str| {
        (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    is_code(&offer.code) && is_url(&offer.url) && is_url(&offer.url_with_code)
}

/// Shows a code to whoever sits before the terminal or reads the container's log.
pub(crate) fn show(printer: &str, offer: &PairingOffer) {
    // Whoever waits for it may have gone; it is in the log as well.
    let _ = writeln!(std::io::stdout(), "{}", in_words(printer, offer));
}

fn in_words(printer: &str, offer: &PairingOffer) -> String {
    let PairingOffer { code, url, url_with_code, expires_in_seconds, .. } = offer;
    let minutes = (expires_in_seconds / 60).max(1);
    let mut text = format!(
        "\nThe printer \"{printer}\" is not linked yet. Within {minutes} minutes, open\n\n    {url}\n\n\
         and enter the code\n\n    {code}\n"
    );
    if let Ok(picture) = QrCode::new(url_with_code) {
        // Terminals are mostly dark, and readers want the code darker than what is around it.
        let picture = picture.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        text.push_str(&format!("\nor scan this:\n\n{picture}\n"));
    }
    text
}

/// The machine's name, for the owner to recognise it by; empty if it has none.
pub(crate) fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("COMPUTERNAME").ok()).or_else(|| std::env::var("HOSTNAME").ok());
    name.unwrap_or_default().trim().chars().filter(|letter| !letter.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(code: &str, url: &str) -> PairingOffer {
        PairingOffer {
            code: code.to_owned(),
            url: url.to_owned(),
            url_with_code: format!("{url}?code={code}"),
            expires_in_seconds: 900,
            poll_seconds: 3,
        }
    }

    #[test]
    fn a_code_is_shown_as_text_and_as_a_picture() {
        let text = in_words("Ender", &offer("ABCD2345", "https://spoolway.example/link"));
        assert!(text.contains("\n    ABCD2345\n") && text.contains("\n    https://spoolway.example/link\n"), "{text}");
        assert!(text.contains("\"Ender\"") && text.contains("15 minutes") && text.contains('▀'), "{text}");
    }

    #[test]
    fn what_could_harm_a_terminal_is_not_shown() {
        assert!(is_harmless(&offer("ABCD-2345", "https://spoolway.example/link")));
        for (code, url) in [
            ("", "https://a/link"),
            ("AB\u{1b}[2J", "https://a/link"),
            ("ABCD2345", "https://a/\u{1b}]0;x"),
            ("ABCD2345", "javascript:alert(1)"),
            ("ABCD2345", "https://a/ b"),
        ] {
            assert!(!is_harmless(&offer(code, url)), "{code:?} {url:?}");
        }
    }
}
