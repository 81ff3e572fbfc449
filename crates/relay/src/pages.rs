//! The pages that the service itself shows on printers' hosts: an error, the password of a Shared Connection, and the
//! notice before an open one.
//!
//! They share an origin with a printer's pages, so they load nothing, run no script and hold no secret, and their
//! policies forbid the browser all that they do not use. They are deliberately small and complete in one response,
//! because they are shown when something has gone wrong; the site explains each code at length.

use std::fmt;
use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use model::{RelayError, RequestId};
use sha2::{Digest, Sha256};

/// The form field that holds the password.
pub(crate) const PASSWORD_FIELD: &str = "password";
/// The form field that holds the path and query that the visitor asked for. It comes back from the browser: check it anew.
pub(crate) const RETURN_TO_FIELD: &str = "return-to";

/// The `Content-Security-Policy` to send with [`error_page`].
///
/// Framing is allowed, unlike everywhere else: owners embed a printer's camera in dashboards, and there an error must
/// show itself. Nothing on the page can be clicked to a stranger's advantage.
pub(crate) static ERROR_PAGE_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("form-action 'none'"));

/// The `Content-Security-Policy` to send with [`password_page`] and [`notice_page`].
pub(crate) static FORM_PAGE_POLICY: LazyLock<HeaderValue> =
    LazyLock::new(|| policy("form-action 'self'; frame-ancestors 'none'"));

/// What is known of one failed request besides its code.
pub(crate) struct ErrorPageFacts<'a> {
    /// The site's page about the code, absolute: the printer's host has none.
    pub(crate) help_url: &'a str,
    /// The request's id, for the operator.
    pub(crate) request_id: &'a RequestId,
    /// `Retry-After` in seconds, where there is one.
    pub(crate) retry_after: Option<u32>,
}

/// The page of an error, for people.
pub(crate) fn error_page(error: RelayError, facts: &ErrorPageFacts<'_>) -> String {
    let page = ErrorTemplate {
        error,
        advice: advice(error),
        wait: facts.retry_after.map(Wait),
        help_url: facts.help_url,
        request_id: facts.request_id,
    };
    page.render().expect("writing to a string cannot fail, and no value of the template returns an error")
}

/// What the password page needs to know.
pub(crate) struct PasswordPage<'a> {
    /// The path that the form is posted to.
    pub(crate) action: &'a str,
    /// Path and query that the visitor asked for, handed back in [`RETURN_TO_FIELD`].
    pub(crate) return_to: &'a str,
    /// Why the page is shown again.
    pub(crate) problem: Option<PasswordProblem>,
}

/// Why a password did not open the printer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordProblem {
    /// It is not the connection's password.
    Wrong,
    /// Too many were tried; it was not looked at.
    TooManyAttempts {
        /// When the next one is looked at.
        retry_after_seconds: u32,
    },
}

/// The page that asks for the password of a Shared Connection. It names neither printer nor owner, because whoever
/// sees it has shown nothing but the link.
pub(crate) fn password_page(page: &PasswordPage<'_>) -> String {
    let page = PasswordTemplate { action: page.action, return_to: page.return_to, problem: page.problem };
    page.render().expect("writing to a string cannot fail, and no value of the template returns an error")
}

/// What the notice before an open Shared Connection needs to know.
pub(crate) struct NoticePage<'a> {
    /// The path that the form is posted to.
    pub(crate) action: &'a str,
    /// Path and query that the visitor asked for, handed back in [`RETURN_TO_FIELD`].
    pub(crate) return_to: &'a str,
    /// The owner's name for the printer.
    pub(crate) printer_name: &'a str,
    /// The service's own name.
    pub(crate) domain: &'a str,
    /// Where to report abuse.
    pub(crate) abuse_contact: Option<&'a str>,
}

/// The page that says whose pages come next. It names the printer, which everybody who has the link may see anyway, and
/// nobody's address.
pub(crate) fn notice_page(page: &NoticePage<'_>) -> String {
    let page = NoticeTemplate { page };
    page.render().expect("writing to a string cannot fail, and no value of the template returns an error")
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    error: RelayError,
    advice: &'static str,
    wait: Option<Wait>,
    help_url: &'a str,
    request_id: &'a RequestId,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordTemplate<'a> {
    action: &'a str,
    return_to: &'a str,
    problem: Option<PasswordProblem>,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct NoticeTemplate<'a> {
    page: &'a NoticePage<'a>,
}

/// Its colours are also those of the site's stylesheet; a test of the site compares the two.
const STYLE: &str = include_str!("../templates/page.css");

/// Allows the page's own stylesheet, known by its hash, and no more than `rest` besides. `data:` images are for the
/// empty icon.
fn policy(rest: &str) -> HeaderValue {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; {rest}");
    HeaderValue::try_from(policy).expect("the policy is visible ASCII")
}

/// The next step of the person in front of the page.
const fn advice(error: RelayError) -> &'static str {
    match error {
        RelayError::Unknown => "If it keeps happening, tell whoever runs this service.",
        RelayError::PrinterOffline => {
            "Check that the printer's computer is switched on and online, or ask the printer's owner to."
        }
        RelayError::PrinterTimeout => {
            "The printer's computer is online. Its printing software may be busy, starting, or stopped."
        }
        RelayError::ConnectionNotFound => "Check the address for a typing mistake, or ask for a new link.",
        RelayError::ConnectionRevoked => "Ask the printer's owner for a new link.",
        RelayError::NotSupporter => "It works again, unchanged, as soon as the owner's plan includes them.",
        RelayError::InvalidCredentials => {
            "This address belongs to an app: open the printer in the app, or connect the app anew."
        }
        RelayError::DownloadTooLarge | RelayError::UploadTooLarge => {
            "Choose a smaller file, or transfer it on the printer's own network."
        }
        RelayError::WebcamLimit => "Everything but the moving picture still works.",
        RelayError::PluginUpdateRequired => "Ask the printer's owner to update it.",
        RelayError::NoBetaAccess => "Whoever runs this service can grant it.",
        RelayError::PluginError => "If it keeps happening, ask the printer's owner to update it.",
        RelayError::NoActivePrint => "Start a print, then ask again.",
    }
}

/// Seconds, written the way people say it. Rounded up: trying too early is answered with the same page.
struct Wait(u32);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0 {
            seconds @ ..90 => (seconds, "second"),
            seconds @ 90..5400 => (seconds.div_ceil(60), "minute"),
            seconds => (seconds.div_ceil(3600), "hour"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

impl fmt::Display for PasswordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong => f.write_str("This is not the password. Check it and try again."),
            Self::TooManyAttempts { retry_after_seconds } => {
                write!(f, "Too many passwords were tried. Try again in {}.", Wait(*retry_after_seconds))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roxmltree::{Document, ParsingOptions};

    use super::*;

    #[test]
    fn every_error_has_a_page_that_says_whether_it_passes() {
        for error in RelayError::ALL {
            let html = page_of(error, error.retry_after_seconds());
            let page = parse(&html);
            assert_eq!(text_of(&page, "title"), format!("{} {}", error.code(), error.reason_phrase()));
            assert_eq!(text_of(&page, "h1"), error.message());
            assert_eq!(html.contains("can pass by itself"), error.is_temporary(), "{error}");
            assert_eq!(html.contains(">Try again</a>"), error.is_temporary(), "{error}");
        }
    }

    #[test]
    fn waits_are_written_the_way_people_say_them() {
        let cases = [
            (1, "1 second"),
            (15, "15 seconds"),
            (89, "89 seconds"),
            (90, "2 minutes"),
            (301, "6 minutes"),
            (3600, "60 minutes"),
            (5400, "2 hours"),
            (u32::MAX, "1193047 hours"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Wait(seconds).to_string(), expected);
        }
    }

    #[test]
    fn the_password_page_says_why_it_is_shown_again() {
        let plain = password(None);
        assert!(!plain.contains("role=\"alert\""));
        let again = password(Some(PasswordProblem::TooManyAttempts { retry_after_seconds: 30 }));
        let page = parse(&again);
        let alert = page.descendants().find(|node| node.attribute("role") == Some("alert")).expect("an alert");
        assert_eq!(alert.text(), Some("Too many passwords were tried. Try again in 30 seconds."));
        let described = page.descendants().find(|node| node.attribute("aria-describedby").is_some());
        assert_eq!(described.and_then(|node| node.attribute("aria-describedby")), alert.attribute("id"));
    }

    #[test]
    fn the_form_carries_the_password_and_the_way_back() {
        let html = password(None);
        let page = parse(&html);
        let form = page.descendants().find(|node| node.has_tag_name("form")).expect("a form");
        assert_eq!((form.attribute("method"), form.attribute("action")), (Some("post"), Some("/unlock")));
        let fields: Vec<_> = form
            .descendants()
            .filter(|node| node.has_tag_name("input"))
            .map(|input| (input.attribute("name"), input.attribute("value")))
            .collect();
        assert_eq!(fields, [(Some(RETURN_TO_FIELD), Some("/webcam/?a=1&b=2")), (Some(PASSWORD_FIELD), None)]);
        let label = page.descendants().find(|node| node.has_tag_name("label")).expect("a label");
        assert!(form.descendants().any(|node| node.attribute("id") == label.attribute("for")));
    }

    #[test]
    fn pages_load_nothing_and_run_nothing() {
        for html in [page_of(RelayError::PrinterOffline, Some(15)), password(Some(PasswordProblem::Wrong)), notice()] {
            let page = parse(&html);
            for node in page.descendants().filter(roxmltree::Node::is_element) {
                assert!(
                    !["script", "img", "iframe", "object", "embed", "base"].contains(&node.tag_name().name()),
                    "<{}>",
                    node.tag_name().name()
                );
                for attribute in node.attributes() {
                    assert!(!attribute.name().starts_with("on") && attribute.name() != "style", "{attribute:?}");
                }
                if node.has_tag_name("link") {
                    assert_eq!(node.attribute("href"), Some("data:,"));
                }
            }
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn policies_allow_the_style_that_the_pages_contain() {
        for (html, policy) in [
            (page_of(RelayError::Unknown, None), &ERROR_PAGE_POLICY),
            (password(None), &FORM_PAGE_POLICY),
            (notice(), &FORM_PAGE_POLICY),
        ] {
            let page = parse(&html);
            let style = text_of(&page, "style");
            let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
            let policy = policy.to_str().expect("visible ASCII");
            assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        }
    }

    proptest! {
        /// Texts from outside may change what a page says, never what it consists of.
        #[test]
        fn no_text_adds_an_element_or_attribute(
            text in prop_oneof![
                "\\PC*",
                Just("\"><script>alert(1)</script>".to_owned()),
                Just("' onfocus='alert(1)".to_owned()),
                Just("</style></title><img src=x onerror=alert(1)>".to_owned()),
                Just("{{ 7 * 7 }}&lt;&#60;".to_owned()),
            ]
        ) {
            let request_id = request_id();
            let facts = |help_url| ErrorPageFacts { help_url, request_id: &request_id, retry_after: None };
            prop_assert_eq!(
                shape(&error_page(RelayError::Unknown, &facts(&text))),
                shape(&error_page(RelayError::Unknown, &facts("")))
            );
            let form = |text| PasswordPage { action: text, return_to: text, problem: None };
            let html = password_page(&form(&text));
            prop_assert_eq!(shape(&html), shape(&password_page(&form(""))));
            let page = parse(&html);
            let way_back = page.descendants().find(|node| node.attribute("name") == Some(RETURN_TO_FIELD));
            prop_assert_eq!(way_back.and_then(|node| node.attribute("value")), Some(text.as_str()));
            let notice = |text| notice_page(&NoticePage {
                action: text,
                return_to: text,
                printer_name: text,
                domain: text,
                abuse_contact: Some(text),
            });
            prop_assert_eq!(shape(&notice(&text)), shape(&notice("")));
        }
    }

    fn request_id() -> RequestId {
        "abcdefgh12345678".parse().expect("a valid id")
    }

    fn page_of(error: RelayError, retry_after: Option<u32>) -> String {
        let help_url = format!("https://spoolway.example/errors/{}", error.code());
        error_page(error, &ErrorPageFacts { help_url: &help_url, request_id: &request_id(), retry_after })
    }

    fn password(problem: Option<PasswordProblem>) -> String {
        password_page(&PasswordPage { action: "/unlock", return_to: "/webcam/?a=1&b=2", problem })
    }

    fn notice() -> String {
        notice_page(&NoticePage {
            action: "/go-on",
            return_to: "/webcam/?a=1&b=2",
            printer_name: "Ada's printer",
            domain: "spoolway.example",
            abuse_contact: Some("abuse@spoolway.example"),
        })
    }

    /// The templates keep to the part of HTML that is XML too, so that a strict parser can vouch for them.
    fn parse(html: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(html, options).unwrap_or_else(|error| panic!("{error} in\n{html}"))
    }

    fn text_of<'a>(page: &'a Document<'_>, tag: &str) -> &'a str {
        page.descendants().find(|node| node.has_tag_name(tag)).and_then(|node| node.text()).unwrap_or_default()
    }

    fn shape(html: &str) -> Vec<String> {
        parse(html)
            .descendants()
            .filter(roxmltree::Node::is_element)
            .map(|node| {
                let attributes: Vec<&str> = node.attributes().map(|attribute| attribute.name()).collect();
                format!("{} {attributes:?}", node.tag_name().name())
            })
            .collect()
    }
}
