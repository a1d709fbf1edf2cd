//! What the pool costs: rows per second through it, against a bare loop on the same pipes and program.
//!
//! `cargo bench -p graybox-oracle --bench process` prints one line per claim, with the ratio the claim is about
//! and the least it may be, and ends with an error if one falls short. The worker is this program itself.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use graybox_oracle::{Dims, Oracle, ProcessConfig, ProcessOracle, Queries, Rows};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some("worker") => worker(arguments.get(2).map_or("", String::as_str)).map(|()| true),
        Some("--bench") => measure(),
        // `cargo test --all-targets` runs benches without the flag: nothing to test here.
        _ => Ok(true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// F(x, u) = x + u, answered at once (`quick`) or after a while: `100` ms, or `10-200` ms drawn per call.
fn worker(pace: &str) -> Result<()> {
    let (low, high) = match pace.split_once('-') {
        Some((low, high)) => (low.parse()?, high.parse()?),
        None => (pace.parse().unwrap_or(0), pace.parse().unwrap_or(0)),
    };
    let mut state = 0x9e37_79b9_u64 + u64::from(std::process::id());
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let id = &request["id"];
        if request["describe"] == true {
            let describe = r#"{"x":[{},{}],"u":[{},{}],"y":[{},{}]}"#;
            writeln!(output, r#"{{"id":0,"describe":{describe}}}"#)?;
            output.flush()?;
            continue;
        }
        if high > 0 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            std::thread::sleep(Duration::from_millis(
                low + (state >> 33) % (high - low + 1),
            ));
        }
        let sum = |x: &Value, u: &Value| {
            let add = |k: usize| x[k].as_f64().unwrap_or(0.0) + u[k].as_f64().unwrap_or(0.0);
            serde_json::json!([add(0), add(1)])
        };
        let (x, u) = (&request["x"], &request["u"]);
        let y = match (x.as_array(), u.as_array()) {
            (Some(xs), Some(us)) if xs.first().is_some_and(Value::is_array) => {
                xs.iter().zip(us).map(|(x, u)| sum(x, u)).collect()
            }
            _ => sum(x, u),
        };
        let answer = format!("{{\"id\":{id},\"y\":{y}}}\n");
        output.write_all(answer.as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

fn command(pace: &str) -> Result<Vec<String>> {
    let program = std::env::current_exe()?.display().to_string();
    Ok(vec![program, "worker".into(), pace.into()])
}

fn rows(n: usize) -> Result<(Rows, Rows)> {
    let value = |k: usize| (k % 1000) as f64 / 7.0;
    let x = Rows::from_vec(2, (0..2 * n).map(value).collect())?;
    let u = Rows::from_vec(2, (0..2 * n).rev().map(value).collect())?;
    Ok((x, u))
}

/// Rows per second of a loop that does nothing but write requests and read lines, `window` of them on their way.
fn bare(n: usize, window: usize, batch: usize) -> Result<f64> {
    let command = command("quick")?;
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("no input")?;
    let mut output = BufReader::with_capacity(1 << 16, child.stdout.take().ok_or("no output")?);
    let (x, u) = rows(n)?;
    let lines: Vec<String> = (0..n / batch)
        .map(|line| {
            let list = |of: &Rows| {
                let rows = (line * batch..(line + 1) * batch).map(|row| of.row(row));
                serde_json::json!(rows.collect::<Vec<_>>())
            };
            let (x, u) = (list(&x), list(&u));
            let (x, u) = if batch == 1 { (&x[0], &u[0]) } else { (&x, &u) };
            format!("{{\"id\":{line},\"x\":{x},\"u\":{u}}}\n")
        })
        .collect();
    let mut line = String::new();
    let start = Instant::now();
    for some in lines.chunks(window) {
        input.write_all(some.concat().as_bytes())?;
        for _ in some {
            line.clear();
            output.read_line(&mut line)?;
        }
    }
    let rate = n as f64 / start.elapsed().as_secs_f64();
    drop(input);
    output.read_to_string(&mut line)?;
    child.wait()?;
    Ok(rate)
}

/// Rows per second through the pool, asked `ask` at a time.
fn pooled(config: &ProcessConfig, n: usize, ask: usize) -> Result<f64> {
    let oracle = ProcessOracle::start(config.clone())?;
    let (x, u) = rows(n)?;
    let index: Vec<usize> = (0..n).collect();
    // All workers are up when each has had a row.
    let first: Vec<usize> = (0..config.workers).collect();
    oracle.evaluate(Queries::new(&x.select(&first), &u.select(&first))?);
    let parts: Vec<(Rows, Rows)> = index
        .chunks(ask)
        .map(|part| (x.select(part), u.select(part)))
        .collect();
    let start = Instant::now();
    for (x, u) in &parts {
        let outcomes = oracle.evaluate(Queries::new(x, u)?);
        if let Some(error) = outcomes.into_iter().find_map(std::result::Result::err) {
            return Err(error.into());
        }
    }
    Ok(n as f64 / start.elapsed().as_secs_f64())
}

/// Both rates of the pair whose ratio is the median of several: each is taken in turn with what it is compared
/// to, so that a busy moment hits both.
fn ratio(
    mut ours: impl FnMut() -> Result<f64>,
    mut theirs: impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    let mut pairs = Vec::new();
    for _ in 0..9 {
        pairs.push((ours()?, theirs()?));
    }
    pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    Ok(pairs[pairs.len() / 2])
}

fn measure() -> Result<bool> {
    let mut all_hold = true;
    let mut line = |name: &str, ours: f64, theirs: f64, least: f64| {
        let ratio = ours / theirs;
        all_hold &= ratio >= least;
        println!("{name:<44} {ours:>9.0}/s of {theirs:>9.0}/s = {ratio:.2}, at least {least}");
    };
    let quick = ProcessConfig {
        dims: Some(Dims::new(2, 2, 2)),
        ..ProcessConfig::new(command("quick")?)
    };

    let n = 20_000;
    let (ours, theirs) = ratio(|| pooled(&quick, n, 1), || bare(n, 1, 1))?;
    line("one worker, one row at a time", ours, theirs, 0.8);

    let n = 102_400;
    let windowed = ProcessConfig {
        window: 256,
        ..quick.clone()
    };
    let (ours, theirs) = ratio(|| pooled(&windowed, n, n), || bare(n, 256, 1))?;
    line("one worker, 256 lines on their way", ours, theirs, 0.7);

    // One line is read while the next is computed; the bare loop has one on its way.
    let batched = ProcessConfig {
        batch: 256,
        window: 2,
        ..quick.clone()
    };
    let (ours, theirs) = ratio(|| pooled(&batched, n, n), || bare(n, 1, 256))?;
    line("one worker, 256 rows to a line, 2 lines", ours, theirs, 0.7);

    for workers in [4, 16] {
        let slow = ProcessConfig {
            workers,
            ..ProcessConfig::new(command("100")?)
        };
        let ours = pooled(&slow, 20 * workers, 20 * workers)?;
        line(
            &format!("{workers} workers, calls of 100 ms"),
            ours,
            workers as f64 / 0.1,
            0.93,
        );
    }
    let uneven = ProcessConfig {
        workers: 8,
        ..ProcessConfig::new(command("10-200")?)
    };
    let ours = pooled(&uneven, 400, 400)?;
    line("8 workers, calls of 10 to 200 ms", ours, 8.0 / 0.105, 0.85);
    Ok(all_hold)
}
