//! What is sent for one row, and what its answer says about the row and the server.

use super::super::wire::{
    Derivative, Verdict, Wrt, read_derivative, read_evaluate, write_derivative, write_evaluate,
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

    /// `sensᵀ ∂y/∂u`: for each pair of an output that has sensitivities and an input that is part of the action one
    /// request for the gradient, or one for each of that input's actions where the model only applies its Jacobian.
    pub(super) fn send_pull_back(
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
                // Places in the block, and which action is there.
                let actions: Vec<(usize, usize)> = columns
                    .enumerate()
                    .filter_map(|(place, column)| Some((place, action(column)?)))
                    .collect();
                if actions.is_empty() {
                    continue;
                }
                let mut ask = |derivative, factor: &[f64], size| {
                    let asked = (derivative, Wrt { output, input });
                    self.send_derivative(connection, site, asked, (blocks, factor), size, body)
                };
                if self.shape.derivative == Some(Derivative::Jacobian) {
                    for (place, dim) in actions {
                        let mut unit = vec![0.0; block.len()];
                        unit[place] = 1.0;
                        match ask(Derivative::Jacobian, &unit, *size) {
                            Sent::Done(Ok(slopes)) => {
                                let products = slopes.iter().zip(sens);
                                pulled[dim] +=
                                    products.map(|(slope, sens)| slope * sens).sum::<f64>();
                            }
                            other => return other,
                        }
                    }
                    continue;
                }
                match ask(Derivative::Gradient, sens, block.len()) {
                    Sent::Done(Ok(gradient)) => {
                        for (place, dim) in actions {
                            pulled[dim] += gradient[place];
                        }
                    }
                    other => return other,
                }
            }
        }
        Sent::Done(Ok(pulled))
    }

    fn send_derivative(
        &self,
        connection: usize,
        site: usize,
        asked: (Derivative, Wrt),
        (blocks, factor): (&[Vec<f64>], &[f64]),
        size: usize,
        body: &mut Vec<u8>,
    ) -> Sent {
        body.clear();
        let config = &self.config.config;
        write_derivative(body, self.name(), asked, blocks, factor, config);
        let url = &self.sites[site].derivatives[asked.0 as usize];
        let read = |status, answer: &[u8]| read_derivative(status, answer, size);
        self.post(connection, url, body, read)
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
