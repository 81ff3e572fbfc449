//! Who may give which command.

use http::{HeaderMap, Method};
use model::wire::CALLER_HEADER;
use model::{Caller, CallerKind};

use super::Order;
use super::arguments::Arguments;
use super::commands::Command;
use crate::platforms::{CommandFailure, Outcome};

/// Checks method and rights. A caller that the service has not vouched for may only read.
pub(super) fn check(command: Command, arguments: Arguments, method: &Method, headers: HeaderMap) -> Outcome<Order> {
    let said = headers.get(CALLER_HEADER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let caller: Caller =
        said.unwrap_or(Caller { kind: CallerKind::Shared, may_control: false, has_full_control: false });
    may(command, caller)?;
    if !command.takes(method, caller.kind == CallerKind::App) {
        return Err(CommandFailure::BadArguments(format!("this command does not take the method {method}; use POST")));
    }
    Ok(Order { command, arguments })
}

fn may(command: Command, caller: Caller) -> Outcome<()> {
    let allowed = match command {
        // It would unlink the printer: that is for whoever sits at the agent.
        Command::Rekey => false,
        Command::ConnectionInfo => caller.kind == CallerKind::Owner && caller.has_full_control,
        Command::Native => caller.may_control && caller.has_full_control,
        // What these change or show is the owner's, and outlives the visit.
        Command::SetDefaultWebcam | Command::SetLocalWebcamItems => {
            caller.may_control && caller.kind != CallerKind::Shared
        }
        // The printer's own login may guard its files, and the agent's key would go past it.
        Command::FilesList | Command::FilesDetails | Command::FilesDownload => caller.kind != CallerKind::Shared,
        // Whoever speaks the printer's own language can tell it anything.
        Command::MqttProxy => caller.may_control && caller.kind != CallerKind::Shared,
        Command::LocalWebcamItems | Command::PluginLogs => caller.kind != CallerKind::Shared,
        command => caller.may_control || !command.acts(),
    };
    if allowed { Ok(()) } else { Err(CommandFailure::Forbidden(format!("{} is not allowed here", command.name()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_commands() {
        let may =
            |command, caller: &str| may(command, caller.parse().expect("the callers of this test are right")).is_ok();
        for (command, callers) in [
            (Command::Ping, "app|shared|owner|app control|shared control|owner control full"),
            (Command::Status, "app|shared|owner|app control|shared control|owner control full"),
            (Command::FilesDownload, "app|owner|app control|owner control full"),
            (Command::Pause, "app control|shared control|owner control full"),
            (Command::FilesUpload, "app control|shared control|owner control full"),
            (Command::FilesDelete, "app control|shared control|owner control full"),
            (Command::SetTemp, "app control|shared control|owner control full"),
            (Command::SetLocalWebcamItems, "app control|owner control full"),
            (Command::PluginLogs, "app|owner|app control|owner control full"),
            (Command::MqttProxy, "app control|owner control full"),
            (Command::Native, "owner control full"),
            (Command::ConnectionInfo, "owner control full"),
            (Command::Rekey, ""),
        ] {
            for caller in ["app", "shared", "owner", "app control", "shared control", "owner control full"] {
                let expected = callers.split('|').any(|allowed| allowed == caller);
                assert_eq!(may(command, caller), expected, "{command:?} by {caller}");
            }
        }
    }

    #[test]
    fn without_a_word_of_the_service_nothing_acts() {
        let check = |command, caller: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(caller) = caller {
                headers.insert(CALLER_HEADER, http::HeaderValue::from_static(caller));
            }
            check(command, Arguments::default(), &Method::POST, headers).map(|order| order.command)
        };
        for caller in [None, Some(""), Some("root control"), Some("shared")] {
            assert_eq!(check(Command::Ping, caller), Ok(Command::Ping));
            assert!(matches!(check(Command::Cancel, caller), Err(CommandFailure::Forbidden(_))), "{caller:?}");
        }
    }
}
