//! What the site says about each error code.

use std::fmt;

use model::RelayError;

/// The texts of one code's page.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// Paragraphs.
    pub(crate) happened: &'static [&'static str],
    /// Whether waiting helps.
    pub(crate) passes: &'static str,
    /// Steps of somebody who wants to reach the printer.
    pub(crate) visitor: &'static [&'static str],
    /// Steps of the printer's owner.
    pub(crate) owner: &'static [&'static str],
    /// What an app should do, and what it can rely on.
    pub(crate) developer: &'static [&'static str],
    /// The header's value, in words.
    pub(crate) retry_after: &'static str,
}

/// Where a code can occur.
#[derive(Debug)]
pub(crate) struct Surfaces {
    pub(crate) relayed_http: bool,
    pub(crate) websocket_handshake: bool,
    pub(crate) open_websocket: bool,
    pub(crate) app_apis: bool,
}

impl fmt::Display for Surfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [
            (self.relayed_http, "requests to the printer"),
            (self.websocket_handshake, "WebSocket handshakes"),
            (self.open_websocket, "open WebSockets"),
            (self.app_apis, "App APIs"),
        ];
        let places: Vec<&str> = places.into_iter().filter(|(occurs, _)| *occurs).map(|(_, place)| place).collect();
        write!(f, "In {}", places.join(", "))
    }
}

/// Where `error` can occur.
pub(crate) const fn surfaces(error: RelayError) -> Surfaces {
    let (relayed_http, websocket_handshake, open_websocket, app_apis) = match error {
        RelayError::Unknown
        | RelayError::PrinterOffline
        | RelayError::PrinterTimeout
        | RelayError::ConnectionRevoked
        | RelayError::NotSupporter
        | RelayError::PluginError => (true, true, true, true),
        RelayError::ConnectionNotFound => (true, true, false, true),
        // An app token that is wrong belongs to nothing: 603.
        RelayError::InvalidCredentials => (true, true, false, false),
        RelayError::DownloadTooLarge | RelayError::UploadTooLarge | RelayError::WebcamLimit => {
            (true, false, false, false)
        }
        RelayError::PluginUpdateRequired | RelayError::NoBetaAccess => (true, false, false, true),
        RelayError::NoActivePrint => (false, false, false, true),
    };
    Surfaces { relayed_http, websocket_handshake, open_websocket, app_apis }
}

/// What there is to say about `error`.
pub(crate) const fn explanation(error: RelayError) -> Explanation {
    match error {
        RelayError::Unknown => Explanation {
            happened: &[
                "Something failed in the service itself, or it could not prove that a more precise code applies.",
                "It also answers this way when it is overloaded, when too many requests come from one address, and when \
                 it cannot ask its database: it never says that a connection is gone unless it knows.",
            ],
            passes: "Usually, within seconds.",
            visitor: &[
                "Wait a few seconds, then try again.",
                "If it goes on for minutes, tell whoever runs the service, and give them the request id of the error.",
            ],
            owner: &[
                "Nothing has to be changed at the printer. A print that is running goes on.",
                "If you run the service yourself, search its log for the request id.",
            ],
            developer: &[
                "Keep the stored connection.",
                "Wait as long as Retry-After says, then double the pause with each further failure.",
            ],
            retry_after: "5 seconds",
        },
        RelayError::PrinterOffline => Explanation {
            happened: &[
                "The printer's agent, the small program that runs beside the printer and connects it to the service, has \
                 no connection to the service.",
                "The printer itself may well be printing: only the way to it is missing.",
            ],
            passes: "Yes, as soon as the agent is back. After a short break of the network that takes seconds; a computer \
                     that was switched off has to be switched on.",
            visitor: &[
                "Try again in a minute.",
                "Ask the printer's owner whether the computer beside the printer is switched on and online.",
            ],
            owner: &[
                "Check that the computer beside the printer is switched on and reaches the internet.",
                "Check that the agent is running. Its log says why it cannot connect.",
            ],
            developer: &[
                "Keep the stored connection, and show the printer as offline.",
                "A request that was under way when the connection was lost may have been carried out: look before you \
                 repeat one that changes something.",
            ],
            retry_after: "15 seconds if the agent was lost within the last two minutes, else 60 seconds",
        },
        RelayError::PrinterTimeout => Explanation {
            happened: &[
                "The agent beside the printer is connected, but the printer's own software could not be reached or did \
                 not answer in time.",
                "The service waits 25 seconds for an answer, two minutes if the request has a body, and ten minutes after a \
                 body over 1 MiB, because printing software analyses an uploaded file before it answers.",
            ],
            passes: "Often: the software may be starting, or busy with a large file. If it has stopped, somebody has to \
                     start it.",
            visitor: &[
                "Wait a few seconds, then try again.",
                "If you were uploading a file, look whether it has arrived before you send it again.",
            ],
            owner: &[
                "Open the printer's web interface on your own network. If it does not open there either, restart the \
                 printer's software.",
                "If it does, check the address of the printer that the agent was started with. The agent's log says what \
                 it tried.",
            ],
            developer: &[
                "Keep the stored connection.",
                "The request may have been carried out: look before you repeat one that changes something.",
                "An answer 502, 503 or 504 without X-Spoolway-Error is the printer software's own.",
            ],
            retry_after: "5 seconds",
        },
        RelayError::ConnectionNotFound => Explanation {
            happened: &[
                "The address has the form of a connection, but the service knows no such connection. Most often it was \
                 mistyped or copied in part.",
                "Connections that have ended are remembered for at least 400 days and answered with 604; after that they \
                 end up here too.",
            ],
            passes: "No.",
            visitor: &["Compare the address with the one that you were given, or ask for a new link."],
            owner: &[
                "Make a new connection, then set up the app with it or hand out the new link.",
                "If every connection that worked yesterday is unknown, the service may be running on an older copy of its \
                 database. Tell whoever runs it before you set anything up again.",
            ],
            developer: &[
                "The address, or the app token, will never work. Forget it, and ask your user to connect again.",
                "The service sends this code only after it has just looked and found nothing, so you can act on it.",
            ],
            retry_after: "Not sent",
        },
        RelayError::ConnectionRevoked => Explanation {
            happened: &["The connection existed, but it has ended: its owner revoked it, it expired, the printer was \
                         removed, or the owner's account was deleted."],
            passes: "No. An ended connection is never revived.",
            visitor: &["Ask the printer's owner for a new link."],
            owner: &[
                "If you did not mean to end it, make a new connection, then set up the app with it or hand out the \
                      new link.",
            ],
            developer: &[
                "The connection will never work again. Forget it, and ask your user to connect again.",
                "WebSockets that are open at that moment are closed, and transfers under way are broken off, within a \
                 second.",
            ],
            retry_after: "Not sent",
        },
        RelayError::NotSupporter => Explanation {
            happened: &[
                "Apps reach a printer through App Connections, and the plan of the printer's owner does not include them.",
                "A service that has no plans never answers this way.",
            ],
            passes: "Only when the plan changes. Then the connection works again as it was; nothing has to be set up anew.",
            visitor: &["Tell the printer's owner."],
            owner: &["Ask whoever runs the service which plans include App Connections."],
            developer: &[
                "Keep the stored connection, and tell your user why it rests.",
                "Try again when your user asks for it, and no more than once an hour by yourself.",
            ],
            retry_after: "3600 seconds",
        },
        RelayError::InvalidCredentials => Explanation {
            happened: &[
                "The address is a known one, but the request came without credentials or with wrong ones. The \
                         service does not say which.",
            ],
            passes: "No.",
            visitor: &[
                "An address that begins with app- belongs to an app: open the printer in that app.",
                "If you were given a link and a password for a printer, check the password.",
            ],
            owner: &["Connect the app anew, which gives it new credentials."],
            developer: &[
                "Send Authorization, either Basic with the connection's user and password or Bearer with its token, on \
                 every request, WebSocket handshakes and camera streams included.",
                "There is no WWW-Authenticate header and no challenge: libraries have to send credentials unasked.",
                "A WebSocket client that cannot set headers puts them into the query argument oe_api_key: the bearer \
                 token, or the base64 of user:password.",
                "If a request carries two credentials, both have to be right.",
                "Too many wrong guesses are answered with 600 and Retry-After, never with this code.",
            ],
            retry_after: "Not sent",
        },
        RelayError::DownloadTooLarge => Explanation {
            happened: &[
                "The plan of the printer's owner limits the size of one file that comes from the printer, and this \
                         one is larger.",
            ],
            passes: "No.",
            visitor: &["Fetch the file on the printer's own network."],
            owner: &["Ask whoever runs the service for a plan with a higher limit."],
            developer: &[
                "If the printer announced the length, this code comes before any of the body.",
                "If it did not, the body is broken off where it crosses the limit. What arrived until then is not a whole \
                 file.",
                "A range counts by its own length.",
            ],
            retry_after: "Not sent",
        },
        RelayError::UploadTooLarge => Explanation {
            happened: &[
                "The plan of the printer's owner limits the size of one file that is sent to the printer, and this \
                         one is larger. The printer keeps no part of it.",
            ],
            passes: "No.",
            visitor: &[
                "Slice the model so that the file becomes smaller, with a lower resolution or without pictures inside.",
                "Or upload it on the printer's own network.",
            ],
            owner: &["Ask whoever runs the service for a plan with a higher limit."],
            developer: &[
                "With a Content-Length, the request is refused before a byte of it is read; send Expect: 100-continue to \
                 be told before you send it.",
                "Without one, the upload is cut off where it crosses the limit, and the printer sees it fail.",
                "On HTTP/1.1 the connection is closed after the answer.",
            ],
            retry_after: "Not sent",
        },
        RelayError::WebcamLimit => Explanation {
            happened: &[
                "The plan of the printer's owner limits how long the moving picture of a camera may be watched \
                         within a certain time, and that time is used up. All viewers of the printer count together.",
            ],
            passes: "Yes. The error says when the picture can be watched again.",
            visitor: &["Wait. Everything else works: still pictures, the print's progress, and the controls."],
            owner: &[
                "Close viewers that nobody looks at. A forgotten browser tab or a dashboard on the wall counts as long as \
                 it streams.",
                "Ask whoever runs the service for a plan with a higher limit.",
            ],
            developer: &[
                "Show single pictures until Retry-After has passed: snapshots do not count.",
                "A stream that runs is not ended by this limit. It is broken off when it reaches the plan's limit for one \
                 stream; open it again then.",
            ],
            retry_after: "The seconds until a stream is allowed again",
        },
        RelayError::PluginUpdateRequired => Explanation {
            happened: &[
                "The software beside the printer that connects it to the service is too old for what was asked. \
                         Reaching the printer still works.",
            ],
            passes: "Not without an update.",
            visitor: &["Ask the printer's owner to update it. Until then, do without this feature."],
            owner: &["Update the agent or plugin beside the printer, and restart it."],
            developer: &[
                "Keep the stored connection, and switch off the feature.",
                "Plain relaying never answers this way.",
            ],
            retry_after: "3600 seconds",
        },
        RelayError::NoBetaAccess => Explanation {
            happened: &[
                "The feature is being tried out with some accounts, and the account of the printer's owner is not \
                         one of them.",
            ],
            passes: "Only when access is granted, or when the trial ends.",
            visitor: &["Do without this feature for now."],
            owner: &["Ask whoever runs the service to grant your account access."],
            developer: &["Keep the stored connection, and switch off the feature."],
            retry_after: "3600 seconds",
        },
        RelayError::PluginError => Explanation {
            happened: &[
                "The software beside the printer that connects it to the service made an error: it gave up on the \
                         request, or passed on an answer that cannot be understood.",
            ],
            passes: "Often.",
            visitor: &["Wait a few seconds, then try again."],
            owner: &[
                "Update the agent or plugin beside the printer.",
                "If it goes on, report it as a bug, with the request id and the agent's log of that moment.",
            ],
            developer: &[
                "Keep the stored connection.",
                "The request may have been carried out: look before you repeat one that changes something.",
            ],
            retry_after: "5 seconds",
        },
        RelayError::NoActivePrint => Explanation {
            happened: &["A Live Link that ends with the print was asked for, but nothing is being printed."],
            passes: "As soon as a print starts.",
            visitor: &["Start a print, then ask again."],
            owner: &["Start a print, then ask again, or choose a Live Link that ends at a fixed time."],
            developer: &["Offer EndWhenCurrentPrintIsComplete only while the printer warms up, prints, is paused or \
                          resumes."],
            retry_after: "60 seconds",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_to_everybody() {
        for error in RelayError::ALL {
            let explanation = explanation(error);
            let lists = [explanation.happened, explanation.visitor, explanation.owner, explanation.developer];
            let texts = lists.iter().flat_map(|list| list.iter()).chain([&explanation.passes]);
            for text in texts {
                assert!(text.ends_with(['.', '?']) && !text.contains("  "), "{error}: {text:?}");
            }
            assert!(lists.iter().all(|list| !list.is_empty()), "{error}");
        }
    }

    #[test]
    fn the_stated_retry_after_is_the_one_that_is_sent() {
        for error in RelayError::ALL {
            let stated = explanation(error).retry_after;
            match error.retry_after_seconds() {
                None => assert_eq!(stated, "Not sent", "{error}"),
                Some(_) if error == RelayError::WebcamLimit => assert!(stated.contains("until"), "{error}"),
                Some(seconds) => assert!(stated.contains(&format!("{seconds} seconds")), "{error}: {stated}"),
            }
        }
    }
}
