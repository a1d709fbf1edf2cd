//! A run's progress as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use graybox::{Diagnosis, Observer, Progress};
use graybox_app::Summary;
use serde_json::json;

use crate::outcome::{Blame, Failure};

/// A line that cannot be written ends the log, not the run that is being paid for.
pub(crate) struct Log {
    to: Option<BufWriter<File>>,
    shown: String,
}

impl Log {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let file = File::create(path)
            .with_context(|| format!("cannot write the log {shown}"))
            .or_usage()?;
        Ok(Self {
            to: Some(BufWriter::new(file)),
            shown,
        })
    }

    fn line(&mut self, value: &serde_json::Value) {
        let Some(to) = &mut self.to else {
            return;
        };
        if let Err(error) = writeln!(to, "{value}").and_then(|()| to.flush()) {
            eprintln!("the log {} ends here: {error}", self.shown);
            self.to = None;
        }
    }

    pub(crate) fn end(&mut self, summary: &Summary) -> Result<()> {
        self.line(&json!({ "summary": serde_json::to_value(summary)? }));
        Ok(())
    }
}

impl Observer for Log {
    fn progress(&mut self, line: &Progress) {
        self.line(&json!({ "progress": line }));
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        self.line(&json!({ "diagnosis": diagnosis, "message": diagnosis.to_string() }));
    }
}
