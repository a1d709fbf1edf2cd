//! Several seeds in one `graybox train`.

use crate::desk::Desk;

#[test]
fn several_seeds_leave_the_best_policy_and_count_every_call() {
    let desk = Desk::with_settings();
    let said = desk.ok("train run.toml --calls 96 --seeds 1,2,3");
    assert!(
        said.contains("calls of all seeds   288 (0 failed)"),
        "{said}"
    );

    let whole = desk.json("run/summary.json");
    let seeds = whole["seeds"].as_array().unwrap();
    assert_eq!(seeds.len(), 3);
    let sum = |key: &str| {
        seeds
            .iter()
            .map(|seed| seed[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(whole["oracle_calls"], 288);
    assert_eq!(whole["oracle_calls"], sum("oracle_calls"));
    assert_eq!(whole["scoring_calls"], sum("scoring_calls"));
    let losses: Vec<f64> = seeds
        .iter()
        .map(|seed| seed["true_loss_after"].as_f64().unwrap())
        .collect();
    let best = (0..3)
        .min_by(|a, b| losses[*a].total_cmp(&losses[*b]))
        .unwrap();
    assert_eq!(whole["seed"], seeds[best]["seed"]);
    let of_best = format!("run/seed-{}", best + 1);
    for name in ["policy.safetensors", "held_out.csv", "run.toml"] {
        assert!(desk.bytes(&format!("run/{name}")) == desk.bytes(&format!("{of_best}/{name}")));
    }
    // Losses are compared on the same rows, and those that are held out are the run's own.
    let wanted = |folder: &str| -> Vec<String> {
        let text = desk.read(&format!("{folder}/held_out.csv"));
        let rows = text
            .lines()
            .map(|line| line.split(',').take(3).collect::<Vec<_>>().join(","));
        rows.collect()
    };
    assert_eq!(wanted("run/seed-1"), wanted("run/seed-3"));
    let said = desk.ok("evaluate run");
    assert!(
        said.contains(&format!("true loss     {:.3e}", losses[best])),
        "{said}"
    );

    let page = desk.read("run/report.html");
    for part in [
        "median of 3 seeds",
        ", the best</td>",
        "the best of 3 seeds",
        "All 3 seeds together",
        "<b>288</b>",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    let again = desk.ok("report run --out again.html");
    assert_eq!(again, "wrote again.html\n");
    assert!(desk.read("again.html").contains("median of 3 seeds"));
    desk.refused(
        2,
        "train run.toml --seeds 4,5",
        &["run holds the results", "--overwrite"],
    );
}

#[test]
fn a_seed_of_several_is_the_run_that_it_is_alone() {
    let desk = Desk::with_settings();
    desk.ok("train run.toml --calls 64 --seeds 1,2");
    desk.ok("train run.toml --calls 64 --out alone");
    // The first seed is that of the settings, so that the same rows are held out.
    assert!(desk.bytes("run/seed-1/policy.safetensors") == desk.bytes("alone/policy.safetensors"));
}

#[test]
fn several_seeds_that_were_broken_off_pay_for_nothing_twice() {
    let desk = Desk::with_settings();
    desk.ok("train run.toml --calls 64 --seeds 1,2");
    let whole = desk.json("run/summary.json");
    // From now on every new call would fail.
    desk.answers_nothing();
    desk.ok("train run.toml --calls 64 --seeds 1,2 --resume");
    let again = desk.json("run/summary.json");
    assert_eq!(again["true_loss_after"], whole["true_loss_after"]);
    assert_eq!(again["failed_calls"], 0);
}

#[test]
fn seeds_that_make_no_sense_are_refused() {
    let desk = Desk::with_settings();
    desk.refused(2, "train run.toml --seeds 1,one", &["one"]);
    desk.refused(
        2,
        "train run.toml --seeds 1,2,1",
        &["--seeds names 1 twice"],
    );
    desk.refused(2, "train run.toml --seeds 1 --seed 2", &["--seed"]);
    desk.answers_nothing();
    desk.refused(
        3,
        "train run.toml --calls 48 --seeds 1,2",
        &["every one of 48 calls failed"],
    );
}
