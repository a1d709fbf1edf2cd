//! Ctrl-C ends a run; a second one ends the program.

use anyhow::{Context, Result};
use graybox::Stop;

/// Exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A flag that Ctrl-C (or a termination signal) sets, so that the run ends and keeps what it learned. A
/// second one ends the program at once.
///
/// # Errors
/// If the handler cannot be installed, or was already.
pub fn stop_on_ctrl_c() -> Result<Stop> {
    let stop = Stop::new();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.is_set() {
            std::process::exit(INTERRUPTED);
        }
        flag.set();
        eprintln!("stopping after this round; what was learned is saved (again to quit at once)");
    })
    .context("cannot install the Ctrl-C handler")?;
    Ok(stop)
}
