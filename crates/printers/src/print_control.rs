//! Pause, resume and cancel, the same for the service and for visitors: whether they fit, and what came of them.

use std::sync::Arc;
use std::time::Duration;

use model::printing::{Phase, PrinterCommand, PrinterState};
use tokio::time::timeout;

use crate::platforms::{CommandFailure, Outcome, PauseOrder, Platform, Publisher};

/// For the printer to take a command. One that parks its head first may take longer to answer, and is looked at.
const LIMIT: Duration = Duration::from_secs(10);

/// What can become of a print.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PrintOrder {
    /// Stop for a while.
    Pause(PauseOrder),
    /// Go on.
    Resume,
    /// End it for good.
    Cancel,
}

impl PrintOrder {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Pause(_) => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }

    const fn command(&self) -> PrinterCommand {
        match self {
            Self::Pause(_) => PrinterCommand::Pause,
            Self::Resume => PrinterCommand::Resume,
            Self::Cancel => PrinterCommand::Cancel,
        }
    }

    const fn fits(&self, phase: Phase) -> bool {
        match self {
            Self::Pause(_) => matches!(phase, Phase::Printing | Phase::WarmingUp),
            Self::Resume => matches!(phase, Phase::Paused),
            Self::Cancel => phase.is_active(),
        }
    }

    /// Whether a printer that was fit for it looks as if it had been carried out.
    const fn is_done(&self, phase: Phase) -> bool {
        match self {
            Self::Pause(_) => matches!(phase, Phase::Paused),
            Self::Resume => matches!(phase, Phase::Resuming | Phase::Printing | Phase::WarmingUp),
            Self::Cancel => !phase.is_active() && !matches!(phase, Phase::Unknown),
        }
    }

    fn check(&self, state: &PrinterState) -> Outcome<()> {
        // A fault need not end a print: some printers wait for somebody to see to it.
        let can_be_told_in_spite = state.phase == Phase::Error && state.commands.contains(&self.command());
        if self.fits(state.phase) || can_be_told_in_spite {
            return Ok(());
        }
        Err(CommandFailure::WrongState(format!("the printer is {}: there is no print to {}", state.phase, self.verb())))
    }
}

/// Tells the printer.
pub(crate) async fn tell(platform: &Arc<dyn Platform>, publisher: &Publisher, order: &PrintOrder) -> Outcome<()> {
    let telling = async {
        platform.refresh(Duration::ZERO).await;
        publisher.check()?;
        order.check(&publisher.state())?;
        match order {
            PrintOrder::Pause(order) => platform.pause(order).await,
            PrintOrder::Resume => platform.resume().await,
            PrintOrder::Cancel => platform.cancel().await,
        }
    };
    let outcome = timeout(LIMIT, telling).await;
    publisher.look_again();
    outcome.unwrap_or_else(|_| {
        if order.is_done(publisher.state().phase) {
            return Ok(());
        }
        Err(CommandFailure::Failed(format!("the printer has not answered to {} in time", order.verb())))
    })
}

/// Switches a light; `None` means the only one.
pub(crate) async fn switch_light(
    platform: &Arc<dyn Platform>,
    publisher: &Publisher,
    name: Option<&str>,
    on: bool,
) -> Outcome<()> {
    let outcome = timeout(LIMIT, platform.set_light(name, on)).await;
    publisher.look_again();
    outcome.unwrap_or_else(|_| Err(CommandFailure::Failed("the printer has not switched the light in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_its_phases() {
        use Phase::*;
        let all = [Idle, WarmingUp, Printing, Paused, Resuming, Complete, Cancelled, Error, Unknown];
        let fitting = |order: PrintOrder| all.into_iter().filter(move |phase| order.fits(*phase)).collect::<Vec<_>>();
        assert_eq!(fitting(PrintOrder::Pause(PauseOrder::PLAIN)), [WarmingUp, Printing]);
        assert_eq!(fitting(PrintOrder::Resume), [Paused]);
        assert_eq!(fitting(PrintOrder::Cancel), [WarmingUp, Printing, Paused, Resuming]);
        for order in [PrintOrder::Pause(PauseOrder::PLAIN), PrintOrder::Resume, PrintOrder::Cancel] {
            assert!(all.iter().all(|phase| !(order.fits(*phase) && order.is_done(*phase))), "{order:?}");
            assert!(!order.is_done(Unknown));
        }
        let fault = |commands: Vec<PrinterCommand>| PrinterState { phase: Error, commands, ..PrinterState::default() };
        assert!(PrintOrder::Resume.check(&fault(vec![PrinterCommand::Resume])).is_ok());
        for commands in [vec![], vec![PrinterCommand::Cancel, PrinterCommand::LightOn]] {
            assert!(PrintOrder::Resume.check(&fault(commands)).is_err());
        }
    }
}
