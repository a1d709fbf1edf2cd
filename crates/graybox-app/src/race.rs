//! A race as a command: what the example and the command line have in common.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use graybox::{Silent, Stop};
use graybox_arena::race::{
    self, Ablation, Entry, Finish, Finished, Group, Override, Plan, Standing,
};

use crate::{Artifacts, Curve, DeviceName, learning_curves, stop_on_ctrl_c};

/// What to race, with how many calls, and where the results go.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct RaceArgs {
    /// Tasks, or `all`
    tasks: Vec<String>,
    /// Algorithms, or `all`; the default one if none is named
    #[arg(long, value_delimiter = ',')]
    algorithm: Vec<String>,
    /// Oracle calls that may be made
    #[arg(long, value_delimiter = ',', default_value = "2000")]
    calls: Vec<u64>,
    /// A run for each
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Training rows; as many as each task says if not given
    #[arg(long)]
    rows: Option<usize>,
    /// A setting, such as joint.lambda=0.5, white_box.batch=1 or train.policy.hidden=[32,32]
    #[arg(long = "set", value_name = "NAME.PATH=VALUE")]
    overrides: Vec<Override>,
    /// Race the default algorithm against itself without each of its parts
    #[arg(long, conflicts_with_all = ["algorithm", "json"])]
    ablate: bool,
    /// Leave out the runs with the true gradient
    #[arg(long)]
    no_reference: bool,
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    device: DeviceName,
    /// Runs at a time, each a process; as many as there are cores if not stated
    #[arg(long)]
    jobs: Option<usize>,
    /// File for the summaries, a JSON array with an object per run
    #[arg(long)]
    json: Option<PathBuf>,
    /// Folder for the table, the curves, and the finished runs that a repeated command need not run again
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the tasks and stop
    #[arg(long)]
    list: bool,
    /// Run one entry, read from standard input
    #[arg(long, hide = true)]
    worker: bool,
}

impl RaceArgs {
    /// Runs the race and prints its table. `subcommand` are the arguments that lead this program here.
    ///
    /// # Errors
    /// If something asked for does not exist, a run fails, or a file cannot be written.
    pub fn run(&self, subcommand: &[&str]) -> Result<()> {
        if self.worker {
            return self.work();
        }
        if self.list {
            return list();
        }
        if self.ablate {
            return self.without_parts(subcommand);
        }
        let plan = Plan {
            tasks: self.tasks.clone(),
            algorithms: self.algorithm.clone(),
            calls: self.calls.clone(),
            seeds: self.seeds.clone(),
            rows: self.rows,
            overrides: self.overrides.clone(),
            references: !self.no_reference,
        };
        let entries = plan.entries()?;
        let asked = plan.asked()?;
        let artifacts = self.out.as_deref().map(Artifacts::create).transpose()?;
        let ran = self.run_all(&entries, subcommand, artifacts.as_ref())?;

        let find = |entry: &&Entry| ran.finishes.iter().find(|(run, _)| run == *entry);
        let all: Vec<Finish> = ran
            .finishes
            .iter()
            .map(|(_, finish)| finish.clone())
            .collect();
        let standings = asked.iter().filter_map(|entry| find(&entry));
        let standings = standings.map(|(_, finish)| Standing::new(finish, &all));
        let standings = standings.collect::<Result<Vec<_>, _>>()?;
        let groups = race::groups(&standings);
        let table = race::table(&groups);
        if let Some(artifacts) = &artifacts {
            self.draw(artifacts, &groups, &all)?;
            let text = format!("{table}\nMade by\n\n    {}\n", command_line());
            artifacts.write("table.md", |path| Ok(std::fs::write(path, text)?))?;
        }
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&standings)? + "\n";
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        print!("{table}");
        ran.complete()
    }

    /// The default algorithm whole and without each of its parts.
    fn without_parts(&self, subcommand: &[&str]) -> Result<()> {
        let [calls] = self.calls[..] else {
            bail!("--ablate takes one number of calls");
        };
        let ablation = Ablation {
            tasks: self.tasks.clone(),
            calls,
            seeds: self.seeds.clone(),
            overrides: self.overrides.clone(),
        };
        let lanes = ablation.lanes()?;
        let entries: Vec<Entry> = lanes.iter().flat_map(|lane| lane.entries.clone()).collect();
        let artifacts = self.out.as_deref().map(Artifacts::create).transpose()?;
        let ran = self.run_all(&entries, subcommand, artifacts.as_ref())?;
        let table = race::ablation_table(&lanes, &ran.finishes);
        if let Some(artifacts) = &artifacts {
            let text = format!("{table}\nMade by\n\n    {}\n", command_line());
            artifacts.write("ablations.md", |path| Ok(std::fs::write(path, text)?))?;
        }
        print!("{table}");
        ran.complete()
    }

    /// Runs what has not been run yet, each in a process of its own.
    fn run_all(
        &self,
        entries: &[Entry],
        subcommand: &[&str],
        artifacts: Option<&Artifacts>,
    ) -> Result<Ran> {
        self.device.open()?;
        let stop = stop_on_ctrl_c()?;
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut finished = match artifacts {
            Some(artifacts) => {
                let path = artifacts.folder().join("finished.jsonl");
                Some(Finished::open(&path, &race::build_of(&program)?)?)
            }
            None => None,
        };
        let device = self.device.to_string();
        let worker = || {
            let mut command = Command::new(&program);
            command.args(subcommand);
            command.args(["--worker", "--device", &device]);
            // Several runs share the cores; none is to take them all.
            command.env("RAYON_NUM_THREADS", "1");
            command
        };
        self.finishes(entries, &worker, finished.as_mut(), &stop)
    }

    /// The finish of every entry, from the file where it is known.
    fn finishes(
        &self,
        entries: &[Entry],
        worker: &(dyn Fn() -> Command + Sync),
        mut finished: Option<&mut Finished>,
        stop: &Stop,
    ) -> Result<Ran> {
        let device = self.device.to_string();
        let mut known = Vec::new();
        let mut waiting = Vec::new();
        for entry in entries {
            match finished
                .as_ref()
                .and_then(|finished| finished.get(entry, &device))
            {
                Some(finish) => known.push((entry.clone(), finish.clone())),
                None => waiting.push(entry.clone()),
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let total = entries.len();
        let mut failures = Vec::new();
        let mut unwritten = None;
        let jobs = self.jobs.unwrap_or(cores);
        race::run_all(
            waiting,
            jobs,
            &worker,
            stop,
            &mut |entry, finish| match finish {
                Ok(finish) => {
                    if let Some(finished) = finished.as_mut()
                        && !finish.stopped
                        && let Err(error) = finished.push(entry, &device, &finish)
                    {
                        unwritten = Some(error);
                    }
                    let loss = finish.true_loss_after;
                    let loss = loss.map_or("no outcome".into(), |loss| format!("{loss:.3e}"));
                    let n = known.len() + failures.len() + 1;
                    eprintln!("{n}/{total} {entry}: {loss} in {:.0} s", finish.wall_s);
                    known.push((entry.clone(), finish));
                }
                Err(error) => {
                    eprintln!("{error}");
                    failures.push(error.to_string());
                }
            },
        );
        match unwritten {
            Some(error) => Err(error.into()),
            None => Ok(Ran {
                finishes: known,
                failures,
                stopped: stop.is_set(),
            }),
        }
    }

    fn work(&self) -> Result<()> {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        let entry: Entry = serde_json::from_str(&text).context("cannot read the entry")?;
        let device = self.device.find()?;
        let name = self.device.to_string();
        let finish = entry.run((&name, &device), &Stop::new(), &mut Silent)?;
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &finish)?;
        Ok(out.flush()?)
    }

    /// A picture per task and number of calls.
    fn draw(&self, artifacts: &Artifacts, groups: &[Group], all: &[Finish]) -> Result<()> {
        let all: Vec<Standing> = all
            .iter()
            .map(|finish| Standing::new(finish, &[]))
            .collect::<Result<_, _>>()?;
        let everyone = race::groups(&all);
        let races: BTreeSet<_> = groups
            .iter()
            .map(|group| (&group.task, group.calls))
            .collect();
        for (task, calls) in races {
            let lanes = everyone
                .iter()
                .filter(|group| (&group.task, group.calls) == (task, calls));
            let curve = |group: &Group| Curve {
                name: group.algorithm.clone(),
                points: group.curve(),
            };
            let curves: Vec<Curve> = lanes.map(curve).collect();
            if curves.iter().any(Curve::can_be_drawn) {
                let title = match self.seeds.len() {
                    1 => format!("{task}, {calls} calls, one seed"),
                    n => format!("{task}, {calls} calls, median of {n} seeds"),
                };
                artifacts.write(&format!("{task}-{calls}.svg"), |path| {
                    learning_curves(path, &title, &curves)
                })?;
            }
        }
        Ok(())
    }
}

/// The runs of a race, and what failed.
struct Ran {
    finishes: Vec<(Entry, Finish)>,
    failures: Vec<String>,
    stopped: bool,
}

impl Ran {
    /// Fails if something is missing.
    fn complete(&self) -> Result<()> {
        // A signal reaches the runs under way as well; that they ended early is no failure of theirs.
        if self.stopped {
            bail!(
                "stopped; the same command goes on from {} finished runs",
                self.finishes.len()
            );
        }
        if !self.failures.is_empty() {
            let failures = self.failures.join("\n");
            bail!("{} runs failed:\n{failures}", self.failures.len());
        }
        Ok(())
    }
}

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for task in graybox_arena::all() {
        let dims = task.dims();
        let widths = format!("{}, {}, {}", dims.x, dims.u, dims.y);
        writeln!(out, "{:<20} {:<10} {}", task.name(), widths, task.about())?;
    }
    Ok(())
}

/// The command that made a table, without the folder the program lies in.
fn command_line() -> String {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name();
    let name = name.map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    let rest: Vec<String> = args.collect();
    match name.as_str() {
        "graybox" => format!("graybox {}", rest.join(" ")),
        example => format!(
            "cargo run --release --example {example} -- {}",
            rest.join(" ")
        ),
    }
}
