//! `graybox predict`.

use crate::desk::Desk;

#[test]
fn predict_answers_in_the_form_it_was_asked() {
    let desk = Desk::with_run();
    desk.write("some.csv", "wind,note,distance\n1.0,a,20\n-2,b,30.5\n");
    let csv = desk.ok("predict run --in some.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "wind,note,distance,angle");
    assert!(lines[1].starts_with("1.0,a,20,0."), "{csv}");
    let lists = "predict run --format json";
    let said = desk.run_with_input(lists, "[[20, 1.0], [30.5, -2]]");
    let answer: Vec<Vec<f64>> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        answer[0][0].to_string(),
        lines[1].rsplit(',').next().unwrap()
    );

    desk.write(
        "some.json",
        r#"[{"distance": 20, "wind": 1.0, "note": "a"}]"#,
    );
    desk.ok("predict run --in some.json --out actions.json");
    let row = &desk.json("actions.json")[0];
    assert_eq!(row["angle"], answer[0][0]);
    assert_eq!(row["note"], "a");
    assert_eq!(desk.run_with_input(lists, "[]").out, "[]\n");
}

#[test]
fn predict_names_what_it_cannot_read() {
    let desk = Desk::with_run();
    desk.refused(
        2,
        "predict none",
        &["no policy.json in none", "graybox train"],
    );
    desk.refused(2, "predict run --in none.csv", &["none.csv"]);
    desk.write("some.csv", "wind\n1\n");
    let some = "predict run --in some.csv";
    desk.refused(
        2,
        some,
        &["some.csv", "no column \"distance\"; the header has wind"],
    );
    desk.write("some.csv", "wind,distance\n1,2\n1,far\n");
    desk.refused(
        2,
        some,
        &["some.csv", "row 2, column \"distance\": \"far\""],
    );
    let json = "predict run --format json";
    desk.run_with_input(json, "[[1]]")
        .must_be(2, &["row 0 has 1 numbers, expected 2"]);
    desk.run_with_input(json, "{")
        .must_be(2, &["standard input", "JSON"]);
    desk.write("run/policy.safetensors", "nothing");
    desk.refused(2, json, &["policy.safetensors"]);
}
