//! `graybox check`.

use crate::desk::Desk;

#[test]
fn check_finds_a_good_program_well() {
    let desk = Desk::with_settings();
    let said = desk.ok("check run.toml");
    for part in [
        "throw answers",
        "every call was answered",
        "same answer",
        "27 oracle calls",
        "about",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(!said.contains("doubt") && !said.contains("FAULT"), "{said}");
}

#[test]
fn check_names_what_is_wrong_with_a_program() {
    let desk = Desk::with_settings();
    let good = desk.read("throw.py");
    let doubted = |from: &str, to: &str, parts: &[&str]| {
        desk.write("throw.py", &good);
        desk.edit("throw.py", from, to);
        let said = desk.ok("check run.toml");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    };
    let result = "return 20 * math.cos(angle) * airborne + 0.2 * wind * airborne ** 2";
    doubted(
        result,
        "import random; return 30 * angle + random.random()",
        &["doubt", "same row gets different answers (range ± "],
    );
    doubted(
        result,
        "return 30 * round(angle)",
        &["doubt", "no outcome moved"],
    );
    doubted(
        result,
        "return 1e6 + angle",
        &["doubt", "lie well outside what 12 random actions gave"],
    );
    doubted(
        result,
        "return 20 if angle < 0.4 else float('nan')",
        &["doubt", "calls failed", "expected a finite number"],
    );

    // Two numbers where the description has one.
    desk.write("throw.py", &good);
    desk.edit("throw.py", "\"y\": [evaluate", "\"y\": [0, evaluate");
    let said = desk.run("check run.toml");
    assert_eq!(said.code, 3, "{}", said.out);
    let widths = "returned 2 values for a row, expected d_y = 1";
    assert!(said.out.contains(widths), "{}", said.out);

    desk.write("throw.py", &good);
    desk.edit("throw.py", result, "return float('nan')");
    let said = desk.run("check run.toml");
    assert_eq!(said.code, 3, "{}", said.out);
    assert!(
        said.out.contains("FAULT  27 of 27 calls failed: 27×"),
        "{}",
        said.out
    );

    desk.write("throw.py", "import numpi");
    desk.refused(3, "check run.toml", &["No module named 'numpi'"]);
}

#[test]
fn check_names_what_is_wrong_with_settings_and_data() {
    let desk = Desk::with_settings();
    let (settings, data) = (desk.read("run.toml"), desk.read("throw.csv"));
    desk.refused(2, "check rum.toml", &["rum.toml", "graybox init"]);
    let refused = |from: &str, to: &str, parts: &[&str]| {
        desk.write("run.toml", &settings);
        desk.edit("run.toml", from, to);
        desk.refused(2, "check run.toml", parts);
    };
    refused(
        "held_out = 0.2",
        "held_out = 1.0",
        &["data.held_out", "cannot hold out 200 of 200 rows"],
    );
    refused("calls = 2000", "calls = -1", &["calls"]);
    refused("seed = 1", "sed = 1", &["unknown field `sed`", "seed"]);
    refused(
        "[\"distance\", \"wind\"]",
        "[\"distance\"]",
        &["data.x names 1 columns"],
    );
    refused(
        "algorithm.name = \"",
        "algorithm.name = \"un",
        &["algorithm", "unknown variant"],
    );

    desk.write("run.toml", &settings);
    let lines: Vec<&str> = data.lines().collect();
    for (bad, parts) in [
        ("1.0,,2.0", ["line 3", "\"wind\"", "not a finite number"]),
        ("1.0,two,2.0", ["line 3", "\"wind\"", "\"two\""]),
        ("1.0,0,inf", ["line 3", "\"range\"", "\"inf\""]),
        ("1.0,2.0", ["line 3", "2 fields", "header has 3"]),
    ] {
        let mut lines = lines.clone();
        lines[2] = bad;
        desk.write("throw.csv", &lines.join("\n"));
        desk.refused(2, "check run.toml", &parts);
    }
    let calm: Vec<String> = (0..40)
        .map(|k| format!("{},0,{}", 10 + k % 20, 10 + k % 20))
        .collect();
    desk.write(
        "throw.csv",
        &format!("distance,wind,range\n{}\n", calm.join("\n")),
    );
    let said = desk.ok("check run.toml");
    assert!(
        said.contains("context \"wind\" is 0 in every row"),
        "{said}"
    );
}
