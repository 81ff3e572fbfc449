//! Files of a printer under one naming for all platforms: `gcode/folder/part.gcode`.

use std::fmt;

use http::HeaderValue;
use model::printing::MAX_TEXT;
use serde_json::{Map, Value};
use thiserror::Error;
use tunnel::agent_services::ServiceBody;

/// Bytes of a whole path; file systems end paths at 4096, and what a printer shows of one is far shorter.
const MAX_PATH: usize = 1024;

/// What a path begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// Files to print.
    Gcode,
    /// The software's configuration.
    Config,
    /// Its logs.
    Logs,
}

impl Root {
    /// All there are, in the order in which they are listed.
    pub(crate) const ALL: [Self; 3] = [Self::Gcode, Self::Config, Self::Logs];

    /// Its name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gcode => "gcode",
            Self::Config => "config",
            Self::Logs => "logs",
        }
    }

    /// Reads a name, in any case; `gcodes` is Moonraker's own name for the first.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("gcodes") {
            return Some(Self::Gcode);
        }
        Self::ALL.into_iter().find(|root| root.as_str().eq_ignore_ascii_case(name))
    }
}

/// What may be done below which roots; empty where a platform has no files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileRights {
    pub(crate) list: &'static [Root],
    pub(crate) upload: &'static [Root],
    pub(crate) download: &'static [Root],
    pub(crate) delete: &'static [Root],
    pub(crate) details: &'static [Root],
}

/// A file's name below a root: at least one segment, none of them empty, `.` or `..`, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VirtualPath {
    root: Root,
    /// Without the root, without a leading slash.
    relative: String,
}

/// A text that is no [`VirtualPath`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum VirtualPathError {
    #[error("the path is missing")]
    Missing,
    #[error("the path is too long")]
    TooLong,
    #[error("the path must not contain `.` or `..` segments, or control characters")]
    Traversal,
    #[error("the path must begin with a root such as `gcode`")]
    UnknownRoot,
    #[error("the path names a root, and no file in it")]
    RootAlone,
}

impl VirtualPath {
    /// Reads a path: backslashes are slashes, and what is doubled or leads counts once.
    pub(crate) fn parse(text: &str) -> Result<Self, VirtualPathError> {
        if text.len() > MAX_PATH {
            return Err(VirtualPathError::TooLong);
        }
        let text = text.replace('\\', "/");
        let mut segments = text.split('/').map(str::trim).filter(|segment| !segment.is_empty());
        let root = segments.next().ok_or(VirtualPathError::Missing)?;
        let rest: Vec<&str> = segments.collect();
        for segment in std::iter::once(&root).chain(&rest) {
            // What is still encoded may be decoded once more by the printer's software.
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
            let is_step = |text: &str| matches!(text.trim(), "." | "..");
            let is_harmful = is_step(segment)
                || is_step(&decoded)
                || segment.chars().any(char::is_control)
                || decoded.contains(['/', '\\', '\0'])
                || decoded.chars().any(char::is_control);
            if is_harmful {
                return Err(VirtualPathError::Traversal);
            }
            if segment.len() > MAX_TEXT {
                return Err(VirtualPathError::TooLong);
            }
        }
        let root = Root::from_name(root).ok_or(VirtualPathError::UnknownRoot)?;
        if rest.is_empty() {
            return Err(VirtualPathError::RootAlone);
        }
        Ok(Self { root, relative: rest.join("/") })
    }

    pub(crate) fn root(&self) -> Root {
        self.root
    }

    /// The path below the root: `folder/part.gcode`.
    pub(crate) fn relative(&self) -> &str {
        &self.relative
    }

    /// The folder below the root, empty where the file is right in it, and the file's own name.
    pub(crate) fn folder_and_name(&self) -> (&str, &str) {
        self.relative.rsplit_once('/').unwrap_or(("", &self.relative))
    }

    /// The relative path with everything encoded that means something in a URL; slashes stay.
    pub(crate) fn encoded(&self) -> String {
        encode_path(&self.relative)
    }
}

/// Encodes each segment of a path for a URL.
pub(crate) fn encode_path(path: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');
    percent_encoding::utf8_percent_encode(path, KEPT).to_string()
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.root.as_str(), self.relative)
    }
}

/// What is below a root.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listing {
    pub(crate) files: Vec<FileEntry>,
    /// Paths of folders below the root; those of the files need not be in it.
    pub(crate) folders: Vec<String>,
}

/// A file in a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileEntry {
    /// Below the root: `folder/part.gcode`.
    pub(crate) relative: String,
    /// As the platform itself calls it.
    pub(crate) platform_path: String,
    pub(crate) size: Option<u64>,
    /// Seconds since 1970.
    pub(crate) modified: Option<f64>,
    pub(crate) permissions: Option<String>,
}

/// What is known of one file; what is not is absent in the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileDetails {
    pub(crate) platform_path: String,
    pub(crate) size: Option<u64>,
    pub(crate) modified: Option<f64>,
    /// What slicers and software say of it, by the names of the interface: `LayerCount`, `FilamentType`, …
    pub(crate) known: Map<String, Value>,
    /// The software's own words, whole.
    pub(crate) platform_details: Option<Value>,
}

/// What came of storing, removing or printing a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileChange {
    /// As the platform itself calls it.
    pub(crate) platform_path: String,
    /// What the software named it, below the root, where that differs from what was asked for.
    pub(crate) stored_as: Option<String>,
    pub(crate) printer_response: Option<Value>,
}

/// A file on its way to the printer.
pub(crate) struct Upload {
    pub(crate) body: ServiceBody,
    /// Bytes, where the sender said so.
    pub(crate) length: Option<u64>,
}

/// A file on its way from the printer.
pub(crate) struct Download {
    pub(crate) body: ServiceBody,
    pub(crate) length: Option<u64>,
    pub(crate) content_type: Option<HeaderValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_root() {
        for (text, expected) in [
            ("gcode/a.gcode", "gcode/a.gcode"),
            ("/GCODE//x/ b.gcode", "gcode/x/b.gcode"),
            ("gcodes\\x\\c d.gcode", "gcode/x/c d.gcode"),
            ("config/printer.cfg", "config/printer.cfg"),
            ("gcode/..a/b..", "gcode/..a/b.."),
            ("gcode/100%.gcode", "gcode/100%.gcode"),
        ] {
            assert_eq!(VirtualPath::parse(text).map(|path| path.to_string()), Ok(expected.to_owned()), "{text}");
        }
        use VirtualPathError::*;
        for (text, expected) in [
            ("", Missing),
            ("///", Missing),
            ("gcode", RootAlone),
            ("gcode/", RootAlone),
            ("etc/passwd", UnknownRoot),
            ("gcode/../config/x", Traversal),
            ("../gcode/x", Traversal),
            ("gcode/./x", Traversal),
            ("gcode/%2e%2e/x", Traversal),
            ("gcode/%2E./x", Traversal),
            ("gcode/a%2f..%2fb", Traversal),
            ("gcode/a%5cb", Traversal),
            ("gcode\\..\\x", Traversal),
            ("gcode/ .. /x", Traversal),
            ("gcode/a\0b", Traversal),
            ("gcode/a%00b", Traversal),
            ("gcode/a\nb", Traversal),
        ] {
            assert_eq!(VirtualPath::parse(text), Err(expected), "{text:?}");
        }
        assert_eq!(VirtualPath::parse(&format!("gcode/{}", "a".repeat(4096))), Err(TooLong));
        assert_eq!(VirtualPath::parse(&format!("gcode/{}", "a".repeat(300))), Err(TooLong));
    }

    #[test]
    fn urls_of_paths_mean_nothing_else() {
        let encoded = VirtualPath::parse("gcode/a b/c?d#é%.gcode").map(|path| path.encoded());
        assert_eq!(encoded, Ok("a%20b/c%3Fd%23%C3%A9%25.gcode".to_owned()));
    }
}
