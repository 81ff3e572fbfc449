//! Ids and labels, each its own type so that mixing them up does not compile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::{random_alphanumeric, random_base32, random_name};

/// A text that is no id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an id has 1 to 64 letters and digits")]
pub struct IdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $generate:ident($generated_length:literal)) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Draws a new one at random.
            pub fn generate() -> Self {
                Self($generate($generated_length))
            }

            /// The id as text, letters and digits only.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if valid { Ok(Self(text.to_owned())) } else { Err(IdError) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An owner's account.
    AccountId,
    random_alphanumeric(20)
);
id!(
    /// A printer. 48 characters when made here: the existing plugin's ids have 40 to 60.
    PrinterId,
    random_alphanumeric(48)
);
id!(
    /// An App Connection or a Shared Connection.
    ConnectionId,
    random_alphanumeric(20)
);
id!(
    /// One visitor's request, as it appears in the error body, the service's log and the agent's log.
    RequestId,
    random_name(16)
);
id!(
    /// Somebody's sign-in in one browser. It names the session in lists; what opens it is a secret of its own.
    SessionId,
    random_alphanumeric(20)
);
id!(
    /// An invitation or another one-time token. It names the token in lists and does not open it.
    TokenId,
    random_alphanumeric(20)
);
id!(
    /// A live link, and all that it takes to open it: 160 bits in letters that survive being read out.
    LiveId,
    random_base32(32)
);

/// A text that is no label.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a label has 1 to 56 letters `a`–`z` and digits")]
pub struct LabelError;

/// The random part of a connection's host name: `app-<label>.P`.
///
/// Letter case does not matter, people hard-code upper-case labels in firmware. Ours have 32 base32 characters, 160
/// bits; any text of the same form is accepted when reading, so that an unknown one is answered with 603.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// Room for the longest prefix, `shared-`, within the 63 characters of a DNS label (RFC 1035 §2.3.4).
    const MAX_LENGTH: usize = 56;

    /// Draws a new one at random.
    pub fn generate() -> Self {
        Self(random_base32(32))
    }

    /// The label in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;
    fn from_str(text: &str) -> Result<Self, LabelError> {
        let valid =
            (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(LabelError) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_ignore_case_and_refuse_what_dns_would() {
        assert_eq!("ABC234".parse::<Label>(), "abc234".parse());
        for bad in ["", "a-b", "a.b", "ä", "a b", &"a".repeat(57)] {
            assert_eq!(bad.parse::<Label>(), Err(LabelError), "{bad:?}");
        }
        assert_eq!(Label::generate().as_str().len(), 32);
    }

    #[test]
    fn ids_hold_letters_and_digits_only() {
        assert!("a/../b".parse::<PrinterId>().is_err());
        assert!("".parse::<AccountId>().is_err());
        let id = PrinterId::generate();
        assert_eq!(id.as_str().parse::<PrinterId>(), Ok(id));
    }
}
