//! Races algorithms against each other and against the true gradient, at equal oracle calls.
//!
//!     cargo run --release --example race -- asker rotation --algorithm all --calls 2000 --seeds 1,2,3
//!
//! A row of the table is an algorithm on a task: the true loss it reaches, over the seeds, beside what training
//! with the true gradient reaches with as many calls, each used once or as often as a surrogate would use it.

use anyhow::Result;
use clap::Parser;
use graybox_app::RaceArgs;

/// Race algorithms against each other at equal oracle calls.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    race: RaceArgs,
}

fn main() -> Result<()> {
    Args::parse().race.run(&[])
}
