//! Where a command's answers go and where its input comes from.

use std::io::{self, BufRead, IsTerminal, Write};

use model::Secret;

use super::failure;
use super::report::Report;

/// Standard input, output and error of a command.
pub struct Console<'a> {
    /// Answers to questions, and passwords.
    pub input: Box<dyn BufRead + 'a>,
    /// Whether somebody sits at the input.
    pub is_terminal: bool,
    /// What was asked for.
    pub output: Box<dyn Write + 'a>,
    /// Questions, warnings, errors.
    pub errors: Box<dyn Write + 'a>,
}

/// More than any password that is accepted, so that an endless line is refused before it fills the memory.
const MAX_LINE: u64 = 64 * 1024;

impl Console<'static> {
    /// The process's own.
    pub fn of_process() -> Self {
        Self {
            is_terminal: io::stdin().is_terminal(),
            input: Box::new(io::stdin().lock()),
            output: Box::new(io::stdout()),
            errors: Box::new(io::stderr()),
        }
    }
}

impl Console<'_> {
    pub(super) fn print(&mut self, report: &Report, json: bool) -> io::Result<()> {
        let text = if json { &report.json } else { &report.text };
        writeln!(self.output, "{}", text.trim_end())?;
        self.output.flush()
    }

    pub(super) fn print_failure(&mut self, error: &anyhow::Error, json: bool) -> io::Result<()> {
        writeln!(self.errors, "{}", if json { failure::as_json(error) } else { failure::as_text(error) })?;
        self.errors.flush()
    }

    /// Says something that does not stop the command.
    pub(crate) fn warn(&mut self, message: &str) {
        // There is nobody left to tell if this fails.
        let _ = writeln!(self.errors, "warning: {message}");
    }

    /// Asks a person for a yes. Where there is none to ask, the answer is yes.
    pub(crate) fn confirm(&mut self, question: &str) -> io::Result<bool> {
        if !self.is_terminal {
            return Ok(true);
        }
        write!(self.errors, "{question} [y/N] ")?;
        self.errors.flush()?;
        Ok(matches!(self.read_line()?.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// The first line of the input, without its end.
    pub(super) fn read_password(&mut self) -> io::Result<Secret> {
        let line = self.read_line()?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        io::Read::take(&mut self.input, MAX_LINE).read_line(&mut line)?;
        Ok(line)
    }
}
