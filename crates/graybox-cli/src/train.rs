//! `graybox train`: from settings to a folder with a trained policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{Device, Tensor, TensorData};
use graybox::algorithm::{PolicyFactory, TrainedSurrogate};
use graybox::model::{Layout, MlpPolicy};
use graybox::oracle::{Answered, Description, Ledger, Oracle, Rows};
use graybox::{Calls, Dataset, Ending, Problem, RunReport, Stop, TrainError, Trainer};
use graybox_app::{Artifacts, Console, Curve, DeviceName, Summary, stop_on_ctrl_c};

use crate::args::{LayoutName, Train};
use crate::log::Log;
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::{PolicyFile, load};
use crate::report::{self, Told};
use crate::run_file::{RunFile, absolute, names};
use crate::run_folder::{
    CALLS, CHECKPOINT, DIAGNOSES, HELD_OUT, LEDGER, SETTINGS, SUMMARY, beside, check_free,
    set_aside,
};
use crate::scored::Scored;
use crate::seeds;
use crate::summary::Whole;

/// How often the state of a run is saved.
const CHECKPOINTS: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Train) -> Result<Done, Failure> {
    let device = args.device.device.open().or_usage()?;
    let settings = absolute(&args.run)?;
    let out = absolute(&args.out.clone().unwrap_or_else(|| beside(&settings)))?;
    let log = args.log.as_deref().map(absolute).transpose()?;
    let weights = args.policy.as_deref().map(absolute).transpose()?;
    let ledger = args.ledger.as_deref().map(absolute).transpose()?;
    let warm = args.warm_start.as_deref().map(absolute).transpose()?;
    if !(args.overwrite || args.resume) {
        check_free(&out).or_usage()?;
    }
    let mut seeds = args.seeds.iter().enumerate();
    if let Some((_, twice)) = seeds.find(|(k, seed)| args.seeds[..*k].contains(seed)) {
        return Err(Failure::usage(anyhow!("--seeds names {twice} twice")));
    }

    let mut run = RunFile::open(&settings)?;
    run.train.calls = args.calls.unwrap_or(run.train.calls);
    run.train.seed = args.seed.unwrap_or(run.train.seed);
    run.train.check().or_usage()?;
    let stop = stop_on_ctrl_c()?;
    let (oracle, description) = run.start(&stop)?;
    let rows = run.rows(&description)?;
    let mut job = Job {
        ledger: ledger.unwrap_or_else(|| out.join(LEDGER)),
        run,
        oracle: oracle.into(),
        description,
        rows,
        device_name: args.device.device.clone(),
        device,
        start: None,
        warm: None,
        overwrite: args.overwrite,
        stop,
        shown: args.run.clone(),
    };
    // What can be refused is refused before anything is paid for.
    let Prepared { policy, .. } = job.prepare()?;
    if let Some(path) = weights {
        let loaded = load(
            &policy.policy,
            &path,
            args.policy_layout.into(),
            &job.device,
        );
        job.start = Some(loaded.context("--policy").or_usage()?);
    }
    if let Some(path) = warm {
        job.warm = Some(job.answers_of(&path).context("--warm-start").or_usage()?);
    }
    let mut log = log.as_deref().map(Log::create).transpose()?;
    if args.seeds.is_empty() {
        let trained = job.train(&out, &mut log)?;
        println!("{}", trained.summary);
        println!("results              {}", out.display());
        trained.end
    } else {
        seeds::train(&mut job, &args.seeds, &out, &mut log)
    }
}

/// Everything that a run needs, whatever its seed.
pub(crate) struct Job {
    pub(crate) run: RunFile,
    oracle: Arc<dyn Oracle>,
    description: Description,
    rows: Dataset,
    device_name: DeviceName,
    device: Device,
    /// The policy to start from, where not from a random one.
    start: Option<MlpPolicy>,
    /// What other runs have paid for.
    warm: Option<Answered>,
    ledger: PathBuf,
    pub(crate) overwrite: bool,
    pub(crate) stop: Stop,
    /// The settings' file as the user named it.
    shown: PathBuf,
}

/// What a run came to. Its results are in its folder.
pub(crate) struct Trained {
    pub(crate) summary: Summary,
    pub(crate) end: Result<Done, Failure>,
}

/// What is known of a run before its first call.
struct Prepared {
    problem: Problem,
    policy: PolicyFile,
    held_out: Dataset,
}

impl Job {
    fn prepare(&self) -> Result<Prepared, Failure> {
        let (train, held_out) = self.run.split(&self.rows)?;
        let problem = Problem::described(train, &self.description, &self.device).or_usage()?;
        let policy = PolicyFile {
            oracle: self.description.clone(),
            policy: problem.policy(&self.run.train.policy),
        };
        Ok(Prepared {
            problem,
            policy,
            held_out,
        })
    }

    /// What an earlier run was answered.
    fn answers_of(&self, path: &Path) -> Result<Answered> {
        let shown = path.display();
        if path == self.ledger && !self.overwrite {
            bail!(
                "{shown} is where this run keeps its own answers: name another folder with --out"
            );
        }
        let answered = Ledger::answers_in(path, &self.description)?;
        if answered.is_empty() {
            bail!("{shown} holds no answers to learn from");
        }
        Ok(answered)
    }

    /// Trains with the seed of the settings and leaves everything in a folder.
    pub(crate) fn train(&self, out: &Path, log: &mut Option<Log>) -> Result<Trained, Failure> {
        let Prepared {
            problem,
            policy,
            held_out,
        } = self.prepare()?;
        let artifacts = Artifacts::create(out)?;
        if self.overwrite {
            set_aside(out)?;
        }
        let ledger = Ledger::open(&self.ledger, &self.description).or_usage()?;
        write_settings(&artifacts, &self.run)?;
        policy.write(&artifacts)?;
        let mut trainer = self
            .trainer(problem)
            .or_usage()?
            .with_held_out(held_out)
            .with_record(ledger)
            .with_checkpoint(out.join(CHECKPOINT), CHECKPOINTS)
            .with_stop(self.stop.clone());
        let mut console = Console::new(self.description.name.clone());
        let ended = match log {
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
        let summary = self.leave(&artifacts, &trainer, &ended)?;
        if let Some(log) = log {
            log.end(&summary)?;
        }
        Ok(Trained {
            summary,
            end: self.end(ended),
        })
    }

    fn trainer(&self, problem: Problem) -> Result<Trainer<MlpPolicy>, TrainError> {
        let (config, oracle) = (self.run.train.clone(), Arc::clone(&self.oracle));
        let trainer = match &self.start {
            Some(policy) => {
                let policy = policy.clone();
                let given: PolicyFactory<_> = Arc::new(move |_| policy.clone());
                Trainer::with_policy(config, problem, oracle, given)?
            }
            None => Trainer::new(config, problem, oracle)?,
        };
        match &self.warm {
            Some(answered) => trainer.with_warm_start(answered),
            None => Ok(trainer),
        }
    }

    /// Writes everything a run leaves.
    fn leave(
        &self,
        artifacts: &Artifacts,
        trainer: &Trainer<MlpPolicy>,
        ended: &RunReport,
    ) -> Result<Summary> {
        let summary = Summary::new(&self.description.name, &self.device_name, trainer, ended);
        let curve = Curve::held_out(summary.algorithm.as_str(), trainer.history());
        artifacts.run(trainer, &summary, &[curve])?;
        let scored = scored(trainer, &self.device)?;
        if let Some(scored) = &scored {
            let objective = &**trainer.problem().objective();
            scored.put(artifacts, HELD_OUT, &self.description, objective)?;
        }
        artifacts.write(CALLS, |path| {
            write_calls(path, trainer.calls(), &self.description)
        })?;
        let told: Vec<Told> = ended.diagnoses.iter().map(Told::from).collect();
        artifacts.json(DIAGNOSES, &told)?;
        let mut whole = Whole::new(
            summary.clone(),
            scored.as_ref(),
            trainer.calls(),
            &self.description,
        );
        whole.warm_start_answers = self.warm.as_ref().map_or(0, Answered::len);
        artifacts.json(SUMMARY, &whole)?;
        report::write(artifacts)?;
        Ok(summary)
    }

    fn end(&self, ended: RunReport) -> Result<Done, Failure> {
        if ended.oracle_calls > 0 && ended.failed_calls == ended.oracle_calls {
            return Err(Failure::oracle(anyhow!(
                "every one of {} calls failed: `graybox check {}` says why",
                ended.oracle_calls,
                self.shown.display()
            )));
        }
        match ended.ending {
            Ending::Stopped => Ok(Done::Interrupted),
            Ending::BudgetSpent => Ok(Done::Finished),
            Ending::OracleFails | Ending::OracleGone => {
                let reason = ended.reason.unwrap_or_default();
                Err(Failure::oracle(anyhow!(
                    "{reason}; what was learned before that is saved"
                )))
            }
        }
    }
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Burn => Self::Burn,
            LayoutName::Pytorch => Self::PyTorch,
        }
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
