//! The invariants of the map (crates/README.md), read from the dependency tree and the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo tree` says, one line per package.
fn cargo_tree(arguments: &[&str], format: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", format])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("cargo writes text");
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(String::from).collect()
}

/// The crates a package needs to run, itself included.
fn tree(package: &str) -> BTreeSet<String> {
    tree_in("Cargo.toml", package)
}

/// The same in the project of this manifest.
fn tree_in(manifest: &str, package: &str) -> BTreeSet<String> {
    let arguments = [
        "--manifest-path",
        manifest,
        "--edges",
        "normal",
        "--package",
        package,
    ];
    let name = |line: String| Some(line.split_whitespace().next()?.to_string());
    let lines = cargo_tree(&arguments, "{p}").into_iter();
    lines.filter_map(name).collect()
}

/// The sources of a crate, tests beside the code cut off.
fn sources(package: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("crates")
            .join(package)
            .join("src"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a crate has sources") {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.is_dir() || path.ends_with("tests.rs") {
                // Tests that fill a file of their own.
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                let code = text
                    .split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or_default();
                let lines = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                found.push((path, lines.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Files of a crate that hold one of these words.
fn files_with(package: &str, words: &[&str]) -> BTreeSet<String> {
    let files = sources(package).into_iter();
    let holding = files.filter(|(_, code)| words.iter().any(|word| code.contains(word)));
    let name = |path: PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    holding.filter_map(|(path, _)| name(path)).collect()
}

const LIBRARIES: [&str; 4] = [
    "graybox-oracle",
    "graybox-model",
    "graybox",
    "graybox-arena",
];

#[test]
fn oracles_know_nothing_of_burn() {
    let crates = tree("graybox-oracle");
    assert!(
        !crates.iter().any(|name| name.starts_with("burn")),
        "{crates:?}"
    );
}

#[test]
fn models_know_nothing_of_oracles_and_bring_a_stranger_nothing_but_burn() {
    // A project that takes them and no other crate of ours.
    let [crates, burn] =
        ["graybox-model", "burn"].map(|package| tree_in("tests/embedding/Cargo.toml", package));
    let added: Vec<_> = crates.difference(&burn).collect();
    assert_eq!(added, ["graybox-model"]);
}

#[test]
fn no_library_turns_a_backend_on() {
    for library in LIBRARIES {
        let crates = tree(library);
        for backend in ["burn-flex", "burn-ndarray", "burn-wgpu", "burn-cuda"] {
            assert!(!crates.contains(backend), "{library} brings in {backend}");
        }
    }
}

#[test]
fn libraries_name_no_backend_outside_the_fast_paths() {
    for library in LIBRARIES {
        let generic = files_with(library, &["B: Backend", "downcast", "dyn Any", "TypeId"]);
        assert!(generic.is_empty(), "{library}: {generic:?}");
        for backend in ["ndarray", "wgpu", "vulkan", "cuda"] {
            let named = files_with(library, &[&format!("feature = \"{backend}\"")]);
            assert!(named.is_empty(), "{library} names {backend}: {named:?}");
        }
        // Each of them composes burn's own operations where the fused kernels do not apply.
        let fast_paths: &[&str] = match library {
            "graybox-model" => &[
                "adam.rs",
                "excess.rs",
                "flex.rs",
                "lib.rs",
                "link.rs",
                "loss.rs",
                "mlp.rs",
                "policy.rs",
                "soap.rs",
                "surrogate.rs",
            ],
            _ => &[],
        };
        let fast_paths = fast_paths.iter().map(ToString::to_string).collect();
        let fused = files_with(library, &["feature = \"flex\"", "burn_flex"]);
        assert_eq!(fused, fast_paths, "{library}");
    }
}

#[test]
fn only_the_bridge_reads_the_device() {
    let readers = files_with(
        "graybox",
        &["into_data(", "to_data(", "into_scalar", "try_to_vec"],
    );
    // SOAP orthonormalises its bases in double precision, every tenth step and without an oracle waiting.
    assert_eq!(readers, ["bridge.rs", "soap.rs"].map(String::from).into());
}

#[test]
fn only_the_meter_calls_an_oracle() {
    for (path, code) in sources("graybox") {
        for asks in ["evaluate(", "evaluate_each(", "pull_back("] {
            let calls = code.matches(&format!(".{asks}")).count();
            let metered = code.matches(&format!("metered.{asks}")).count();
            assert_eq!(calls, metered, "{} {asks}", path.display());
        }
    }
}

#[test]
fn algorithms_have_no_clock_and_no_random_source_of_their_own() {
    let algorithms = sources("graybox").into_iter().filter(|(path, _)| {
        path.components()
            .any(|part| part.as_os_str() == "algorithm")
    });
    for (path, code) in algorithms {
        for word in [
            "Instant::",
            "SystemTime",
            "seed_from_u64",
            "from_os_rng",
            "rand::rng()",
        ] {
            assert!(!code.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn libraries_neither_print_nor_exit() {
    for library in LIBRARIES {
        let found = files_with(library, &["println!", "print!(", "process::exit", "anyhow"]);
        assert!(found.is_empty(), "{library}: {found:?}");
    }
}

/// Licences under which anybody may use, change and sell what the default build compiles in. MPL-2.0 asks that
/// changes to its own files stay open, and nobody here changes them.
const LICENCES: [&str; 7] = [
    "MIT",
    "Apache-2.0",
    "Zlib",
    "Unicode-3.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MPL-2.0",
];

/// Every file of a folder and below.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("the folder is there")
        .flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A file that nobody declares is not compiled, and its tests are not run.
#[test]
fn every_source_is_declared_by_the_file_above_it() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let all = std::fs::read_dir(crates)
        .expect("the crates are there")
        .flatten();
    let roots = all.map(|entry| entry.path().join("src"));
    for root in roots.filter(|root| root.is_dir()) {
        for file in files_below(&root) {
            let name = file
                .file_stem()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let is_source = file.extension().is_some_and(|extension| extension == "rs");
            if !is_source || ["lib", "main"].contains(&name) {
                continue;
            }
            let folder = file.parent().expect("a file is in a folder");
            let above = if folder == root {
                vec![root.join("lib.rs"), root.join("main.rs")]
            } else {
                vec![folder.with_extension("rs")]
            };
            let declared = above.iter().any(|above| {
                let text = std::fs::read_to_string(above).unwrap_or_default();
                text.contains(&format!("mod {name};"))
            });
            assert!(declared, "nobody declares {}", file.display());
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_asks_for_no_more_than_ours() {
    let lines = cargo_tree(&["--workspace", "--edges", "normal,build"], "{p}|{l}");
    assert!(lines.len() > 100, "{} crates", lines.len());
    for line in lines {
        let (package, licence) = line.split_once('|').expect("the format has one bar");
        let licence = licence.trim_end_matches(" (*)");
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let expression = expression.unwrap_or_else(|error| panic!("{package}: {error}"));
        let allowed = expression.evaluate(|requirement| {
            let id = requirement.license.id();
            id.is_some_and(|id| LICENCES.contains(&id.name))
        });
        assert!(allowed, "{package} is under {licence}");
    }
}
