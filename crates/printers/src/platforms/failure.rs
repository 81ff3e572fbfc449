//! Why a command was not carried out, in the numbers of the command API.

use thiserror::Error;

/// Why a printer was not told something, or did not do it. The texts are for people; none of them holds a secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum CommandFailure {
    /// An argument is missing, of the wrong type or out of range; or the printer does not accept the command.
    #[error("{0}")]
    BadArguments(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such file or log.
    #[error("{0}")]
    NotFound(String),
    /// The software's own HTTP status, 400 to 599, of a question about files.
    #[error("{1}")]
    Software(u16, String),
    /// The arguments are no JSON object.
    #[error("the arguments are not a JSON object")]
    Unparsable,
    /// The printer did not answer in time, or with an error.
    #[error("{0}")]
    Failed(String),
    /// There is no such command.
    #[error("there is no such command")]
    UnknownCommand,
    /// The printer or its software is not reachable.
    #[error("{0}")]
    NotConnected(String),
    /// The command does not fit what the printer does.
    #[error("{0}")]
    WrongState(String),
    /// The printer serves as many clients as it can.
    #[error("{0}")]
    TooManyClients(String),
    /// The platform, or this printer, cannot do this.
    #[error("this printer cannot do that, or it is not known how")]
    NotSupported,
    /// The printer's software does not accept our key or password.
    #[error("{0}")]
    CredentialsRejected(String),
}

impl CommandFailure {
    /// Its number in the answer, as `command-api` §2 has them.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::BadArguments(_) => 400,
            Self::Forbidden(_) => 403,
            Self::NotFound(_) => 404,
            Self::Software(status, _) => *status,
            Self::Unparsable => 751,
            Self::Failed(_) => 752,
            Self::UnknownCommand => 754,
            Self::NotConnected(_) => 785,
            Self::WrongState(_) => 786,
            Self::TooManyClients(_) => 787,
            Self::NotSupported => 788,
            Self::CredentialsRejected(_) => 789,
        }
    }
}

/// What a platform answers.
pub(crate) type Outcome<T> = Result<T, CommandFailure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_interface() {
        let text = String::new;
        use CommandFailure::*;
        let all = [
            (BadArguments(text()), 400),
            (Forbidden(text()), 403),
            (NotFound(text()), 404),
            (Software(507, text()), 507),
            (Unparsable, 751),
            (Failed(text()), 752),
            (UnknownCommand, 754),
            (NotConnected(text()), 785),
            (WrongState(text()), 786),
            (TooManyClients(text()), 787),
            (NotSupported, 788),
            (CredentialsRejected(text()), 789),
        ];
        for (failure, code) in all {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }
}
