//! Texts that people type, checked once and then carried in types of their own.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::error::StoreError;

/// A text that is not what it should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TextError(&'static str);

impl From<TextError> for StoreError {
    fn from(error: TextError) -> Self {
        Self::Invalid(error.0)
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                let read: fn(&str) -> Result<String, TextError> = $read;
                read(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text!(
    /// The address by which an account is known, in lower case. Only its form is checked: whether mail arrives there
    /// can only be found out by sending some.
    EmailAddress,
    read_email_address
);
text!(
    /// An owner's name for a printer, or an app's name for itself: 1 to 100 characters on one line.
    Name,
    read_name
);
text!(
    /// The name of a beta feature: lower case letters, digits and dashes.
    Feature,
    read_feature
);

/// RFC 5321 §4.5.3.1.3 allows a path of 256 octets, two of which are the angle brackets.
const MAX_EMAIL_LENGTH: usize = 254;
/// Long enough for every name seen in use, short enough for a table in a terminal and for a line on a phone.
const MAX_NAME_LENGTH: usize = 100;
/// Feature names are chosen in the source; the limit only keeps a mistyped one from filling the table.
const MAX_FEATURE_LENGTH: usize = 64;

fn read_email_address(text: &str) -> Result<String, TextError> {
    let text = text.trim();
    let is_plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    let has_both_sides = text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if !has_both_sides || !is_plain {
        return Err(TextError("an e-mail address has the form `name@example.org`"));
    }
    if text.len() > MAX_EMAIL_LENGTH {
        return Err(TextError("an e-mail address has at most 254 bytes"));
    }
    Ok(text.to_lowercase())
}

fn read_name(text: &str) -> Result<String, TextError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_NAME_LENGTH {
        return Err(TextError("a name has 1 to 100 characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(TextError("a name has no line breaks or other control characters"));
    }
    Ok(text.to_owned())
}

fn read_feature(text: &str) -> Result<String, TextError> {
    let is_valid = (1..=MAX_FEATURE_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err(TextError("a feature's name has 1 to 64 lower case letters, digits and dashes, like `gadget-api`"))
    }
}

/// Versions and addresses come from agents, who are strangers until proven otherwise and may send anything. What is
/// shown in lists is one line of bounded length.
pub(crate) fn cut_foreign_text(text: &str) -> String {
    cut_foreign_text_to(text, MAX_NAME_LENGTH)
}

pub(crate) fn cut_foreign_text_to(text: &str, max_length: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max_length).collect()
}
