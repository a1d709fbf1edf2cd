//! The run file as it is written: every setting with a sentence on what it is.

use std::fmt::{self, Write as _};

use anyhow::Result;
use graybox::Dataset;
use graybox::model::Affine;
use graybox::oracle::{Description, Dims, ProcessConfig, Quantity, UmBridgeConfig};
use toml::Value;

use crate::oracle::OracleSettings;
use crate::run_file::{Data, Names, Range, RunFile};

/// The settings with a word on each.
pub(super) fn commented(run: &RunFile, said: &Description, rows: &Dataset) -> Result<String> {
    let mut text = String::new();
    let name = Some(&said.name).filter(|name| !name.is_empty());
    writeln!(
        text,
        "# How to train a policy through {}. Paths, and the command, start in the folder of this file.\n\
         # graybox check: is all well?   graybox train: trains, and counts every call.\n",
        name.map_or("this program", String::as_str)
    )?;
    match &run.oracle {
        OracleSettings::Program(config) => program_table(&mut text, config)?,
        OracleSettings::Servers(config) => servers_table(&mut text, config)?,
    }
    names_table(&mut text, &run.names)?;
    data_table(&mut text, &run.data, rows)?;
    actions_table(&mut text, run, said)?;
    outcomes_table(&mut text, run, said, rows)?;
    train_table(&mut text, &run.train)?;
    Ok(text)
}

fn program_table(text: &mut String, oracle: &ProcessConfig) -> fmt::Result {
    writeln!(
        text,
        "[oracle]\n\
         # The program and its arguments; no shell stands between.\n\
         command = {}\n\
         # Copies of it that run side by side. The results do not depend on it.\n\
         workers = {}\n\
         # The longest a call may take, in seconds; then it has failed.\n\
         time_limit = {:?}",
        strings(&oracle.command),
        oracle.workers,
        oracle.time_limit.as_secs_f64()
    )?;
    let Some(Dims { x, u, y }) = oracle.dims else {
        return Ok(());
    };
    writeln!(
        text,
        "# The sizes, since the program does not describe itself.\n\
         dims = {{ d_x = {x}, d_u = {u}, d_y = {y} }}"
    )
}

fn servers_table(text: &mut String, oracle: &UmBridgeConfig) -> fmt::Result {
    writeln!(
        text,
        "[oracle]\n\
         # UM-Bridge servers with the same model; one load balancer before many counts as one.\n\
         urls = {}\n\
         # Which of their models.\n\
         model = {}\n\
         # Rows asked at the same time, over as many connections. The results do not depend on it.\n\
         connections = {}",
        strings(&oracle.urls),
        string(&oracle.model),
        oracle.connections,
    )?;
    if let Some(d_x) = oracle.d_x {
        writeln!(
            text,
            "# How many of the model's inputs are the context; the others are the action.\n\
             d_x = {d_x}"
        )?;
    }
    let token = oracle.token_variable.as_deref();
    writeln!(
        text,
        "# The longest a call may take, in seconds; then it has failed.\n\
         time_limit = {:?}\n\
         # The environment variable that holds the servers' access token, where they want one.\n\
         {}token_variable = {}",
        oracle.time_limit.as_secs_f64(),
        if token.is_some() { "" } else { "# " },
        string(token.unwrap_or("MODEL_TOKEN"))
    )
}

fn names_table(text: &mut String, given: &Names) -> fmt::Result {
    let lists = [("x", &given.x), ("u", &given.u), ("y", &given.y)];
    let mut lists = lists
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .peekable();
    if lists.peek().is_some() {
        writeln!(
            text,
            "\n[names]\n# What contexts, actions and outcomes are called, since the oracle does not say."
        )?;
    }
    lists.try_for_each(|(list, names)| writeln!(text, "{list} = {}", strings(names)))
}

fn data_table(text: &mut String, data: &Data, rows: &Dataset) -> fmt::Result {
    writeln!(text, "\n[data]")?;
    if let Some(file) = &data.file {
        writeln!(
            text,
            "# {} rows, a column for every context and every wanted outcome.\n\
             file = {}\nx = {}\ntarget = {}",
            rows.len(),
            string(&file.display().to_string()),
            strings(&data.x),
            strings(&data.target)
        )?;
    } else if let Some(n) = data.sample {
        let seed = data.sample_seed;
        writeln!(
            text,
            "# Rows that the program draws itself: PROGRAM --sample {n} {seed}\n\
             sample = {n}\nsample_seed = {seed}"
        )?;
    }
    writeln!(
        text,
        "# The share of the rows that only scores the policy; which ones follows from the seed.\n\
         held_out = {:?}",
        data.held_out
    )
}

fn actions_table(text: &mut String, run: &RunFile, said: &Description) -> fmt::Result {
    writeln!(
        text,
        "\n[actions]\n# What the policy may do. Lines without a # are over the program's own word."
    )?;
    for action in &said.u {
        let (range, own) = match (run.actions.get(&action.name), action.lo.zip(action.hi)) {
            (Some(range), _) => (*range, ""),
            (None, Some((low, high))) => (Range { low, high }, "# "),
            (None, None) => continue,
        };
        let (key, unit) = (key(&action.name), unit_of(action));
        let Range { low, high } = range;
        writeln!(
            text,
            "{own}{key} = {{ low = {low:?}, high = {high:?} }}{unit}"
        )?;
    }
    Ok(())
}

fn outcomes_table(
    text: &mut String,
    run: &RunFile,
    said: &Description,
    rows: &Dataset,
) -> fmt::Result {
    writeln!(
        text,
        "\n[outcomes]\n\
         # The loss is the mean over outcomes of ((outcome − target) / scale)², each times its weight."
    )?;
    let spread = Affine::standardise(said.y.len(), rows.target().as_slice());
    for (outcome, spread) in said.y.iter().zip(spread.scale()) {
        let chosen = run.outcomes.get(&outcome.name).and_then(|unit| unit.scale);
        let own = if chosen.is_none() { "# " } else { "" };
        let scale = chosen.or(outcome.scale).unwrap_or(1.0);
        let (key, unit) = (key(&outcome.name), unit_of(outcome));
        writeln!(
            text,
            "{own}{key} = {{ scale = {scale:?} }}{unit}   # targets spread by {spread:.2e}"
        )?;
    }
    Ok(())
}

fn train_table(text: &mut String, train: &graybox::TrainConfig) -> fmt::Result {
    writeln!(
        text,
        "\n[train]\n\
         # Calls of the program that may be made; training ends when they are spent.\n\
         calls = {}\n\
         # Decides every random choice: the same seed gives the same policy, bit for bit.\n\
         seed = {}\n\
         # Rows asked at a time, instead of what suits the algorithm.\n\
         # batch = {}\n\
         # Slow calls: learn from each when it comes, and wait for none. The seed alone then decides no more.\n\
         # asynchronous = true\n\
         # How often the held-out rows are scored on the way: a call per such row, counted apart.\n\
         scores = {}\n\
         # Hidden layers of the policy.\n\
         policy.hidden = {:?}\n\
         # What trains it; its settings stand beside the name, as in algorithm.exploration = 0.1\n\
         algorithm.name = {}",
        train.calls,
        train.seed,
        train.rows_per_round(),
        train.scores,
        train.policy.hidden,
        string(train.algorithm.name())
    )
}

fn unit_of(quantity: &Quantity) -> String {
    let unit = quantity.unit.as_deref().filter(|unit| !unit.is_empty());
    unit.map_or(String::new(), |unit| {
        format!("   # {}", unit.replace(['\n', '\r'], " "))
    })
}

fn string(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn strings(of: &[String]) -> String {
    let quoted: Vec<String> = of.iter().map(|text| string(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A name as the key of a line: bare where TOML allows it.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        string(name)
    }
}
