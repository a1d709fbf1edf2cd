//! A bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;

use graybox::{Diagnosis, Observer, Progress};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows a run on standard error.
pub struct Console {
    name: String,
    bar: Option<ProgressBar>,
    /// Tenths of the budget told so far, where there is no terminal; none before the first line.
    told: Option<u64>,
    held_out: Option<f64>,
}

impl Console {
    /// Shows a run under this name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix} {wide_bar} {pos}/{len} calls  {per_sec}  {eta} left  {msg}",
            );
            let bar = ProgressBar::new(0).with_prefix(name.clone());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self {
            name,
            bar,
            told: None,
            held_out: None,
        }
    }
}

impl Drop for Console {
    /// Leaves the bar where the run has come to.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

impl Observer for Console {
    fn progress(&mut self, line: &Progress) {
        self.held_out = line.held_out.or(self.held_out);
        let mut message = String::new();
        if let Some(loss) = line.loss {
            message = format!("loss {loss:.3e}");
        }
        if let Some(loss) = self.held_out {
            message = format!("{message}  held-out {loss:.3e}");
        }
        if line.failed > 0 {
            message = format!("{message}  {} failed", line.failed);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(line.budget);
            bar.set_position(line.calls);
            bar.set_message(message);
            return;
        }
        let tenth = 10 * line.calls / line.budget.max(1);
        if Some(tenth) > self.told {
            self.told = Some(tenth);
            eprintln!(
                "{}: {}/{} calls  {}",
                self.name,
                line.calls,
                line.budget,
                message.trim()
            );
        }
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        let say = || eprintln!("{}: {}: {diagnosis}", self.name, diagnosis.title());
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}
