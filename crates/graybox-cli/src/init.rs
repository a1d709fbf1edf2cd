//! `graybox init`: a commented `run.toml` from what a program says of itself and what the data shows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use graybox::algorithm::AnchoredConfig;
use graybox::model::Affine;
use graybox::oracle::{Description, Dims, ProcessConfig, Quantity, UmBridgeConfig};
use graybox::{AlgorithmConfig, Dataset, Stop};

use crate::args::Init;
use crate::data;
use crate::oracle::OracleSettings;
use crate::outcome::{Blame, Done, Failure};
use crate::run_file::{Data, Names, Range, RunFile, Unit, absolute, names};

mod commented;

use commented::commented;

/// Rows that a program is asked for where there is no data.
const SAMPLE: usize = 300;

pub(crate) fn run(args: &Init) -> Result<Done, Failure> {
    let out = absolute(&args.out)?;
    if out.exists() && !args.overwrite {
        return Err(Failure::usage(anyhow!(
            "{} is there already: write elsewhere with --out, or replace it with --overwrite",
            args.out.display()
        )));
    }
    let folder = out.parent().unwrap_or(Path::new("/")).to_owned();
    let oracle = oracle(args, &folder)?;
    let data = args.data.as_deref().map(absolute).transpose()?;
    std::env::set_current_dir(&folder)
        .with_context(|| format!("cannot enter {}", folder.display()))
        .or_usage()?;

    let (_, mut said) = asked_once(&oracle).start(&Stop::new())?;
    let given = given_names(args, &said);
    given.over(&mut said).or_usage()?;
    let actions = ranges(&said, &args.bounds).or_usage()?;
    let (data, rows) = match data {
        Some(path) => read(&path, &folder, args, &said).or_usage()?,
        None => sample(&oracle, said.dims())?,
    };
    let outcomes = scales(&said, &rows);
    let run = RunFile {
        name: None,
        folder: None,
        oracle,
        names: given,
        data,
        actions,
        outcomes,
        train: settings(said.dims()),
    };
    // What is written is what was checked: the same text is read back.
    run.describe(&said).or_usage()?;
    let text = commented(&run, &said, &rows)?;
    let again: RunFile =
        toml::from_str(&text).context("the settings written cannot be read back")?;
    if again != run {
        return Err(anyhow!("the settings written are read back as others").into());
    }
    fs::write(&out, text).with_context(|| format!("cannot write {}", out.display()))?;

    println!("wrote {}", args.out.display());
    println!("next: graybox check {}", args.out.display());
    Ok(Done::Finished)
}

/// The program or the servers, as they are given.
fn oracle(args: &Init, folder: &Path) -> Result<OracleSettings, Failure> {
    if !args.urls.is_empty() {
        let defaults = UmBridgeConfig::new(args.urls.clone());
        return Ok(OracleSettings::Servers(UmBridgeConfig {
            model: args.model.clone().unwrap_or(defaults.model),
            connections: args.connections.unwrap_or(args.urls.len()),
            // The model's inputs may be one list; which of it is the context only the user knows.
            d_x: Some(args.x.len()).filter(|d_x| *d_x > 0),
            token_variable: args.token_variable.clone(),
            ..defaults
        }));
    }
    for (option, given) in [
        ("--model", args.model.is_some()),
        ("--connections", args.connections.is_some()),
        ("--token-variable", args.token_variable.is_some()),
    ] {
        if given {
            let reason = anyhow!("{option} is for UM-Bridge servers: name one with --url");
            return Err(Failure::usage(reason));
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(OracleSettings::Program(ProcessConfig {
        command: command_seen_from(folder, &args.command)?,
        workers: cores.min(8),
        dims: args.sizes.as_deref().map(sizes).transpose().or_usage()?,
        ..ProcessConfig::default()
    }))
}

/// As much of an oracle as it takes to ask what it is.
fn asked_once(oracle: &OracleSettings) -> OracleSettings {
    match oracle {
        OracleSettings::Program(config) => OracleSettings::Program(ProcessConfig {
            workers: 1,
            ..config.clone()
        }),
        OracleSettings::Servers(config) => OracleSettings::Servers(config.clone()),
    }
}

/// Names for what the oracle has none for: those of the columns, and of the actions that were given a range.
fn given_names(args: &Init, said: &Description) -> Names {
    let chosen = |of: &[Quantity], letter: char, given: Vec<String>| {
        let nameless = |(k, quantity): (usize, &Quantity)| quantity.name == format!("{letter}{k}");
        if given.len() == of.len() && given != names(of) && of.iter().enumerate().all(nameless) {
            given
        } else {
            Vec::new()
        }
    };
    let bounded = args.bounds.iter().filter_map(|text| text.split_once('='));
    let actions: Vec<String> = bounded.map(|(name, _)| name.trim().to_owned()).collect();
    let numbered = actions.iter().any(|name| names(&said.u).contains(name));
    Names {
        x: chosen(&said.x, 'x', args.x.clone()),
        u: chosen(&said.u, 'u', if numbered { Vec::new() } else { actions }),
        y: chosen(&said.y, 'y', args.target.clone()),
    }
}

/// The command as it works from the folder of the settings: arguments that are files here keep pointing there.
fn command_seen_from(folder: &Path, command: &[String]) -> Result<Vec<String>, Failure> {
    let here = absolute(Path::new("."))?;
    let words = command.iter().map(|word| {
        let path = Path::new(word);
        let elsewhere = path.is_relative() && path.is_file() && here != folder;
        Ok(if elsewhere {
            absolute(path)?.display().to_string()
        } else {
            word.clone()
        })
    });
    words.collect()
}

fn sizes(text: &str) -> Result<Dims> {
    let sizes: Result<Vec<usize>, _> = text.split(',').map(|size| size.trim().parse()).collect();
    match sizes.as_deref() {
        Ok(&[x, u, y]) if u > 0 && y > 0 => Ok(Dims::new(x, u, y)),
        _ => {
            bail!("--sizes is {text:?}, expected three whole numbers such as 2,1,1 for x, u and y")
        }
    }
}

/// Ranges of the actions that the program does not give one.
fn ranges(said: &Description, given: &[String]) -> Result<BTreeMap<String, Range>> {
    let mut ranges = BTreeMap::new();
    for text in given {
        let (name, range) = bounds(text)?;
        if !said.u.iter().any(|action| action.name == name) {
            bail!(
                "--bounds names {name:?}; the program's actions are {}",
                names(&said.u).join(", ")
            );
        }
        ranges.insert(name, range);
    }
    for action in &said.u {
        if action.lo.zip(action.hi).is_some() || ranges.contains_key(&action.name) {
            continue;
        }
        let range = if io::stdin().is_terminal() && io::stderr().is_terminal() {
            ask(action)?
        } else {
            bail!(
                "the program states no range for action {0:?}: give one with --bounds {0}=LOW..HIGH, or let its \
                 description say \"lo\" and \"hi\"",
                action.name
            )
        };
        ranges.insert(action.name.clone(), range);
    }
    Ok(ranges)
}

fn bounds(text: &str) -> Result<(String, Range)> {
    let parsed = text.split_once('=').and_then(|(name, range)| {
        let (low, high) = range.split_once("..")?;
        let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        Some((name.trim().to_owned(), Range { low, high }))
    });
    match parsed {
        Some((name, range)) if range.low < range.high => Ok((name, range)),
        _ => bail!("--bounds is {text:?}, expected ACTION=LOW..HIGH such as angle=0..1.57"),
    }
}

fn ask(action: &Quantity) -> Result<Range> {
    let unit = action
        .unit
        .as_deref()
        .map_or(String::new(), |unit| format!(" in {unit}"));
    loop {
        eprint!("range of action {}{unit}, as LOW..HIGH: ", action.name);
        io::stderr().flush()?;
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            bail!("no range for action {:?}", action.name);
        }
        match bounds(&format!("{}={}", action.name, line.trim())) {
            Ok((_, range)) => return Ok(range),
            Err(_) => eprintln!("two numbers with dots between, the lower first, such as 0..1.57"),
        }
    }
}

/// Finds the columns in a file and reads it.
fn read(path: &Path, folder: &Path, args: &Init, said: &Description) -> Result<(Data, Dataset)> {
    let header = data::header(path)?;
    let column = |name: &String, forms: &[String]| {
        let found = forms.iter().find(|form| header.contains(form));
        found.cloned().with_context(|| {
            format!(
                "{}: no column {name:?}; the header has {}. Name the columns with --x and --target",
                path.display(),
                header.join(", ")
            )
        })
    };
    let x = if args.x.is_empty() {
        let x = names(&said.x);
        x.iter()
            .map(|name| column(name, std::slice::from_ref(name)))
            .collect::<Result<_>>()?
    } else {
        args.x.clone()
    };
    let target = if args.target.is_empty() {
        let y = names(&said.y);
        let found = y.iter().map(|name| {
            let forms = [
                format!("target_{name}"),
                format!("{name}_target"),
                name.clone(),
            ];
            column(name, &forms)
        });
        found.collect::<Result<_>>()?
    } else {
        args.target.clone()
    };
    let shown = path
        .strip_prefix(folder)
        .map_or_else(|_| path.to_owned(), PathBuf::from);
    let found = Data {
        file: Some(shown),
        x,
        target,
        ..Data::default()
    };
    for (what, columns, expected) in [
        ("--x", &found.x, said.x.len()),
        ("--target", &found.target, said.y.len()),
    ] {
        if columns.len() != expected {
            bail!(
                "{what} names {} columns, but the program has {expected}",
                columns.len()
            );
        }
    }
    let rows = data::read(path, &found.x, &found.target)?;
    Ok((found, rows))
}

fn sample(oracle: &OracleSettings, dims: Dims) -> Result<(Data, Dataset), Failure> {
    let data = Data {
        sample: Some(SAMPLE),
        ..Data::default()
    };
    let sample = oracle.sample(dims, SAMPLE, data.sample_seed);
    let sample = sample.map_err(|failure| failure.because("no --data was given"))?;
    Ok((data, Dataset::new(sample.x, sample.target).or_usage()?))
}

/// Scales for the outcomes that the program gives none: how far the targets spread.
fn scales(said: &Description, rows: &Dataset) -> BTreeMap<String, Unit> {
    let spread = Affine::standardise(said.y.len(), rows.target().as_slice());
    let missing = said
        .y
        .iter()
        .zip(spread.scale())
        .filter(|(y, _)| y.scale.is_none());
    missing
        .map(|(y, scale)| {
            let unit = Unit {
                scale: Some(two_digits(*scale)),
                weight: None,
            };
            (y.name.clone(), unit)
        })
        .collect()
}

/// Rounded to two significant digits.
fn two_digits(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// Budget and networks for a problem of this size.
fn settings(dims: Dims) -> graybox::TrainConfig {
    let defaults = graybox::TrainConfig::default();
    // Enough calls to visit what moves: more actions are more directions to learn.
    let calls = (1_000 * dims.u as u64).clamp(2_000, 20_000);
    let mut policy = defaults.policy.clone();
    if dims.x + dims.u + dims.y > 32 {
        policy.hidden = vec![128, 128];
    }
    graybox::TrainConfig {
        calls,
        policy,
        // Asks for the fewest calls of all.
        algorithm: AlgorithmConfig::Anchored(AnchoredConfig::default()),
        scores: 20,
        ..defaults
    }
}
