//! `graybox evaluate`.

use crate::desk::Desk;

#[test]
fn evaluate_asks_the_oracle_and_counts() {
    let desk = Desk::with_run();
    let said = desk.ok("evaluate run --out rows.csv");
    assert!(said.contains("oracle calls  40 (0 failed)"), "{said}");
    let loss = desk.json("run/summary.json")["true_loss_after"]
        .as_f64()
        .unwrap();
    assert!(
        said.contains(&format!("true loss     {loss:.3e}")),
        "{said} {loss:e}"
    );
    let without_prediction = desk.read("rows.csv");
    assert!(without_prediction.starts_with("distance,wind,wanted_range,angle,range,loss,error\n"));

    desk.write("other.csv", "distance,wind,range\n20,0,20\n");
    let said = desk.ok("evaluate run --data other.csv");
    assert!(said.contains("oracle calls  1 (0 failed)"), "{said}");
    desk.write("other.csv", "distance,wind\n20,0\n");
    desk.refused(2, "evaluate run --data other.csv", &["no column \"range\""]);
    desk.refused(2, "evaluate none", &["no policy.json in "]);
    desk.answers_nothing();
    desk.refused(3, "evaluate run", &["none of 40 calls was answered"]);
}

#[test]
fn a_program_of_other_sizes_than_when_it_was_trained_is_refused() {
    let desk = Desk::with_run();
    let angle = r#"{"name": "angle", "unit": "rad", "lo": 0.05, "hi": 0.75}"#;
    let spin = format!(r#"{angle}, {{"name": "spin", "lo": 0, "hi": 1}}"#);
    desk.edit("throw.py", angle, &spin);
    desk.refused(2, "evaluate run", &["the program has other sizes now"]);
}
