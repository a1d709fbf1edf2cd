//! `graybox check`: a few calls, and what they tell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use graybox::oracle::{Budget, Description, Metered, Outcome, Queries, Rows};
use graybox::{Dataset, Objective, Stop};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::args::Check;
use crate::outcome::{Blame, Done, Failure};
use crate::run_file::{RunFile, head, objective, sizes};

/// How often one row is asked again, to see whether the answer stays.
const REPEATS: usize = 4;

/// A step of this share of an action's range is what a method takes for "small".
const STEP: f64 = 0.01;

/// What a look at one thing came to.
enum Finding {
    Well(String),
    Doubt(String),
    /// Training would not work.
    Fault(String),
}

use Finding::{Doubt, Fault, Well};

pub(crate) fn run(args: &Check) -> Result<Done, Failure> {
    let run = RunFile::open(&args.run)?;
    let start = Instant::now();
    let (oracle, description) = run.start(&Stop::new())?;
    let started = start.elapsed();
    let rows = run.rows(&description)?;
    let (train, _) = run.split(&rows)?;
    let objective = objective(&description)?;
    head(&description)?;

    let dims = description.dims();
    let mut findings = vec![Well(format!(
        "{} answers: {}; ready after {}",
        if description.name.is_empty() {
            "the program"
        } else {
            &description.name
        },
        sizes(dims),
        shown(started)
    ))];
    findings.extend(look_at_data(&rows, &description));

    let plan = Plan::new(&train, &description, args);
    let budget = Budget::new(plan.x.len() as u64).or_usage()?;
    let mut metered = Metered::new(oracle, budget);
    let start = Instant::now();
    let queries = Queries::new(&plan.x, &plan.u).or_usage()?;
    let outcomes = metered.evaluate(queries).or_oracle()?;
    let took = start.elapsed();

    findings.extend(look_at_failures(&outcomes));
    findings.extend(look_at_repeats(&plan, &outcomes, &description, &objective));
    findings.extend(look_at_steps(&plan, &outcomes, &description));
    findings.extend(look_at_reach(&plan, &outcomes, &rows, &description));
    findings.push(cost(&run, rows.len() - train.len(), took, outcomes.len()));

    let mut faulty = false;
    for finding in &findings {
        let (mark, text) = match finding {
            Well(text) => ("ok    ", text),
            Doubt(text) => ("doubt ", text),
            Fault(text) => ("FAULT ", text),
        };
        faulty |= matches!(finding, Fault(_));
        println!("{mark} {text}");
    }
    println!("{} oracle calls made, charged to no run", metered.calls());
    Ok(if faulty {
        Done::FoundFault
    } else {
        Done::Finished
    })
}

/// What is asked: some rows at random actions, each again with every action a small step further, and one row
/// several times over.
struct Plan {
    x: Rows,
    u: Rows,
    /// Query of each row at its own random action.
    base: Vec<usize>,
    /// (base query, query with the step, action).
    steps: Vec<(usize, usize, usize)>,
    /// Queries that ask the same thing.
    repeats: Vec<usize>,
}

impl Plan {
    fn new(train: &Dataset, description: &Description, args: &Check) -> Self {
        let mut rng = StdRng::seed_from_u64(args.seed);
        let (low, high) = description.action_bounds().unwrap_or_default();
        let dims = description.dims();
        let mut plan = Self {
            x: Rows::new(dims.x),
            u: Rows::new(dims.u),
            base: Vec::new(),
            steps: Vec::new(),
            repeats: Vec::new(),
        };
        for k in 0..args.rows as usize {
            let row_idx = rng.random_range(0..train.len());
            // Away from the bounds, so that the step stays inside.
            let draw = low
                .iter()
                .zip(&high)
                .map(|(l, h)| l + (h - l) * rng.random_range(0.02..0.97));
            let u: Vec<f64> = draw.collect();
            let base = plan.ask(train.x().row(row_idx), &u);
            plan.base.push(base);
            let action = k % dims.u;
            let mut stepped = u;
            stepped[action] += STEP * (high[action] - low[action]);
            let step = plan.ask(train.x().row(row_idx), &stepped);
            plan.steps.push((base, step, action));
        }
        let (x, u) = (
            plan.x.row(plan.base[0]).to_vec(),
            plan.u.row(plan.base[0]).to_vec(),
        );
        plan.repeats.push(plan.base[0]);
        for _ in 1..REPEATS {
            let query = plan.ask(&x, &u);
            plan.repeats.push(query);
        }
        plan
    }

    fn ask(&mut self, x: &[f64], u: &[f64]) -> usize {
        self.x.push(x).expect("contexts are d_x wide");
        self.u.push(u).expect("actions are d_u wide");
        self.x.len() - 1
    }
}

fn look_at_data(rows: &Dataset, description: &Description) -> Vec<Finding> {
    let mut findings = vec![Well(format!("{} rows of data", rows.len()))];
    let sides = [
        ("context", &description.x, rows.x()),
        ("target", &description.y, rows.target()),
    ];
    for (what, quantities, values) in sides {
        for (column, quantity) in quantities.iter().enumerate() {
            let column = || values.iter().map(|row| row[column]);
            let (low, high) = range(column());
            if high - low <= 0.0 {
                findings.push(Doubt(format!(
                    "{what} {:?} is {low} in every row: it tells the policy nothing",
                    quantity.name
                )));
            }
        }
    }
    for (column, quantity) in description.y.iter().enumerate() {
        let (low, high) = range(rows.target().iter().map(|row| row[column]));
        let scale = quantity.scale.unwrap_or(1.0);
        let ratio = (high - low) / scale;
        if ratio > 1e3 || (high > low && ratio < 1e-2) {
            findings.push(Doubt(format!(
                "targets of {:?} span {:.2e}, its scale is {scale:.2e}: orders of magnitude apart, so its loss \
                 drowns the others or is drowned; set `{:?} = {{ scale = {:.1e} }}` under [outcomes]",
                quantity.name,
                high - low,
                quantity.name,
                (high - low) / 4.0
            )));
        }
    }
    findings
}

fn look_at_failures(outcomes: &[Outcome]) -> Vec<Finding> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        *reasons.entry(error.to_string()).or_default() += 1;
    }
    let failed: usize = reasons.values().sum();
    if failed == 0 {
        return vec![Well("every call was answered".into())];
    }
    let said: Vec<String> = reasons
        .iter()
        .map(|(reason, n)| format!("{n}× {reason}"))
        .collect();
    let text = format!(
        "{failed} of {} calls failed: {}",
        outcomes.len(),
        said.join("; ")
    );
    if failed == outcomes.len() {
        vec![Fault(format!(
            "{text}. Nothing can be learned from that: run the program by hand on one of these rows"
        ))]
    } else {
        vec![Doubt(format!(
            "{text}. Failed calls are paid for and teach little: narrow the ranges under [actions] if you can"
        ))]
    }
}

fn look_at_repeats(
    plan: &Plan,
    outcomes: &[Outcome],
    description: &Description,
    objective: &dyn Objective,
) -> Vec<Finding> {
    let answered: Vec<&Vec<f64>> = (plan.repeats.iter())
        .filter_map(|query| outcomes[*query].as_ref().ok())
        .collect();
    if answered.len() < plan.repeats.len() {
        return if answered.is_empty() {
            Vec::new()
        } else {
            vec![Doubt(format!(
                "the same row was answered {} times of {} and failed the others: the program is not repeatable",
                answered.len(),
                plan.repeats.len()
            ))]
        };
    }
    if answered.iter().all(|y| y == &answered[0]) {
        return vec![Well(format!(
            "asked {} times, the same row gets the same answer",
            answered.len()
        ))];
    }
    let n = answered.len() as f64;
    let mean: Vec<f64> = (0..answered[0].len())
        .map(|dim| answered.iter().map(|y| y[dim]).sum::<f64>() / n)
        .collect();
    let spread: Vec<String> = (description.y.iter().zip(&mean).enumerate())
        .map(|(dim, (outcome, mean))| {
            let variance = answered
                .iter()
                .map(|y| (y[dim] - mean).powi(2))
                .sum::<f64>()
                / (n - 1.0);
            format!("{} ± {:.1e}", outcome.name, variance.sqrt())
        })
        .collect();
    let floor = answered
        .iter()
        .map(|y| objective.value(y, &mean))
        .sum::<f64>()
        / (n - 1.0);
    vec![Doubt(format!(
        "the same row gets different answers ({}): as long as its error is below {floor:.1e}, a call says little \
         about a policy. If the program takes a seed or a precision, set it",
        spread.join(", ")
    ))]
}

fn look_at_steps(plan: &Plan, outcomes: &[Outcome], description: &Description) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (action, quantity) in description.u.iter().enumerate() {
        let pairs: Vec<_> = (plan.steps.iter())
            .filter(|(_, _, of)| *of == action)
            .filter_map(|(base, step, _)| {
                Some((
                    outcomes[*base].as_ref().ok()?,
                    outcomes[*step].as_ref().ok()?,
                ))
            })
            .collect();
        let flat = pairs.iter().filter(|(base, step)| base == step).count();
        let percent = 100.0 * STEP;
        if flat > 0 && flat == pairs.len() {
            findings.push(Doubt(format!(
                "no outcome moved when action {:?} took a step of {percent} % of its range, in {flat} tries: it has \
                 no effect there, or its effect comes in larger steps",
                quantity.name
            )));
        } else if flat > 0 {
            findings.push(Doubt(format!(
                "no outcome moved in {flat} of {} tries when action {:?} took a step of {percent} % of its range: \
                 the outcomes come in steps, or are flat in places; differences of that size see no slope there",
                pairs.len(),
                quantity.name
            )));
        }
    }
    let compared = plan
        .steps
        .iter()
        .any(|(base, step, _)| outcomes[*base].is_ok() && outcomes[*step].is_ok());
    if findings.is_empty() && compared {
        findings.push(Well("every action moves the outcomes".into()));
    }
    findings
}

fn look_at_reach(
    plan: &Plan,
    outcomes: &[Outcome],
    rows: &Dataset,
    description: &Description,
) -> Vec<Finding> {
    let answered: Vec<&Vec<f64>> = (plan.base.iter())
        .filter_map(|query| outcomes[*query].as_ref().ok())
        .collect();
    if answered.len() < 2 {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (dim, outcome) in description.y.iter().enumerate() {
        let (low, high) = range(answered.iter().map(|y| y[dim]));
        // Random actions seldom find the ends of what can be reached.
        let margin = 0.25 * (high - low);
        let targets = || rows.target().iter().map(|target| target[dim]);
        let beyond = targets()
            .filter(|t| *t < low - margin || *t > high + margin)
            .count();
        let share = beyond as f64 / rows.len() as f64;
        if share > 0.3 {
            let (wanted_low, wanted_high) = range(targets());
            findings.push(Doubt(format!(
                "{:.0} % of the targets of {:?} (from {wanted_low:.3e} to {wanted_high:.3e}) lie well outside what {} \
                 random actions gave ({low:.3e} to {high:.3e}): are units and ranges right?",
                100.0 * share,
                outcome.name,
                answered.len()
            )));
        }
    }
    if findings.is_empty() {
        findings.push(Well("the targets lie where random actions lead".into()));
    }
    findings
}

fn cost(run: &RunFile, held_out: usize, took: Duration, calls: usize) -> Finding {
    let scoring = held_out as u64 * (run.train.scores + 2);
    let all = run.train.calls + scoring;
    let each = took.as_secs_f64() / calls as f64;
    Well(format!(
        "about {} a call with {} at a time: {} calls and {scoring} for scores need about {}, and the time to train",
        shown(Duration::from_secs_f64(each)),
        run.oracle.at_a_time(),
        run.train.calls,
        shown(Duration::from_secs_f64(each * all as f64))
    ))
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// A duration as people say it.
fn shown(time: Duration) -> String {
    let s = time.as_secs_f64();
    match s {
        _ if s < 1e-3 => format!("{:.0} µs", 1e6 * s),
        _ if s < 1.0 => format!("{:.0} ms", 1e3 * s),
        _ if s < 120.0 => format!("{s:.1} s"),
        _ if s < 7200.0 => format!("{:.0} min", s / 60.0),
        _ => format!("{:.1} h", s / 3600.0),
    }
}
