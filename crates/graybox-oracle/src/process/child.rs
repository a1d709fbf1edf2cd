//! One running program: its pipes, its last words, and its end.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::SpawnError;
use crate::clock::after;
use crate::wire::{Lines, excerpt};

/// A program that leads a process group of its own and is read and written without waiting.
pub(crate) struct Program {
    child: Child,
    pid: Pid,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What is to be written; the first `written` bytes have been.
    outbox: Vec<u8>,
    written: usize,
    lines: Lines,
    last_words: Vec<u8>,
    /// How it ended, once it has been waited for.
    ended: Option<Ended>,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) status: String,
    pub(crate) success: bool,
}

/// One of a program's pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipe {
    Input,
    Output,
    LastWords,
}

/// What came of reading a stream once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Something was read.
    Flows,
    /// There is nothing to read now.
    Waits,
    /// There will never be more.
    Closed,
}

impl Program {
    /// How much of standard error is kept.
    const LAST_WORDS: usize = 2048;

    pub(crate) fn spawn(
        command: &[String],
        worker: usize,
        max_line: usize,
    ) -> Result<Self, SpawnError> {
        let (program, arguments) = command.split_first().ok_or(SpawnError::NoCommand)?;
        let child = Command::new(program)
            .args(arguments)
            .env("GRAYBOX_WORKER", worker.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: the keyboard's Ctrl-C is for the trainer, which then ends its workers, and
            // whatever a program starts ends with it.
            .process_group(0)
            .spawn()
            .map_err(|source| SpawnError::new(program, source))?;
        let mut program = Self {
            pid: Pid::from_child(&child),
            child,
            stdin: None,
            stdout: None,
            stderr: None,
            outbox: Vec::new(),
            written: 0,
            lines: Lines::new(max_line),
            last_words: Vec::new(),
            ended: None,
        };
        program.stdin = program.child.stdin.take();
        program.stdout = program.child.stdout.take();
        program.stderr = program.child.stderr.take();
        let pipes = [
            program.stdin.as_ref().map(AsFd::as_fd),
            program.stdout.as_ref().map(AsFd::as_fd),
            program.stderr.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true).map_err(|errno| SpawnError::Os {
                program: command[0].clone(),
                source: errno.into(),
            })?;
        }
        Ok(program)
    }

    /// The pipes worth waiting for: the outputs, and the input while there is something to write.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = (Pipe, BorrowedFd<'_>)> {
        let pending = self
            .stdin
            .as_ref()
            .filter(|_| self.written < self.outbox.len());
        let input = pending.map(|stdin| (Pipe::Input, stdin.as_fd()));
        let output = self
            .stdout
            .as_ref()
            .map(|stdout| (Pipe::Output, stdout.as_fd()));
        let last_words = self
            .stderr
            .as_ref()
            .map(|stderr| (Pipe::LastWords, stderr.as_fd()));
        [input, output, last_words].into_iter().flatten()
    }

    /// Where to append what is to be written.
    pub(crate) fn outbox(&mut self) -> &mut Vec<u8> {
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
        }
        &mut self.outbox
    }

    /// Writes as much as the program takes now. A program that takes no more is about to end, which its
    /// output will show.
    pub(crate) fn flush(&mut self) {
        while self.written < self.outbox.len()
            && let Some(stdin) = &mut self.stdin
        {
            match stdin.write(&self.outbox[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Reads once from standard output, into the lines.
    pub(crate) fn read_output(&mut self) -> Stream {
        let Some(stdout) = &mut self.stdout else {
            return Stream::Closed;
        };
        let stream = Stream::of(self.lines.fill(stdout));
        if stream == Stream::Closed {
            self.stdout = None;
        }
        stream
    }

    /// Reads once from standard error, keeping the end of it.
    pub(crate) fn read_last_words(&mut self) -> Stream {
        let mut chunk = [0; 8192];
        let Some(stderr) = &mut self.stderr else {
            return Stream::Closed;
        };
        let read = stderr.read(&mut chunk);
        if let Ok(n) = read {
            self.last_words.extend_from_slice(&chunk[..n]);
            let excess = self.last_words.len().saturating_sub(Self::LAST_WORDS);
            self.last_words.drain(..excess);
        }
        let stream = Stream::of(read);
        if stream == Stream::Closed {
            self.stderr = None;
        }
        stream
    }

    /// Reads what the program still has to say and throws its answers away, so that it does not hang on a
    /// full pipe while it should end.
    pub(crate) fn drain(&mut self) {
        let mut chunk = [0; 8192];
        for _ in 0..16 {
            let output = match &mut self.stdout {
                Some(stdout) => Stream::of(stdout.read(&mut chunk)),
                None => Stream::Closed,
            };
            if output == Stream::Closed {
                self.stdout = None;
            }
            if self.read_last_words() != Stream::Flows && output != Stream::Flows {
                break;
            }
        }
    }

    /// The lines read so far.
    pub(crate) fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// Tells the program that nothing more will be asked.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to the program and everything it has started.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // The group may be gone already, which is what was wanted.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Whether the program itself has ended. It stays a zombie, so that its group keeps its number.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.ended.is_some() || !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Kills what a program that has ended may have left behind, and returns how it ended.
    pub(crate) fn bury(&mut self) -> Ended {
        self.signal(Signal::KILL);
        self.drain();
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        let ended = match self.child.wait() {
            Ok(status) => Ended {
                status: status.to_string(),
                success: status.success(),
            },
            Err(error) => Ended {
                status: error.to_string(),
                success: false,
            },
        };
        self.ended.insert(ended).clone()
    }

    /// Brings it to its end, if need be by force, and returns how it ended.
    pub(crate) fn end(&mut self) -> Ended {
        end_all(std::iter::once(&mut *self));
        self.ended.clone().unwrap_or_else(|| Ended {
            status: "cannot be killed".into(),
            success: false,
        })
    }

    /// Whether its standard output may still bring something.
    pub(crate) fn is_open(&self) -> bool {
        self.stdout.is_some()
    }

    /// Waits until it writes or ends, and reads. False if nothing came in time.
    pub(crate) fn wait(&mut self, patience: Duration) -> bool {
        let until = after(Instant::now(), patience);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds: Vec<_> = self
                .pipes()
                .map(|(_, fd)| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            // An interrupted wait is taken up again.
            let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
            self.read_last_words();
            match self.read_output() {
                Stream::Flows | Stream::Closed => return true,
                Stream::Waits if left.is_zero() => return false,
                Stream::Waits => {}
            }
        }
    }

    /// The end of its standard error, as an addition to a message.
    pub(crate) fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.last_words);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return "; it wrote nothing to standard error".into();
        }
        let last = lines[lines.len().saturating_sub(6)..].join(" | ");
        format!("; its last words: {}", excerpt(last.as_bytes(), 800))
    }
}

impl Stream {
    fn of(read: io::Result<usize>) -> Self {
        match read {
            Ok(1..) => Self::Flows,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Self::Waits
            }
            Ok(0) | Err(_) => Self::Closed,
        }
    }
}

/// Ends programs together: closes their input, then asks them to terminate, then kills them. Each step is
/// skipped when all have ended.
pub(crate) fn end_all<'a>(programs: impl Iterator<Item = &'a mut Program>) {
    const STEPS: [(Option<Signal>, Duration); 3] = [
        (None, Duration::from_millis(500)),
        (Some(Signal::TERM), Duration::from_millis(250)),
        (Some(Signal::KILL), Duration::from_secs(2)),
    ];
    let mut left: Vec<&mut Program> = programs.collect();
    for program in &mut left {
        program.close_input();
    }
    for (signal, patience) in STEPS {
        if let Some(signal) = signal {
            for program in &left {
                program.signal(signal);
            }
        }
        let until = Instant::now() + patience;
        let mut pause = Duration::from_micros(200);
        loop {
            for program in left.extract_if(.., |program| {
                program.drain();
                program.has_ended()
            }) {
                program.bury();
            }
            if left.is_empty() {
                return;
            }
            if Instant::now() >= until {
                break;
            }
            thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            // Not waited for without end: a process in an uninterruptible call outlives even this signal.
            end_all(std::iter::once(self));
        }
    }
}
