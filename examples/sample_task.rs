//! Draws training data for a task of the arena: contexts and reachable targets, as CSV on standard output.

use anyhow::Result;
use clap::Parser;

/// Draw training data for a task of the arena.
#[derive(Parser)]
struct Args {
    /// Name of the task
    task: String,
    /// Number of rows
    #[arg(long, default_value_t = 1_000)]
    rows: usize,
    /// Decides every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let Args { task, rows, seed } = Args::parse();
    let known = graybox_arena::race::find(&task)?;
    let data = known.sample(rows, seed);
    let [x, _, y] = known.columns();
    println!("# {}", known.about());
    println!("# cargo run --release --example sample_task -- {task} --rows {rows} --seed {seed}");
    println!("{},{}", x.join(","), y.join(","));
    for (x, target) in data.x().iter().zip(data.target().iter()) {
        let row: Vec<String> = x.iter().chain(target).map(|v| format!("{v:.6}")).collect();
        println!("{}", row.join(","));
    }
    Ok(())
}
