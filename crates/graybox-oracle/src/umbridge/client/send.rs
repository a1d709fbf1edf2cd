//! What is sent for one row, and what its answer says about the row and the server.

use super::super::wire::{
    Verdict, Wrt, read_evaluate, read_gradient, write_evaluate, write_gradient,
};
use super::UmBridgeOracle;
use crate::{Outcome, Queries, RowError};

/// What came of sending a row.
pub(super) enum Sent {
    /// The row is done.
    Done(Outcome),
    /// The row was looked at, and nothing came back.
    Lost(String),
    /// Nobody has looked at the row.
    NotNow(String),
    /// The row is done, and says little for the server.
    Silent(RowError),
    /// This server takes no rows.
    Never(String),
}

impl UmBridgeOracle {
    /// A row as the model takes it.
    pub(super) fn blocks(&self, queries: Queries<'_>, row: usize) -> Vec<Vec<f64>> {
        let (x, u) = (queries.x().row(row), queries.u().row(row));
        let (first, second) = if self.config.action_first {
            (u, x)
        } else {
            (x, u)
        };
        let flat = [first, second].concat();
        let mut start = 0;
        let block = |size: &usize| {
            start += size;
            flat[start - size..start].to_vec()
        };
        self.shape.input_sizes.iter().map(block).collect()
    }

    pub(super) fn send_evaluate(
        &self,
        connection: usize,
        site: usize,
        blocks: &[Vec<f64>],
        body: &mut Vec<u8>,
    ) -> Sent {
        body.clear();
        write_evaluate(body, self.name(), blocks, &self.config.config);
        let url = &self.sites[site].evaluate;
        let read = |status, answer: &[u8]| read_evaluate(status, answer, &self.shape.output_sizes);
        self.post(connection, url, body, read)
    }

    /// A request for each pair of an output that has sensitivities and an input that is part of the action.
    pub(super) fn send_gradients(
        &self,
        connection: usize,
        site: usize,
        blocks: &[Vec<f64>],
        sens: &[f64],
        body: &mut Vec<u8>,
    ) -> Sent {
        let first = if self.config.action_first {
            0
        } else {
            self.dims.x
        };
        let mut pulled = vec![0.0; self.dims.u];
        let mut rest = sens;
        for (output, size) in self.shape.output_sizes.iter().enumerate() {
            let (sens, after) = rest.split_at(*size);
            rest = after;
            if sens.iter().all(|value| *value == 0.0) {
                continue;
            }
            let mut start = 0;
            for (input, block) in blocks.iter().enumerate() {
                let columns = start..start + block.len();
                start = columns.end;
                let action = |column: usize| {
                    let dim = column.checked_sub(first)?;
                    (dim < self.dims.u).then_some(dim)
                };
                if !columns.clone().any(|column| action(column).is_some()) {
                    continue;
                }
                body.clear();
                let wrt = Wrt { output, input };
                write_gradient(body, self.name(), wrt, blocks, sens, &self.config.config);
                let url = &self.sites[site].gradient;
                let read = |status, answer: &[u8]| read_gradient(status, answer, block.len());
                match self.post(connection, url, body, read) {
                    Sent::Done(Ok(gradient)) => {
                        for (column, value) in columns.zip(gradient) {
                            if let Some(dim) = action(column) {
                                pulled[dim] += value;
                            }
                        }
                    }
                    other => return other,
                }
            }
        }
        Sent::Done(Ok(pulled))
    }

    fn name(&self) -> Option<&str> {
        self.shape.named.then_some(self.config.model.as_str())
    }

    fn post(
        &self,
        connection: usize,
        url: &str,
        body: &[u8],
        read: impl FnOnce(u16, &[u8]) -> Verdict,
    ) -> Sent {
        let mut request = self.agents[connection]
            .post(url)
            .header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        let answer = request.send(body).and_then(|mut response| {
            let status = response.status().as_u16();
            let limited = response.body_mut().with_config();
            let body = limited.limit(self.config.max_answer).read_to_vec()?;
            Ok((status, body))
        });
        match answer {
            Ok((status, answer)) => match read(status, &answer) {
                Verdict::Outcome(outcome) => Sent::Done(outcome),
                Verdict::Silent(error) => Sent::Silent(error),
                Verdict::NotNow(reason) => Sent::NotNow(reason),
                Verdict::Never(reason) => Sent::Never(reason),
            },
            Err(error) => sort(&error),
        }
    }
}

/// What a connection's failure says about the row.
fn sort(error: &ureq::Error) -> Sent {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};

    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound => Sent::NotNow(error.to_string()),
        ureq::Error::Timeout(_) => Sent::Done(Err(RowError::TimedOut)),
        ureq::Error::BodyExceedsLimit(limit) => Sent::Done(Err(RowError::Malformed(format!(
            "the answer is longer than {limit} bytes (max_answer)"
        )))),
        ureq::Error::Io(io)
            if matches!(
                io.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable
            ) =>
        {
            Sent::NotNow(error.to_string())
        }
        _ => Sent::Lost(error.to_string()),
    }
}
