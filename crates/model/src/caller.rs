//! Who is behind a relayed request, as the service tells the agent.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// By which kind of door a caller came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// An App Connection.
    App,
    /// A Shared Connection.
    Shared,
    /// The owner, or somebody whom the owner has made an operator, signed in.
    Owner,
}

impl CallerKind {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::App, Self::Shared, Self::Owner];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Shared => "shared",
            Self::Owner => "owner",
        }
    }
}

/// What a caller of the command API is and may do: the value of [`CALLER_HEADER`](crate::wire::CALLER_HEADER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// By which door it came.
    pub kind: CallerKind,
    /// Whether it may tell the printer what to do. It may not where its connection has no such right, and where a page
    /// of another origin has caused the request.
    pub may_control: bool,
    /// Whether it may also do what nothing can check, such as sending messages in the printer's own language.
    pub has_full_control: bool,
}

const CONTROL: &str = "control";
const FULL: &str = "full";

/// A text that is no [`Caller`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a caller")]
pub struct CallerError;

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if self.may_control {
            write!(f, " {CONTROL}")?;
        }
        if self.has_full_control {
            write!(f, " {FULL}")?;
        }
        Ok(())
    }
}

impl FromStr for Caller {
    type Err = CallerError;

    /// Rights that this build does not know are not granted.
    fn from_str(text: &str) -> Result<Self, CallerError> {
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default();
        let kind = CallerKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(CallerError)?;
        let rights: Vec<&str> = words.collect();
        Ok(Self { kind, may_control: rights.contains(&CONTROL), has_full_control: rights.contains(&FULL) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        for kind in CallerKind::ALL {
            for (may_control, has_full_control) in [(false, false), (true, false), (true, true)] {
                let caller = Caller { kind, may_control, has_full_control };
                assert_eq!(caller.to_string().parse(), Ok(caller));
            }
        }
        for bad in ["", "App", "owner,control", "root", " app"] {
            assert_eq!(bad.parse::<Caller>(), Err(CallerError), "{bad:?}");
        }
        let newer = "app fly".parse::<Caller>().map(|caller| (caller.may_control, caller.has_full_control));
        assert_eq!(newer, Ok((false, false)));
    }
}
