//! What the command line says.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use graybox_app::{DeviceName, RaceArgs};

/// burn's version, as the workspace pins it.
const BURN: &str = "0.22.1";

const EXAMPLES: &str = "\
A first run, from a program and a table of wanted outcomes to a policy elsewhere:
  graybox init --data wanted.csv -- python3 simulator.py   writes run.toml
  graybox check run.toml                                   calls it a few times, says what is wrong
  graybox train run.toml                                   trains; results in the folder run, report.html first
  graybox predict run --in contexts.csv                    the policy's actions
  graybox export run --onnx policy.onnx                    the policy for other programs

The program reads one request a line and answers each with a line, flushed:
  {\"id\":7,\"x\":[..],\"u\":[..]}   ->  {\"id\":7,\"y\":[..]}  or  {\"id\":7,\"error\":\"did not converge\"}
  {\"id\":0,\"describe\":true}     ->  {\"id\":0,\"describe\":{\"x\":[{\"name\":..}],\"u\":[{\"name\":..,\"lo\":..,\"hi\":..}],\"y\":[..]}}

Exit codes:
  0    done
  1    something else went wrong, such as a full disk
  2    the command line, a settings file or the data
  3    the oracle
  130  interrupted; what was learned is saved";

/// Trains a neural network through a function that can be called but not differentiated.
///
/// Given contexts X and wanted outcomes Y, finds a network π with F(X, π(X)) ≈ Y, where F is any program that
/// speaks JSON lines or a model behind UM-Bridge servers. Every call is counted.
#[derive(Debug, Parser)]
#[command(name = "graybox", version = VERSION.as_str(), after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command's own version, burn's, and the backends that were compiled in.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let backends = [
        (cfg!(feature = "flex"), "flex"),
        (cfg!(feature = "ndarray"), "ndarray"),
        (cfg!(feature = "wgpu"), "wgpu"),
        (cfg!(feature = "vulkan"), "vulkan"),
        (cfg!(feature = "cuda"), "cuda"),
    ];
    let compiled: Vec<_> = backends
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    let own = env!("CARGO_PKG_VERSION");
    format!("{own} (burn {BURN}; backends: {})", compiled.join(", "))
});

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(Init),
    Check(Check),
    Train(Train),
    Predict(Predict),
    Evaluate(Evaluate),
    Export(Export),
    Report(Report),
    Serve(Serve),
    /// Race the algorithms on tasks with known truth, at equal oracle calls
    #[command(
        after_help = "Example:\n  graybox race asker --algorithm all --calls 1000 --seeds 1,2,3"
    )]
    Race(RaceArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  graybox completions bash > /etc/bash_completion.d/graybox")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages
    #[command(after_help = "Example:\n  graybox man /usr/local/share/man/man1")]
    Man {
        /// Folder for the pages
        out: PathBuf,
    },
}

/// Write a commented run.toml for a program
///
/// Asks the program, or the servers, what it is: names, units, ranges and scales of contexts x, actions u and outcomes y. What it
/// does not say is taken from the data where possible, or asked for on a terminal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  graybox init --data wanted.csv -- python3 simulator.py
  graybox init --bounds angle=0..1.57 --data wanted.csv -- ./simulator --fine
  graybox init --url http://node1:4242 --connections 8 --x wind,distance --target range --bounds angle=0..1.57 \\
    --data wanted.csv                                  (a UM-Bridge model, which says sizes and no names)
  graybox init -- python3 assets/oracles/lens.py      (it draws its own data: --sample N SEED)")]
pub(crate) struct Init {
    /// CSV or Parquet with a column for every context and every wanted outcome; without it the program is asked for a
    /// sample
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// Where to write
    #[arg(long, value_name = "FILE", default_value = "run.toml")]
    pub(crate) out: PathBuf,
    /// Columns of the contexts, where the header differs from the program's names
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(crate) x: Vec<String>,
    /// Columns of the wanted outcomes, where the header differs from the program's names
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// Range of an action that the program does not state
    #[arg(long, value_name = "ACTION=LOW..HIGH")]
    pub(crate) bounds: Vec<String>,
    /// Sizes of x, u and y, for a program that cannot describe itself
    #[arg(long, value_name = "X,U,Y")]
    pub(crate) sizes: Option<String>,
    /// A UM-Bridge server instead of a program; give several that share the work
    #[arg(long = "url", value_name = "URL", conflicts_with_all = ["command", "sizes"])]
    pub(crate) urls: Vec<String>,
    /// Which of the servers' models
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Rows asked at the same time, over as many connections
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<usize>,
    /// The environment variable with the servers' access token
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) token_variable: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// The program and its arguments
    #[arg(last = true, required_unless_present = "urls", value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Call the oracle on a few rows and say what is wrong
///
/// Looks at the data and at how the program answers: failures, numbers that are not finite, repeatability, noise,
/// steps, time, whether the wanted outcomes look reachable. Charges nothing to any run.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  graybox check run.toml --rows 16")]
pub(crate) struct Check {
    /// The run's settings
    pub(crate) run: PathBuf,
    /// Rows of the data to call the oracle on, with actions drawn within their ranges
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) rows: u64,
    /// Decides which rows and actions
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Train a policy
///
/// Ctrl-C ends the run after the round it is in and saves what was learned. Every answer of the program is kept
/// before it is used, so that the same command goes on where a run was killed and pays for nothing twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  graybox train run.toml
  graybox train run.toml --calls 500 --seed 2 --out run-2
  graybox train run.toml --seeds 1,2,3
  graybox train run.toml --resume
  graybox train better.toml --warm-start run/ledger.sqlite
  graybox train run.toml --policy from_pytorch.safetensors --policy-layout pytorch --out continued")]
pub(crate) struct Train {
    /// The run's settings
    pub(crate) run: PathBuf,
    /// Folder for the results; the settings' name without .toml if left out
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Oracle calls that may be made, instead of what the settings say
    #[arg(long, value_name = "N")]
    pub(crate) calls: Option<u64>,
    /// Decides every random choice, instead of what the settings say
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Trains once with each of these seeds, with as many calls each, and leaves the best policy
    #[arg(
        long,
        value_name = "S,…",
        value_delimiter = ',',
        conflicts_with = "seed"
    )]
    pub(crate) seeds: Vec<u64>,
    #[command(flatten)]
    pub(crate) device: OnDevice,
    /// Write every line of progress to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Start from these weights (safetensors) instead of random ones
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// How the matrices lie in that file
    #[arg(
        long,
        value_name = "LAYOUT",
        default_value = "burn",
        requires = "policy"
    )]
    pub(crate) policy_layout: LayoutName,
    /// Go on with a run that Ctrl-C stopped; one that was killed goes on without being told
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) resume: bool,
    /// Keep every answer in this file, which runs of the same program may share: what one has paid for is free for
    /// the others; ledger.sqlite among the results if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// Start with the answers that earlier runs of the same oracle have paid for, from their ledger.sqlite; they
    /// teach the surrogate before the first call and are not charged
    #[arg(long, value_name = "LEDGER")]
    pub(crate) warm_start: Option<PathBuf>,
    /// Replace the results of an earlier run; its answers are kept aside
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Where networks live.
#[derive(Debug, Args)]
pub(crate) struct OnDevice {
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    pub(crate) device: DeviceName,
}

/// How the matrices of linear layers lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// `[d_in, d_out]`
    Burn,
    /// `[d_out, d_in]`
    Pytorch,
}

/// Actions of a trained policy
///
/// Reads contexts as CSV (with a header) or JSON (a list of rows, each a list or an object by name), and writes
/// the actions the same way. No oracle is called.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  graybox predict run --in contexts.csv --out actions.csv
  echo '[[1.5, 4.0]]' | graybox predict run --format json")]
pub(crate) struct Predict {
    /// Folder of a trained run
    pub(crate) run: PathBuf,
    /// Contexts; standard input if left out
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Actions; standard output if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Format of both; what the names of the files end in, or csv, if left out
    #[arg(long)]
    pub(crate) format: Option<Format>,
    #[command(flatten)]
    pub(crate) device: OnDevice,
}

/// Format of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A header, then a line per row
    Csv,
    /// A list of rows
    Json,
}

/// True loss of a trained policy, through the oracle
///
/// Asks the oracle once per row and counts every call. Without --data the rows are those the run held out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  graybox evaluate run
  graybox evaluate run --data other.csv --out rows.csv")]
pub(crate) struct Evaluate {
    /// Folder of a trained run
    pub(crate) run: PathBuf,
    /// CSV or Parquet with the same columns as the run's data
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// Writes context, target, action, outcome and loss of every row as CSV
    #[arg(long, value_name = "CSV")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: OnDevice,
}

/// Take a trained policy to other programs
///
/// ONNX (opset 17, IR 8) with input `x` [batch, d_x] and output `u` [batch, d_u] in the run's own units, scaling
/// and bounds included. safetensors holds the same numbers for a network written by hand.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  graybox export run --onnx policy.onnx --pytorch-layout policy.safetensors"
)]
#[command(group = ArgGroup::new("format").required(true).multiple(true))]
pub(crate) struct Export {
    /// Folder of a trained run
    pub(crate) run: PathBuf,
    /// An ONNX model
    #[arg(long, value_name = "FILE", group = "format")]
    pub(crate) onnx: Option<PathBuf>,
    /// safetensors with matrices as burn has them, [d_in, d_out]
    #[arg(long, value_name = "FILE", group = "format")]
    pub(crate) safetensors: Option<PathBuf>,
    /// safetensors with matrices as PyTorch has them, [d_out, d_in], for `load_state_dict`
    #[arg(long, value_name = "FILE", group = "format")]
    pub(crate) pytorch_layout: Option<PathBuf>,
}

/// A run on one page of HTML
///
/// The page needs no network and no other file. `graybox train` writes one beside its results; with several runs of
/// different seeds this draws their losses with a band.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  graybox report run-1 run-2 run-3 --out report.html")]
pub(crate) struct Report {
    /// Folders of runs; the first is shown in full
    #[arg(required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Where to write; report.html in the first folder if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Serve a trained policy over HTTP
///
/// As a UM-Bridge 1.0 model called `policy`, whose one input is the context and whose one output is the action, and
/// at /predict for plain JSON, in and out as `graybox predict` has it. Ends with Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  graybox serve run --port 4242
  curl -d '[[25.0, -2.0]]' http://127.0.0.1:4242/predict")]
pub(crate) struct Serve {
    /// Folder of a trained run
    pub(crate) run: PathBuf,
    /// Where to listen; 0 for any port that is free
    #[arg(long, default_value_t = 4242)]
    pub(crate) port: u16,
    /// Address to listen at; there is no password, so think before letting other machines in
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) bind: String,
    #[command(flatten)]
    pub(crate) device: OnDevice,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_names_the_burn_that_is_pinned() {
        let workspace = include_str!("../../../Cargo.toml");
        assert!(workspace.contains(&format!("burn = {{ version = \"={BURN}\"")));
    }
}
