//! `graybox train`: from settings to a folder with a trained policy.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use burn::tensor::{Device, Tensor, TensorData};
use graybox::algorithm::{PolicyFactory, TrainedSurrogate};
use graybox::model::{Layout, MlpPolicy};
use graybox::oracle::{Description, Ledger, Oracle, Rows};
use graybox::{Calls, Diagnosis, Ending, Observer, Problem, Progress, TrainError, Trainer};
use graybox_app::{Artifacts, Console, Curve, Summary, stop_on_ctrl_c};
use serde_json::json;

use crate::args::{LayoutName, Train};
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::{PolicyFile, load};
use crate::report::{self, Told};
use crate::run_file::{RunFile, absolute, names};
use crate::run_folder::{
    CALLS, CHECKPOINT, DIAGNOSES, HELD_OUT, LEDGER, SETTINGS, beside, check_free, set_aside,
};
use crate::scored::Scored;

/// How often the state of a run is saved.
const CHECKPOINTS: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Train) -> Result<Done, Failure> {
    let device = args.device.device.open().or_usage()?;
    let settings = absolute(&args.run)?;
    let out = absolute(&args.out.clone().unwrap_or_else(|| beside(&settings)))?;
    let log = args.log.as_deref().map(absolute).transpose()?;
    let weights = args.policy.as_deref().map(absolute).transpose()?;
    let ledger = args.ledger.as_deref().map(absolute).transpose()?;
    if !(args.overwrite || args.resume) {
        check_free(&out).or_usage()?;
    }

    let mut run = RunFile::open(&settings)?;
    run.train.calls = args.calls.unwrap_or(run.train.calls);
    run.train.seed = args.seed.unwrap_or(run.train.seed);
    run.train.check().or_usage()?;
    let (oracle, description) = run.start()?;
    let (train, held_out) = run.split(&run.rows(&description)?)?;
    let problem = Problem::described(train, &description, &device).or_usage()?;
    let policy = PolicyFile {
        oracle: description.clone(),
        policy: problem.policy(&run.train.policy),
    };
    let start = weights
        .map(|path| load(&policy.policy, &path, args.policy_layout.into(), &device))
        .transpose()
        .context("--policy")
        .or_usage()?;

    // Everything that can be refused has been; from here on calls are paid for.
    let artifacts = Artifacts::create(&out)?;
    if args.overwrite {
        set_aside(&out)?;
    }
    let ledger = ledger.unwrap_or_else(|| out.join(LEDGER));
    let ledger = Ledger::open(ledger, &description).or_usage()?;
    write_settings(&artifacts, &run)?;
    policy.write(&artifacts)?;
    let mut log = log.as_deref().map(Log::create).transpose()?;
    let mut trainer = trainer(&run, problem, oracle, start)
        .or_usage()?
        .with_held_out(held_out)
        .with_record(ledger)
        .with_checkpoint(out.join(CHECKPOINT), CHECKPOINTS)
        .with_stop(stop_on_ctrl_c()?);
    let mut console = Console::new(description.name.clone());
    let ended = match &mut log {
        Some(log) => trainer.run(&mut (&mut console, log)),
        None => trainer.run(&mut console),
    };
    let ended = match ended {
        Ok(ended) => ended,
        // Nothing was begun, so there is nothing to save.
        Err(error @ TrainError::OtherRun(_)) => return Err(Failure::usage(error)),
        Err(error) => {
            artifacts.weights("policy.safetensors", &trainer.policy())?;
            artifacts.history("history.csv", &trainer.history().lines)?;
            let saved = format!(
                "{}: what was learned until then is saved there",
                out.display()
            );
            return Err(Failure::from(anyhow!(error).context(saved)));
        }
    };

    let summary = Summary::new(&description.name, &args.device.device, &trainer, &ended);
    let curve = Curve::held_out(summary.algorithm.as_str(), trainer.history());
    artifacts.run(&trainer, &summary, &[curve])?;
    if let Some(scored) = scored(&trainer, &device)? {
        let objective = &**trainer.problem().objective();
        scored.put(&artifacts, HELD_OUT, &description, objective)?;
    }
    artifacts.write(CALLS, |path| {
        write_calls(path, trainer.calls(), &description)
    })?;
    let told: Vec<Told> = ended.diagnoses.iter().map(Told::from).collect();
    artifacts.json(DIAGNOSES, &told)?;
    report::write(&artifacts)?;
    if let Some(log) = log {
        log.end(&summary)?;
    }
    println!("{summary}");
    println!("results              {}", out.display());
    if ended.oracle_calls > 0 && ended.failed_calls == ended.oracle_calls {
        return Err(Failure::oracle(anyhow!(
            "every one of {} calls failed: `graybox check {}` says why",
            ended.oracle_calls,
            args.run.display()
        )));
    }
    Ok(match ended.ending {
        Ending::Stopped => Done::Interrupted,
        Ending::BudgetSpent => Done::Finished,
        Ending::OracleFails | Ending::OracleGone => {
            let reason = ended.reason.unwrap_or_default();
            return Err(Failure::oracle(anyhow!(
                "{reason}; what was learned before that is saved"
            )));
        }
    })
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Burn => Self::Burn,
            LayoutName::Pytorch => Self::PyTorch,
        }
    }
}

fn trainer(
    run: &RunFile,
    problem: Problem,
    oracle: impl Oracle + 'static,
    start: Option<MlpPolicy>,
) -> Result<Trainer<MlpPolicy>, TrainError> {
    match start {
        Some(policy) => {
            let given: PolicyFactory<_> = Arc::new(move |_| policy.clone());
            Trainer::with_policy(run.train.clone(), problem, oracle, given)
        }
        None => Trainer::new(run.train.clone(), problem, oracle),
    }
}

/// The settings as they were used, so that the folder alone tells how to do it again.
fn write_settings(artifacts: &Artifacts, run: &RunFile) -> Result<()> {
    let folder = std::env::current_dir().context("the folder of the settings is gone")?;
    let used = RunFile {
        folder: Some(folder),
        ..run.clone()
    };
    let text = format!(
        "# The settings of this run, as they were used.\n\n{}",
        used.to_toml()?
    );
    artifacts.write(SETTINGS, |path| Ok(std::fs::write(path, text)?))
}

/// The latest calls, a line each.
fn write_calls(path: &Path, calls: &Calls, description: &Description) -> Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    let columns = [&description.x, &description.u, &description.y].map(|of| names(of));
    writer.write_record(
        columns
            .iter()
            .flatten()
            .map(String::as_str)
            .chain(["error"]),
    )?;
    for call in calls.iter() {
        let mut record: Vec<String> = call
            .x
            .iter()
            .chain(&call.u)
            .map(ToString::to_string)
            .collect();
        match &call.outcome {
            Ok(y) => {
                record.extend(y.iter().map(ToString::to_string));
                record.push(String::new());
            }
            Err(error) => {
                record.extend(description.y.iter().map(|_| String::new()));
                record.push(error.to_string());
            }
        }
        writer.write_record(&record)?;
    }
    Ok(writer.flush()?)
}

/// The held-out rows as they were scored last.
fn scored(trainer: &Trainer<MlpPolicy>, device: &Device) -> Result<Option<Scored>> {
    let (Some(data), Some(score)) = (trainer.held_out(), trainer.last_score()) else {
        return Ok(None);
    };
    let predicted = trainer.surrogate();
    let predicted = predicted.map(|surrogate| predict(&*surrogate, data.x(), &score.u, device));
    Ok(Some(Scored {
        data: data.clone(),
        u: score.u.clone(),
        outcomes: score.outcomes.clone(),
        predicted: predicted.transpose()?,
    }))
}

/// What a surrogate says of these rows.
fn predict(
    surrogate: &dyn TrainedSurrogate,
    x: &Rows,
    u: &Rows,
    device: &Device,
) -> Result<Vec<Vec<f32>>> {
    let upload = |rows: &Rows| {
        let values: Vec<f32> = rows.as_slice().iter().map(|v| *v as f32).collect();
        Tensor::<2>::from_data(TensorData::new(values, [rows.len(), rows.width()]), device)
    };
    let y = surrogate.predict(upload(x), upload(u));
    let [_, d_y] = y.dims();
    let values = y.into_data().try_to_vec_as::<f32>();
    let values = values.context("predictions cannot be read from the device")?;
    Ok(values
        .chunks_exact(d_y.max(1))
        .map(<[f32]>::to_vec)
        .collect())
}

/// Progress as JSON lines. A line that cannot be written ends the log, not the run that is being paid for.
struct Log {
    to: Option<BufWriter<File>>,
    shown: String,
}

impl Log {
    fn create(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let file = File::create(path)
            .with_context(|| format!("cannot write the log {shown}"))
            .or_usage()?;
        Ok(Self {
            to: Some(BufWriter::new(file)),
            shown,
        })
    }

    fn line(&mut self, value: &serde_json::Value) {
        let Some(to) = &mut self.to else {
            return;
        };
        if let Err(error) = writeln!(to, "{value}").and_then(|()| to.flush()) {
            eprintln!("the log {} ends here: {error}", self.shown);
            self.to = None;
        }
    }

    fn end(mut self, summary: &Summary) -> Result<()> {
        self.line(&json!({ "summary": serde_json::to_value(summary)? }));
        Ok(())
    }
}

impl Observer for Log {
    fn progress(&mut self, line: &Progress) {
        self.line(&json!({ "progress": line }));
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        self.line(&json!({ "diagnosis": diagnosis, "message": diagnosis.to_string() }));
    }
}
