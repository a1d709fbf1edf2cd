//! `graybox evaluate`: the true loss, through the oracle.

use anyhow::anyhow;
use graybox::Stop;
use graybox::oracle::{Budget, Metered, Queries, Rows};

use crate::args::Evaluate;
use crate::data;
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::{PolicyFile, act};
use crate::run_file::{RunFile, absolute, objective};
use crate::run_folder::SETTINGS;
use crate::scored::Scored;

pub(crate) fn run(args: &Evaluate) -> Result<Done, Failure> {
    let device = args.device.device.open().or_usage()?;
    let folder = absolute(&args.run)?;
    let other = args.data.as_deref().map(absolute).transpose()?;
    let out = args.out.as_deref().map(absolute).transpose()?;
    let (file, policy) = PolicyFile::open(&folder, &device).or_usage()?;
    let settings = RunFile::open(&folder.join(SETTINGS))?;
    let (oracle, description) = settings.start(&Stop::new())?;
    if file.oracle.dims() != description.dims() {
        return Err(Failure::usage(anyhow!(
            "the program has other sizes now than when {} was trained",
            folder.display()
        )));
    }

    let rows = match &other {
        Some(path) => {
            let [x, target] = settings.columns(&description).or_usage()?;
            data::read(path, &x, &target).or_usage()?
        }
        None => settings.split(&settings.rows(&description)?)?.1,
    };
    let mut u = Rows::with_capacity(description.u.len(), rows.len());
    for action in act(&policy, rows.x(), &device)? {
        let action: Vec<f64> = action.into_iter().map(f64::from).collect();
        u.push(&action).or_usage()?;
    }

    let mut metered = Metered::new(oracle, Budget::new(rows.len() as u64).or_usage()?);
    let queries = Queries::new(rows.x(), &u).or_usage()?;
    let outcomes = metered.evaluate(queries).or_oracle()?;
    let scored = Scored {
        data: rows,
        u,
        outcomes,
        predicted: None,
    };
    let objective = objective(&description)?;
    let mut losses: Vec<f64> = scored.losses(&objective).into_iter().flatten().collect();
    if let Some(path) = &out {
        scored.write(path, &description, &objective)?;
    }
    if losses.is_empty() {
        let reason = scored
            .outcomes
            .iter()
            .find_map(|outcome| outcome.as_ref().err());
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        return Err(Failure::oracle(anyhow!(
            "none of {} calls was answered{reason}",
            metered.calls()
        )));
    }
    losses.sort_by(f64::total_cmp);
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    println!("true loss     {mean:.3e} (median {:.3e})", median(&losses));
    println!("rows          {}", losses.len());
    println!(
        "oracle calls  {} ({} failed)",
        metered.calls(),
        metered.failed()
    );
    Ok(Done::Finished)
}

/// The middle of sorted numbers; 0 of none.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    match n {
        0 => 0.0,
        _ if n % 2 == 1 => sorted[n / 2],
        _ => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}
