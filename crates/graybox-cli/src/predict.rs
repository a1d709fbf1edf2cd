//! `graybox predict`: the policy's actions for contexts.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use graybox::oracle::Rows;

use crate::args::{Format, Predict};
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::{PolicyFile, act};
use crate::run_file::names;
use crate::table::Table;

pub(crate) fn run(args: &Predict) -> Result<Done, Failure> {
    let device = args.device.device.open().or_usage()?;
    let (file, policy) = PolicyFile::open(&args.run, &device).or_usage()?;
    let format = format(args);
    let table = read(args.input.as_deref(), format).or_usage()?;
    let shown = args
        .input
        .as_deref()
        .map_or("standard input".into(), |path| path.display().to_string());
    let contexts = table
        .numbers(&names(&file.oracle.x))
        .context(shown)
        .or_usage()?;

    let mut x = Rows::with_capacity(file.oracle.x.len(), contexts.len());
    for context in &contexts {
        x.push(context).or_usage()?;
    }
    let actions = act(&policy, &x, &device)?;
    let names = names(&file.oracle.u);
    if let Some(path) = &args.out {
        let to = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        table.write_with(&names, &actions, BufWriter::new(to))?;
    } else {
        write_out(|to| table.write_with(&names, &actions, to))?;
    }
    Ok(Done::Finished)
}

/// Writes to standard output; that the reader has gone, as in `… | head`, is no fault.
pub(crate) fn write_out(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    match written {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let csv = cause.downcast_ref::<csv::Error>().map(csv::Error::kind);
        let in_csv = matches!(csv, Some(csv::ErrorKind::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe);
        io == Some(io::ErrorKind::BrokenPipe) || in_csv
    })
}

fn format(args: &Predict) -> Format {
    let ends_in_json = |path: &Path| path.extension().is_some_and(|ending| ending == "json");
    let named = [&args.input, &args.out].into_iter().flatten();
    args.format.unwrap_or_else(|| {
        if named.clone().any(|path| ends_in_json(path)) {
            Format::Json
        } else {
            Format::Csv
        }
    })
}

fn read(path: Option<&Path>, format: Format) -> Result<Table> {
    let (from, shown): (Box<dyn Read>, _) = match path {
        Some(path) => {
            let shown = path.display().to_string();
            let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
            (Box::new(BufReader::new(file)), shown)
        }
        None => (Box::new(io::stdin().lock()), "standard input".into()),
    };
    match format {
        Format::Csv => Table::read_csv(from),
        Format::Json => Table::read_json(from),
    }
    .with_context(|| shown)
}
