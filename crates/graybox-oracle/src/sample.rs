//! Training data that a program makes itself: the output of `PROGRAM --sample N SEED`.
//!
//! One line per row, `{"x":[..],"Y":[..]}`: a context and the outcome wanted there. `u_feasible`, an action
//! that is known to reach it, may be given too; other actions may reach it as well, so it is no label.

use std::io::{self, BufRead};
use std::time::Duration;

use serde::Deserialize;

use crate::process::Program;
use crate::wire::{Number, excerpt, parse};
use crate::{Dims, ProcessConfig, Rows, SpawnError};

/// Contexts and the outcomes wanted there.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The contexts, `[n, d_x]`.
    pub x: Rows,
    /// The outcomes wanted, `[n, d_y]`.
    pub target: Rows,
    /// An action for each that reaches the outcome, `[n, d_u]`, if every row has one.
    pub feasible: Option<Rows>,
}

/// Why a sample cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The program could not be run at all.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The program ended badly.
    #[error(
        "`{program}` ended ({status}) without giving a sample; does it know --sample N SEED?{last_words}"
    )]
    Died {
        /// The command.
        program: String,
        /// How it ended.
        status: String,
        /// The end of its standard error, ready to be appended.
        last_words: String,
    },
    /// The program went silent.
    #[error(
        "`{program}` wrote no line for {limit:?} after line {line}: raise time_limit if it is only slow{last_words}"
    )]
    TimedOut {
        /// The command.
        program: String,
        /// The last line it wrote.
        line: usize,
        /// How long it was waited for.
        limit: Duration,
        /// The end of its standard error, ready to be appended.
        last_words: String,
    },
    /// Not the number of rows that was asked for.
    #[error(
        "the sample has {found} rows, {asked} were asked for: the program must write as many lines as --sample N SEED says"
    )]
    Count {
        /// Rows found.
        found: usize,
        /// Rows asked for.
        asked: usize,
    },
    /// A line that cannot be used.
    #[error("line {line} of the sample: {reason}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The lines could not be read.
    #[error("the sample could not be read: {0}")]
    Io(#[from] io::Error),
}

impl Sample {
    /// Runs a program's command, with the first prefix if there are any, as `PROGRAM --sample N SEED`.
    ///
    /// # Errors
    /// If the program cannot be run, fails, goes silent for `start_limit + time_limit`, or writes anything
    /// but `n` rows of the given sizes.
    ///
    /// ```
    /// use graybox_oracle::{Dims, ProcessConfig, Sample};
    ///
    /// let lens = ProcessConfig::new(["python3", "../../assets/oracles/lens.py"]);
    /// let sample = Sample::from_program(&lens, Dims::new(2, 1, 1), 5, 7)?;
    /// assert_eq!((sample.x.len(), sample.target.width()), (5, 1));
    /// # Ok::<(), graybox_oracle::SampleError>(())
    /// ```
    pub fn from_program(
        config: &ProcessConfig,
        dims: Dims,
        n: usize,
        seed: u64,
    ) -> Result<Self, SampleError> {
        let mut command = config.command_of(0);
        command.extend(["--sample".into(), n.to_string(), seed.to_string()]);
        let shown = command.join(" ");
        let limit = config.start_limit.saturating_add(config.time_limit);
        let mut program = Program::spawn(&command, 0, config.max_line)?;
        program.close_input();

        let mut reader = Reader::new(dims);
        while program.is_open() {
            if !program.wait(limit) {
                return Err(SampleError::TimedOut {
                    program: shown,
                    line: reader.line,
                    limit,
                    last_words: program.last_words(),
                });
            }
            while let Some(line) = program.lines().next() {
                let line = line.map_err(|_| reader.fault("it does not end (max_line)".into()))?;
                reader.take(line)?;
            }
        }
        reader.take(program.lines().rest())?;
        let ended = program.end();
        if !ended.success {
            return Err(SampleError::Died {
                program: shown,
                status: ended.status,
                last_words: program.last_words(),
            });
        }
        let sample = reader.finish();
        if sample.x.len() != n {
            return Err(SampleError::Count {
                found: sample.x.len(),
                asked: n,
            });
        }
        Ok(sample)
    }

    /// Reads lines that a program wrote earlier.
    ///
    /// # Errors
    /// If a line is not a row of the given sizes.
    pub fn read(lines: impl BufRead, dims: Dims) -> Result<Self, SampleError> {
        let mut reader = Reader::new(dims);
        for line in lines.split(b'\n') {
            reader.take(&line?)?;
        }
        Ok(reader.finish())
    }
}

/// One line of a sample.
#[derive(Deserialize)]
struct Line {
    x: Vec<Number>,
    #[serde(rename = "Y")]
    target: Vec<Number>,
    u_feasible: Option<Vec<Number>>,
}

/// Puts a sample together line by line.
struct Reader {
    line: usize,
    x: Rows,
    target: Rows,
    feasible: Rows,
}

impl Reader {
    fn new(dims: Dims) -> Self {
        Self {
            line: 0,
            x: Rows::new(dims.x),
            target: Rows::new(dims.y),
            feasible: Rows::new(dims.u),
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), SampleError> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let row: Line = parse(line, &mut Vec::new()).map_err(|why| {
            let line = excerpt(line, 80);
            self.fault(format!("`{line}` is not {{\"x\":[..],\"Y\":[..]}}: {why}"))
        })?;
        let faults = [
            append("x", Some(row.x), &mut self.x),
            append("Y", Some(row.target), &mut self.target),
            append("u_feasible", row.u_feasible, &mut self.feasible),
        ];
        match faults.into_iter().flatten().next() {
            Some(reason) => Err(self.fault(reason)),
            None => Ok(()),
        }
    }

    /// What is wrong with the last line taken.
    fn fault(&self, reason: String) -> SampleError {
        SampleError::Line {
            line: self.line,
            reason,
        }
    }

    fn finish(self) -> Sample {
        let feasible = (self.feasible.len() == self.x.len()).then_some(self.feasible);
        Sample {
            x: self.x,
            target: self.target,
            feasible,
        }
    }
}

/// Appends a row, if there is one, or says what is wrong with it.
fn append(name: &str, values: Option<Vec<Number>>, rows: &mut Rows) -> Option<String> {
    let values: Vec<f64> = values?.into_iter().map(|number| number.0).collect();
    match values.iter().position(|value| !value.is_finite()) {
        Some(dim) => Some(format!("`{name}`[{dim}] is not a finite number")),
        None => Some(format!("`{name}`: {}", rows.push(&values).err()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<Sample, String> {
        Sample::read(lines.as_bytes(), Dims::new(2, 1, 1)).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_read_in_order() {
        let sample =
            read("{\"x\":[1,2],\"Y\":[3],\"u_feasible\":[4]}\n\n{\"x\":[5,6],\"Y\":[7]}").unwrap();
        assert_eq!(sample.x.as_slice(), [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(sample.target.as_slice(), [3.0, 7.0]);
        assert_eq!(sample.feasible, None);
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named() {
        let good = "{\"x\":[1,2],\"Y\":[3]}\n";
        let reason = |line: &str| read(&format!("{good}{line}")).unwrap_err();
        assert_eq!(
            reason("{\"x\":[1],\"Y\":[3]}"),
            "line 2 of the sample: `x`: row has 1 values, expected 2"
        );
        assert_eq!(
            reason("{\"x\":[1,NaN],\"Y\":[3]}"),
            "line 2 of the sample: `x`[1] is not a finite number"
        );
        assert!(reason("{\"x\":[1,2]}").contains("missing field `Y`"));
        assert!(reason("x1,x2,y").starts_with("line 2 of the sample: `x1,x2,y` is not {\"x\""));
    }
}
