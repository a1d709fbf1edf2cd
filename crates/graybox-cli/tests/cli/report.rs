//! `graybox report`, and the page every run leaves.

use crate::desk::Desk;

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let desk = Desk::with_run();
    desk.ok("train run.toml --calls 160 --seed 2 --out two");
    let page = desk.read("run/report.html");
    let scoring = &desk.json("run/summary.json")["scoring_calls"];
    assert!(page.contains(&format!(
        "calls for scores, not charged</td><td>{scoring}</td>"
    )));
    for part in [
        "<h1>throw</h1>",
        "Nothing kept this run from learning",
        "Loss against oracle calls",
        "reached range [m]",
        "surrogate's range [m]",
        "angle over wind; dashed: its bounds",
        "No call failed.",
        "prefers-color-scheme:dark",
        "width=device-width",
        "calls = 160",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    // Nothing is fetched and nothing runs.
    for part in [
        "http:", "https:", "src=", "href=", "<script", "@import", "url(",
    ] {
        assert!(!page.contains(part), "{part:?} is in the page");
    }
    assert!(!page.contains("median of 2 seeds"));
    let both = "report run two --out both.html";
    assert_eq!(desk.ok(both), "wrote both.html\n");
    assert!(desk.read("both.html").contains("median of 2 seeds"));

    desk.refused(2, "report", &["<RUNS>"]);
    desk.refused(2, "report none", &["none/summary.json", "graybox train"]);
    desk.write("two/held_out.csv", "distance\nx\n");
    desk.refused(2, "report two", &["two/held_out.csv is broken"]);
}

#[test]
fn a_report_shows_where_calls_fail_and_what_to_do() {
    let desk = Desk::with_settings();
    // Only the flattest throws are answered, and none of them is far enough.
    desk.fails_beyond("0.1");
    let said = desk.run("train run.toml --calls 160");
    assert!(
        said.err.contains("Calls keep failing"),
        "{}\n{}",
        said.out,
        said.err
    );
    let page = desk.read("run/report.html");
    for part in [
        "Calls keep failing",
        "Check that the bounds of the actions",
        "calls failed (orange)",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    assert!(desk.read("run/calls.csv").contains("too steep"));
}
