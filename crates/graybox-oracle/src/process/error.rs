//! Why a program cannot be used, each with what to do about it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Dims;

/// Why a program could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An empty command.
    #[error("the command is empty: give the program and its arguments, as in [\"./solver.py\"]")]
    NoCommand,
    /// Nothing by that name.
    #[error("there is no program `{0}`: {advice}", advice = where_to_look(.0))]
    NotFound(String),
    /// The file is there but its first line names an interpreter that is not.
    #[error(
        "`{program}` wants to be run by `{interpreter}`, which does not exist: install it, or correct the first line of `{program}`"
    )]
    NoInterpreter {
        /// The program.
        program: String,
        /// What stands behind `#!` in its first line.
        interpreter: String,
    },
    /// Not allowed to run it.
    #[error("`{0}` is not executable: `chmod +x` it, or put its interpreter in front of it")]
    NotExecutable(String),
    /// Neither a binary for this machine nor a script that names its interpreter.
    #[error(
        "`{0}` is not something this machine can run: give it a first line such as `#!/usr/bin/env python3`, or put its interpreter in front of it"
    )]
    NotAProgram(String),
    /// Any other reason of the operating system.
    #[error("`{program}` could not be started: {source}")]
    Os {
        /// The program.
        program: String,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl SpawnError {
    /// Finds out why the operating system refused to start `program`.
    pub(crate) fn new(program: &str, source: io::Error) -> Self {
        let path = find(program);
        match (source.kind(), path) {
            (io::ErrorKind::NotFound, Some(path)) => match interpreter(&path) {
                Some(interpreter) => Self::NoInterpreter {
                    program: program.to_owned(),
                    interpreter,
                },
                // A binary whose loader is missing is reported as not found, too.
                None => Self::NotAProgram(program.to_owned()),
            },
            (io::ErrorKind::NotFound, None) => Self::NotFound(program.to_owned()),
            (io::ErrorKind::PermissionDenied, _) => Self::NotExecutable(program.to_owned()),
            _ if source.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                Self::NotAProgram(program.to_owned())
            }
            _ => Self::Os {
                program: program.to_owned(),
                source,
            },
        }
    }
}

fn where_to_look(program: &str) -> &'static str {
    if program.contains('/') {
        "check the path, which starts at the folder this run was started in"
    } else {
        "check the spelling, install it on the PATH, or write ./ in front of a file in this folder"
    }
}

/// Where a program is, if it is anywhere.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The interpreter named in a script's first line.
fn interpreter(path: &Path) -> Option<String> {
    let mut first = Vec::new();
    let mut file = BufReader::new(File::open(path).ok()?).take(256);
    file.read_until(b'\n', &mut first).ok()?;
    let first = String::from_utf8_lossy(&first);
    let interpreter = first.strip_prefix("#!")?.split_whitespace().next()?;
    Some(interpreter.to_owned())
}

/// Why a program that runs cannot serve as an oracle.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that makes no sense.
    #[error("the program's settings cannot be used: {0}")]
    Config(String),
    /// The program could not be run at all.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It ended before it described itself.
    #[error(
        "`{program}` ended ({status}) before it described itself: run it by hand, with {{\"id\":0,\"describe\":true}} as its first line of input{last_words}"
    )]
    Died {
        /// The command.
        program: String,
        /// How it ended.
        status: String,
        /// The end of its standard error, ready to be appended.
        last_words: String,
    },
    /// It wrote something else than an answer.
    #[error(
        "`{program}` wrote `{line}` where its description was expected: standard output is for answers only, so print everything else to standard error"
    )]
    Garbage {
        /// The command.
        program: String,
        /// What it wrote.
        line: String,
    },
    /// It answered that it cannot describe itself.
    #[error(
        "`{program}` cannot describe itself (it says: {reason}): answer {{\"id\":0,\"describe\":true}} with its sizes, or give d_x, d_u and d_y in the settings (dims)"
    )]
    Undescribed {
        /// The command.
        program: String,
        /// What it said.
        reason: String,
    },
    /// Its description cannot be used.
    #[error(
        "`{program}` describes itself in a form that cannot be used: {reason}; expected {{\"id\":0,\"describe\":{{\"name\":..,\"x\":[{{\"name\":..}},..],\"u\":[..],\"y\":[..]}}}}"
    )]
    BadDescription {
        /// The command.
        program: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its sizes are not those of the other workers.
    #[error("`{program}` describes itself with sizes d_x = {}, d_u = {}, d_y = {}, where d_x = {}, d_u = {}, d_y = {} were expected: all workers must run the same program", found.x, found.u, found.y, expected.x, expected.u, expected.y)]
    OtherSizes {
        /// The command.
        program: String,
        /// The sizes it has.
        found: Dims,
        /// The sizes it should have.
        expected: Dims,
    },
    /// It said nothing in time.
    #[error(
        "`{program}` did not describe itself within {limit:?}: it must answer {{\"id\":0,\"describe\":true}} and flush its standard output after every line (Python: print(.., flush=True)); if it only starts slowly, raise start_limit{last_words}"
    )]
    TimedOut {
        /// The command.
        program: String,
        /// How long it was given.
        limit: Duration,
        /// The end of its standard error, ready to be appended.
        last_words: String,
    },
}
