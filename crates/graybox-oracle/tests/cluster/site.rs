//! What the tests stand on: daemons that end with their test, ports, and a run whose every row must be answered
//! once.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use graybox_oracle::{
    Answer, Budget, Description, Dims, Ledger, Metered, Oracle, Outcome, ProcessConfig, Queries,
    Rows,
};

/// A program by its name; daemons lie where not every PATH looks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits for something that must come, and says what did not.
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !is_there() {
        assert!(
            Instant::now() < until,
            "{what} did not come within a minute"
        );
        std::thread::yield_now();
    }
}

/// A program in the background, killed at the end; what it says goes to a file.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = fs::OpenOptions::new().create(true).append(true).open(log);
        let file = file.unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Lines it has written, and those before it in the same file.
    pub(crate) fn lines(&self) -> usize {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().count()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(15).collect();
            for line in tail.into_iter().rev() {
                let _ = writeln!(std::io::stderr(), "{}: {line}", self.log.display());
            }
        }
    }
}

/// An oracle that tells how many rows have been answered, each time one is.
struct Watched<O, F> {
    oracle: O,
    watch: Mutex<(usize, F)>,
}

impl<O: Oracle, F: FnMut(usize) + Send> Oracle for Watched<O, F> {
    fn dims(&self) -> Dims {
        self.oracle.dims()
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        self.oracle.evaluate(queries)
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        self.oracle.evaluate_each(queries, &mut |answer| {
            tell(answer);
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch.0 += 1;
            let (answered, watch) = &mut *watch;
            watch(*answered);
        });
    }
}

/// Asks `n` rows of a throw in one batch, kept in a ledger. Every row must be answered rightly and stand in the
/// ledger once. Returns the seconds it took.
pub(crate) fn every_row_once(
    oracle: impl Oracle + 'static,
    n: usize,
    folder: &Path,
    watch: impl FnMut(usize) + Send + 'static,
) -> f64 {
    let described = Description::of_sizes("throw", Dims::new(1, 1, 1));
    let path = folder.join(format!("{n}-{}.sqlite", free_port()));
    let ledger = Ledger::open(&path, &described).unwrap();
    let watched = Watched {
        oracle,
        watch: Mutex::new((0, watch)),
    };
    let budget = Budget::new(n as u64).unwrap();
    let mut metered = Metered::new(watched, budget);
    metered = metered.with_record(ledger, "cluster").unwrap();
    let speed = |row: usize| 3.0 + row as f64;
    let x = Rows::from_vec(1, (0..n).map(speed).collect()).unwrap();
    let u = Rows::from_vec(1, vec![0.5; n]).unwrap();
    let start = Instant::now();
    let outcomes = metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    for (row, outcome) in outcomes.iter().enumerate() {
        let range = speed(row).powi(2) * 1f64.sin() / 9.81;
        let y = outcome
            .as_ref()
            .unwrap_or_else(|error| panic!("row {row}: {error}"));
        assert!((y[0] - range).abs() < 1e-9, "row {row}: {y:?}, not {range}");
    }
    drop(metered);
    let ledger = Ledger::open(&path, &described).unwrap();
    assert_eq!(ledger.len().unwrap(), n as u64);
    let mut asked = ledger.answers().unwrap().x().as_slice().to_vec();
    asked.sort_by(f64::total_cmp);
    assert_eq!(
        asked,
        x.as_slice(),
        "a row is missing, or stands there twice"
    );
    seconds
}

/// A throw as a program, in plain Python. The folder among its arguments is what its processes are known by.
pub(crate) fn throw(folder: &Path) -> ProcessConfig {
    let program = folder.join("throw.py");
    fs::write(&program, THROW).unwrap();
    ProcessConfig::new(["python3".into(), "-S".into(), program.display().to_string()])
}

const THROW: &str = r#"
import json, math, sys
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"id": asked["id"]}
    if "describe" in asked:
        answer["describe"] = {"name": "throw", "x": [{}], "u": [{}], "y": [{}]}
    else:
        answer["y"] = [asked["x"][0] ** 2 * math.sin(2 * asked["u"][0]) / 9.81]
    print(json.dumps(answer), flush=True)
"#;

/// kill -9 of every throw of this folder, wherever it was started from. Returns how many there were.
pub(crate) fn kill_workers(folder: &Path) -> usize {
    let program = folder.join("throw.py").display().to_string();
    let mut killed = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut arguments = command.split(|byte| *byte == 0);
        let python = arguments
            .next()
            .is_some_and(|name| name.ends_with(b"python3"));
        if python && arguments.any(|argument| argument == program.as_bytes()) {
            let pid = entry.file_name();
            let kill = Command::new("kill").arg("-9").arg(&pid).status();
            killed += usize::from(kill.is_ok_and(|status| status.success()));
        }
    }
    killed
}
