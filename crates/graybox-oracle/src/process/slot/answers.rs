//! What a worker's program writes: its description first, then answers.

use std::time::Instant;

use super::super::child::{Program, Stream};
use super::super::work::Work;
use super::super::{ProcessConfig, StartError};
use super::{Fault, Phase, Slot};
use crate::Description;
use crate::wire::{Reply, ReplyId, excerpt};

impl Slot {
    /// Reads what its program has written, once.
    pub(in crate::process) fn receive(
        &mut self,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) -> Stream {
        let Some(mut program) = self.program.take() else {
            return Stream::Closed;
        };
        let (stream, fault) = if self.is_leaving() {
            program.drain();
            (Stream::Waits, None)
        } else {
            let stream = program.read_output();
            let fault = self.read_lines(&mut program, now, work, config);
            let died = (stream == Stream::Closed).then_some(Fault::Died);
            (stream, fault.or(died))
        };
        self.program = Some(program);
        if let Some(fault) = fault {
            self.leave(fault, now);
        }
        stream
    }

    fn read_lines(
        &mut self,
        program: &mut Program,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) -> Option<Fault> {
        let mut scratch = Vec::new();
        while let Some(line) = program.lines().next() {
            let starting = matches!(self.phase, Phase::Starting(_));
            let read = match line {
                Ok(line) if starting => self.read_description(line, work),
                Ok(line) => self.read_answer(line, &mut scratch, now, work),
                Err(_) if starting => Err(Fault::Start(StartError::Garbage {
                    program: self.shown.clone(),
                    line: format!("more than {} bytes without a line end", config.max_line),
                })),
                Err(_) => Err(Fault::Unreadable(format!(
                    "it wrote a line of more than {} bytes (max_line)",
                    config.max_line
                ))),
            };
            if let Err(fault) = read {
                return Some(fault);
            }
        }
        None
    }

    fn read_description(&mut self, line: &[u8], work: &mut Work) -> Result<(), Fault> {
        let program = self.shown.clone();
        let mut scratch = Vec::new();
        let Ok(reply) = Reply::parse(line, &mut scratch) else {
            let line = excerpt(line, 120);
            return Err(Fault::Start(StartError::Garbage { program, line }));
        };
        let Some(json) = reply.describe() else {
            let line = excerpt(line, 120);
            return Err(Fault::Start(match reply.error() {
                Some(reason) => StartError::Undescribed { program, reason },
                None => StartError::BadDescription {
                    program,
                    reason: format!("`{line}` has no `describe`"),
                },
            }));
        };
        let description = Description::from_json(json)
            .map_err(|reason| Fault::Start(StartError::BadDescription { program, reason }))?;
        let found = description.dims();
        match work.dims {
            Some(expected) if expected != found => {
                return Err(Fault::Start(StartError::OtherSizes {
                    program: self.shown.clone(),
                    found,
                    expected,
                }));
            }
            _ => work.dims = Some(found),
        }
        if let Some(most) = description.batch {
            work.batch = work.batch.min(most);
        }
        work.description.get_or_insert(description);
        self.failed_starts = 0;
        self.serves = true;
        self.phase = Phase::Up;
        Ok(())
    }

    fn read_answer(
        &mut self,
        line: &[u8],
        scratch: &mut Vec<u8>,
        now: Instant,
        work: &mut Work,
    ) -> Result<(), Fault> {
        let unreadable = |why: &str| {
            Err(Fault::Unreadable(format!(
                "it wrote `{}`: {why}",
                excerpt(line, 120)
            )))
        };
        let reply = match Reply::parse(line, scratch) {
            Ok(reply) => reply,
            Err(why) => return unreadable(&why),
        };
        let id = match reply.id {
            ReplyId::Number(id) => id,
            ReplyId::Missing => return unreadable("there is no id, so it answers nothing"),
            ReplyId::Strange => return unreadable("the id must be that of the request"),
        };
        let Some(at) = self.held.iter().position(|request| request.id == id) else {
            if (self.first_id..work.next_id).contains(&id) {
                // A second answer to the same request changes nothing.
                return Ok(());
            }
            return unreadable("no request had this id");
        };
        let d_y = work.dims.map_or(0, |dims| dims.y);
        let request = self.held.remove(at);
        let tasks = request.map(|request| request.tasks).unwrap_or_default();
        let spent = now.saturating_duration_since(self.clock).as_secs_f64();
        let seconds = spent / tasks.len().max(1) as f64;
        self.clock = now;
        self.fresh = false;
        self.deaths = 0;
        if let [task] = tasks[..] {
            work.answers
                .push(self.answer(task, reply.row(d_y), seconds));
            return Ok(());
        }
        if let Ok(outcomes) = reply.rows(tasks.len(), d_y) {
            work.takes_lists = true;
            let answers = tasks.iter().zip(outcomes);
            work.answers
                .extend(answers.map(|(task, outcome)| self.answer(*task, outcome, seconds)));
        } else {
            // It may be the list it cannot take, or one row in it: asked one by one, they will tell.
            if !work.takes_lists {
                work.batch = 1;
            }
            work.suspects.extend(tasks);
        }
        Ok(())
    }
}
