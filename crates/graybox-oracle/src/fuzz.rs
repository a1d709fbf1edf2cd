//! What anybody may write to the parsers: it is read or refused, whatever it is.
//!
//! Called with arbitrary bytes by the targets of `fuzz/`, and with bytes near valid answers by the test below.

use std::io::Read;

use crate::wire::{Lines, Reply};
use crate::{Description, Outcome};

/// Longest line of the fuzzed program.
const MAX_LINE: usize = 4096;

/// What a program writes, taken as answers of `n` rows of `d_y` numbers. The first two bytes decide on both, the
/// rest is what it writes, in pieces as they come through a pipe.
///
/// # Panics
/// If a parser breaks what it promises.
pub fn json_lines(input: &[u8]) {
    let (n, d_y, mut stream) = split(input);
    let mut lines = Lines::new(MAX_LINE);
    let mut scratch = Vec::new();
    loop {
        let piece = 1 + (stream.len() * 7 + n) % 300;
        let read = lines.fill(&mut (&mut stream).take(piece as u64));
        if read.expect("memory can be read") == 0 {
            return;
        }
        while let Some(line) = lines.next() {
            // The program is ended then.
            let Ok(line) = line else { return };
            assert!(line.len() <= MAX_LINE);
            read_line(line, &mut scratch, n, d_y);
        }
        assert!(
            lines.rest().len() <= MAX_LINE,
            "it keeps what it should refuse"
        );
    }
}

fn read_line(line: &[u8], scratch: &mut Vec<u8>, n: usize, d_y: usize) {
    let Ok(reply) = Reply::parse(line, scratch) else {
        return;
    };
    check(&reply.row(d_y), d_y);
    if let Ok(outcomes) = reply.rows(n, d_y) {
        assert_eq!(outcomes.len(), n);
        for outcome in &outcomes {
            check(outcome, d_y);
        }
    }
    if let Some(reason) = reply.error() {
        assert!(reason.len() <= 4 * MAX_LINE);
    }
    if let Some(Ok(description)) = reply.describe().map(Description::from_json) {
        assert!(description.dims().u > 0 && description.dims().y > 0);
    }
}

/// What a server answers to one row, taken as `n` outputs of `d_y` numbers each. The first two bytes decide on both,
/// the next on the status.
///
/// # Panics
/// If the parser breaks what it promises.
#[cfg(feature = "umbridge")]
pub fn um_bridge(input: &[u8]) {
    let (n, d_y, rest) = split(input);
    let Some((status, body)) = rest.split_first() else {
        return;
    };
    let status = [200, 200, 400, 500, 503][usize::from(*status) % 5];
    if let Some(outcome) = crate::umbridge::read(status, body, &vec![d_y; n]) {
        check(&outcome, n * d_y);
    }
}

fn split(input: &[u8]) -> (usize, usize, &[u8]) {
    match input {
        [n, d_y, rest @ ..] => (1 + usize::from(*n) % 4, usize::from(*d_y) % 4, rest),
        _ => (1, 1, input),
    }
}

fn check(outcome: &Outcome, d_y: usize) {
    if let Ok(y) = outcome {
        assert_eq!(y.len(), d_y);
        assert!(y.iter().all(|value| value.is_finite()), "{y:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const CASES: usize = 10_000;
    /// What answers are made of.
    const FIELDS: [&str; 14] = [
        "\"id\":7",
        "\"id\":\"7\"",
        "\"id\":18446744073709551616",
        "\"y\":[1,2]",
        "\"y\":[[1],[2]]",
        "\"y\":[[1],null]",
        "\"y\":[[NaN,1e999]]",
        "\"errors\":[null,\"no\"]",
        "\"error\":\"no root\"",
        "\"error\":{\"type\":\"InvalidInput\"}",
        "\"output\":[[1,2]]",
        "\"output\":[[nan],[inf]]",
        "\"describe\":{\"x\":[],\"u\":[{}],\"y\":[{}]}",
        "\"other\":\"\\ud83d\\udca5\"",
    ];
    /// What they should not be made of.
    const NOISE: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\n",
        "-Infinity",
        "-0",
        "00",
        "1e",
        "7.0",
        "\u{1F4A5}",
        "\0",
        "\u{feff}",
        "\"\\ud800\"",
    ];

    /// Bytes near an answer: fields in any order and number, among them noise, some of it nested or very long,
    /// and now and then a byte that is wrong or all that are missing at the end.
    fn answer(rng: &mut StdRng) -> Vec<u8> {
        let noisy = rng.random_bool(0.5);
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..rng.random_range(0..5) {
            parts.push(FIELDS[rng.random_range(0..FIELDS.len())].into());
            if noisy {
                let times = if rng.random_bool(0.1) { 2_000 } else { 1 };
                parts.push(NOISE[rng.random_range(0..NOISE.len())].repeat(times));
            }
        }
        let mut bytes = format!("{{{}}}\n", parts.join(",")).into_bytes();
        if noisy && rng.random_bool(0.5) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
            bytes.truncate(rng.random_range(at..=bytes.len()));
        }
        bytes
    }

    #[test]
    fn whatever_is_written_is_read_or_refused() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut accepted = 0;
        for _ in 0..CASES {
            let bytes = answer(&mut rng);
            let head: [u8; 3] = rng.random();
            json_lines(&[&head[..2], &bytes].concat());
            #[cfg(feature = "umbridge")]
            um_bridge(&[&head[..], &bytes].concat());
            accepted += usize::from(Reply::parse(&bytes, &mut Vec::new()).is_ok());
        }
        // Bytes that are all refused at the first character, or all good, would test nothing.
        assert!(
            (CASES / 10..CASES / 10 * 9).contains(&accepted),
            "{accepted} of {CASES} are JSON"
        );
    }

    #[test]
    fn nesting_is_refused_and_not_followed() {
        for open in [
            "[",
            "{\"y\":",
            "{\"error\":",
            "{\"describe\":{\"x\":[{\"a\":",
        ] {
            let deep = open.repeat(MAX_LINE / open.len());
            json_lines(format!("\u{1}\u{1}{deep}\n").as_bytes());
            #[cfg(feature = "umbridge")]
            um_bridge(format!("\u{1}\u{1}\0{{\"output\":{}", open.repeat(1 << 18)).as_bytes());
        }
    }

    #[test]
    fn a_line_that_never_ends_costs_no_more_than_the_limit() {
        let mut lines = Lines::new(MAX_LINE);
        let mut endless = std::io::repeat(b'7');
        let refused = (0..1_000).any(|_| {
            lines.fill(&mut endless).unwrap();
            matches!(lines.next(), Some(Err(_)))
        });
        assert!(refused);
        assert!(lines.rest().len() <= MAX_LINE + (1 << 16));
    }
}
