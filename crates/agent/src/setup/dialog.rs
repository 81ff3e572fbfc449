//! Questions at a terminal.

use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, Password, Select};

/// Asks and tells, all on standard error.
pub(super) struct Dialog {
    theme: ColorfulTheme,
}

impl Dialog {
    pub(super) fn new() -> Self {
        Self { theme: ColorfulTheme::default() }
    }

    /// Tells something.
    pub(super) fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Tells what is wrong.
    pub(super) fn warn(&self, text: &str) {
        eprintln!("! {text}");
    }

    /// A line; empty ones count as the one that is offered.
    pub(super) fn text(&self, question: &str, offered: Option<&str>) -> anyhow::Result<String> {
        let mut input = Input::<String>::with_theme(&self.theme).with_prompt(question);
        if let Some(offered) = offered {
            input = input.default(offered.to_owned());
        }
        Ok(input.interact_text()?.trim().to_owned())
    }

    /// A line that is not shown.
    pub(super) fn secret(&self, question: &str) -> anyhow::Result<String> {
        Ok(Password::with_theme(&self.theme).with_prompt(question).interact()?.trim().to_owned())
    }

    /// Yes or no.
    pub(super) fn agrees(&self, question: &str, offered: bool) -> anyhow::Result<bool> {
        Ok(Confirm::with_theme(&self.theme).with_prompt(question).default(offered).interact()?)
    }

    /// The number of one of several.
    pub(super) fn choice(&self, question: &str, choices: &[String]) -> anyhow::Result<usize> {
        Ok(Select::with_theme(&self.theme).with_prompt(question).items(choices).default(0).interact()?)
    }
}
