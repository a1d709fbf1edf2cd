//! `graybox race`.

use crate::desk::Desk;

#[test]
fn race_lists_its_tasks_and_runs_one() {
    let desk = Desk::new();
    assert!(desk.ok("race --list").contains("asker"));
    let race = "race asker --algorithm joint --calls 32 --seeds 1 --no-reference";
    let said = desk.ok(race);
    assert!(said.contains("joint"), "{said}");
    desk.refused(2, "race askew", &["askew", "asker"]);
}
