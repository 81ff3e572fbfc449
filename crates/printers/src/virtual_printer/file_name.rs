//! Names of uploaded files.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// A name that is safe in paths, headers and pages alike: letters, digits, `.`, `_`, `-` and spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName(String);

/// A text that is no file name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a file name has 1 to 128 letters, digits, `.`, `_`, `-` or spaces, and begins with a letter, a digit or `_`")]
pub(super) struct FileNameError;

impl FileName {
    const MAX_LENGTH: usize = 128;

    /// Reads the last segment of a URL's path, still percent-encoded.
    pub(super) fn from_path_segment(segment: &str) -> Result<Self, FileNameError> {
        percent_decode_str(segment).decode_utf8().map_err(|_| FileNameError)?.parse()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it looks like something to print.
    pub(super) fn is_gcode(&self) -> bool {
        self.0.rsplit_once('.').is_some_and(|(_, extension)| {
            ["gcode", "gco", "g"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        })
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
        let fits = text.len() <= Self::MAX_LENGTH
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte));
        if begins_well && fits { Ok(Self(text.to_owned())) } else { Err(FileNameError) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names_pass() {
        for good in ["cube.gcode", "3D Benchy (no).gcode".replace(['(', ')'], "-").as_str(), "_", &"a".repeat(128)] {
            assert!(good.parse::<FileName>().is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", ".hidden", "-rf", " a", "a/b", "a\\b", "ä", "a\0", "a\r\nb", &"a".repeat(129)] {
            assert_eq!(bad.parse::<FileName>(), Err(FileNameError), "{bad:?}");
        }
        for bad in ["%2e%2e", "a%2fb", "%2Fetc%2Fpasswd", "%ff", "a%00", "..%5c"] {
            assert!(FileName::from_path_segment(bad).is_err(), "{bad:?}");
        }
        assert_eq!(FileName::from_path_segment("a%20b.g").map(|name| name.to_string()), Ok("a b.g".to_owned()));
    }
}
