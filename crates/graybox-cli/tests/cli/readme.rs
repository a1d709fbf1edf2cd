//! The first run that the README tells of, done as it says.

use crate::desk::Desk;

/// The first block of the README that begins like this, without its fences.
fn block(begins: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let from = readme
        .find(begins)
        .unwrap_or_else(|| panic!("no {begins:?} in the README"));
    let inner = readme[from..].split_once('\n').unwrap().1;
    inner.split_once("```").unwrap().0
}

/// A line up to its first digit: what stays the same from run to run.
fn label(line: &str) -> &str {
    line.split(|c: char| c.is_ascii_digit()).next().unwrap()
}

#[test]
fn the_first_run_goes_as_the_readme_says() {
    let desk = Desk::new();
    // The program as it is printed there, and the data of which it shows the first rows.
    desk.write("throw.py", block("```python\nimport json, math, sys"));
    assert!(
        desk.read("throw.csv")
            .starts_with(block("```text\ndistance,wind,range"))
    );
    let here = format!("{}/", desk.path("").canonicalize().unwrap().display());
    let mut commands = 0;
    for step in block("```text\n$ graybox init").split("$ graybox ").skip(1) {
        let (line, told) = step.split_once('\n').unwrap();
        let (line, shown) = match line.split_once(" | head -") {
            Some((line, lines)) => (line, lines.parse().unwrap()),
            None => (line, usize::MAX),
        };
        // Fewer calls, so that it is quick.
        let said = desk.ok(&line.replace("--calls 1000", "--calls 48"));
        for line in said.replace(&here, "").lines().take(shown) {
            let known = told.lines().any(|known| label(known) == label(line));
            assert!(known, "{line:?} is not in the README's\n{told}");
        }
        commands += 1;
    }
    assert_eq!(commands, 6);
}
