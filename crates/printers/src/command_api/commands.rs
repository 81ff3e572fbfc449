//! Which commands there are, and which request means which.

use http::Method;
use model::wire::COMMAND_API_PREFIX;
use percent_encoding::percent_decode_str;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    WebcamSnapshot,
    WebcamStream,
    FilesUpload,
    FilesDownload,
    PluginLogs,
    Ping,
    Status,
    WebcamList,
    SetDefaultWebcam,
    LocalWebcamItems,
    SetLocalWebcamItems,
    ConnectionInfo,
    Pause,
    Resume,
    Cancel,
    Start,
    SetLight,
    MoveAxis,
    Home,
    Extrude,
    SetTemp,
    Native,
    FilesList,
    FilesDetails,
    FilesDelete,
    Rekey,
    MqttProxy,
}

/// Names, lower case, as they stand behind the prefix.
const NAMES: [(&str, Command); 28] = [
    ("webcam/snapshot", Command::WebcamSnapshot),
    ("webcam/stream", Command::WebcamStream),
    ("files/upload", Command::FilesUpload),
    ("files/download", Command::FilesDownload),
    ("get-plugin-logs", Command::PluginLogs),
    ("ping", Command::Ping),
    ("status", Command::Status),
    ("webcam/list", Command::WebcamList),
    ("list-webcam", Command::WebcamList),
    ("set-default-webcam", Command::SetDefaultWebcam),
    ("get-local-plugin-webcam-items", Command::LocalWebcamItems),
    ("set-local-plugin-webcam-items", Command::SetLocalWebcamItems),
    ("get-connection-info", Command::ConnectionInfo),
    ("pause", Command::Pause),
    ("resume", Command::Resume),
    ("cancel", Command::Cancel),
    ("start", Command::Start),
    ("set-light", Command::SetLight),
    ("move-axis", Command::MoveAxis),
    ("home", Command::Home),
    ("extrude", Command::Extrude),
    ("set-temp", Command::SetTemp),
    ("send-command", Command::Native),
    ("files/list", Command::FilesList),
    ("files/details", Command::FilesDetails),
    ("files/delete", Command::FilesDelete),
    ("rekey", Command::Rekey),
    ("proxy/mqtt", Command::MqttProxy),
];

/// The part of a request's path that should name a command; `None` where the path is none of the command API's.
///
/// The path is decoded once, and its case does not matter.
pub(super) fn below_prefix(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
    path.strip_prefix(COMMAND_API_PREFIX).map(str::to_owned)
}

impl Command {
    /// Reads what stands behind the prefix; one trailing slash is no matter, everything else is.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix('/').unwrap_or(name);
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, command)| *command)
    }

    /// Its name, for the log.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, command)| *command == self).map_or("", |(name, _)| name)
    }

    /// Whether it changes anything.
    pub(super) const fn acts(self) -> bool {
        match self {
            Self::WebcamSnapshot
            | Self::WebcamStream
            | Self::FilesDownload
            | Self::PluginLogs
            | Self::Ping
            | Self::Status
            | Self::WebcamList
            | Self::LocalWebcamItems
            | Self::ConnectionInfo
            | Self::FilesList
            | Self::FilesDetails
            | Self::MqttProxy => false,
            Self::FilesUpload
            | Self::SetDefaultWebcam
            | Self::SetLocalWebcamItems
            | Self::Pause
            | Self::Resume
            | Self::Cancel
            | Self::Start
            | Self::SetLight
            | Self::MoveAxis
            | Self::Home
            | Self::Extrude
            | Self::SetTemp
            | Self::Native
            | Self::FilesDelete
            | Self::Rekey => true,
        }
    }

    /// Whether its answer is not JSON but bytes, with a real status.
    pub(super) const fn is_raw(self) -> bool {
        matches!(self, Self::WebcamSnapshot | Self::WebcamStream | Self::FilesDownload | Self::PluginLogs)
    }

    /// Whether the method fits. Arguments travel in a body, so what only reads may be posted too; apps that shipped
    /// before methods were looked at get what acts as well, so from them it is taken.
    pub(super) fn takes(self, method: &Method, from_app: bool) -> bool {
        match *method {
            Method::POST => true,
            Method::GET | Method::HEAD if !self.acts() => true,
            Method::GET => from_app && self != Self::FilesUpload,
            Method::PUT => self == Self::FilesUpload,
            Method::DELETE => self == Self::FilesDelete,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(path: &str) -> Option<Option<Command>> {
        below_prefix(path).map(|name| Command::from_name(&name))
    }

    #[test]
    fn paths_match_whole_and_in_any_case() {
        for (path, expected) in [
            ("/octoeverywhere-command-api/ping", Some(Some(Command::Ping))),
            ("/OctoEverywhere-Command-API/Webcam/Snapshot/", Some(Some(Command::WebcamSnapshot))),
            ("/octoeverywhere%2dcommand-api/%70ause", Some(Some(Command::Pause))),
            ("/octoeverywhere-command-api/pausexyz", Some(None)),
            ("/octoeverywhere-command-api/pause//", Some(None)),
            ("/octoeverywhere-command-api//pause", Some(None)),
            ("/octoeverywhere-command-api/./pause", Some(None)),
            ("/octoeverywhere-command-api/x/../pause", Some(None)),
            ("/octoeverywhere-command-api/pause%20", Some(None)),
            ("/octoeverywhere-command-api/%2570ause", Some(None)),
            ("/octoeverywhere-command-api/rekeyx", Some(None)),
            ("/octoeverywhere-command-api/", Some(None)),
            ("/octoeverywhere-command-api", None),
            ("//octoeverywhere-command-api/pause", None),
            ("/x/octoeverywhere-command-api/pause", None),
            ("/", None),
        ] {
            assert_eq!(command(path), expected, "{path}");
        }
        for (name, command) in NAMES {
            assert_eq!(Command::from_name(name), Some(command));
        }
    }

    #[test]
    fn what_acts_is_posted() {
        for (_, command) in NAMES {
            let taken = |method: Method| (command.takes(&method, false), command.takes(&method, true));
            assert_eq!(taken(Method::POST), (true, true));
            let by_app = !command.acts() || command != Command::FilesUpload;
            assert_eq!(taken(Method::GET), (!command.acts(), by_app), "{command:?}");
            assert_eq!(taken(Method::HEAD), (!command.acts(), !command.acts()), "{command:?}");
            assert_eq!(taken(Method::PUT).0, command == Command::FilesUpload);
            assert_eq!(taken(Method::DELETE).0, command == Command::FilesDelete);
            assert_eq!(taken(Method::OPTIONS), (false, false));
        }
    }
}
