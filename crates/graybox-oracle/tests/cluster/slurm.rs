//! Workers through `srun`: here a Slurm of our own, with all its daemons and files in one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use graybox_oracle::{ProcessConfig, ProcessOracle};

use crate::site::{Daemon, every_row_once, find, free_port, wait_for};

struct Slurm {
    settings: PathBuf,
    _daemons: Vec<Daemon>,
}

impl Slurm {
    fn start(folder: &Path) -> Self {
        let at = folder.display();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let host = host.trim();
        // As many bytes as munge asks for; nobody else sees this key.
        let key = folder.join("munge.key");
        fs::write(&key, [7; 128]).unwrap();
        let mut munged = Command::new(find("munged").unwrap());
        munged.args(["--foreground", "--force"]).args([
            format!("--key-file={at}/munge.key"),
            format!("--socket={at}/munge.socket"),
            format!("--pid-file={at}/munge.pid"),
            format!("--log-file={at}/munge.log"),
            format!("--seed-file={at}/munge.seed"),
        ]);
        let (control, worker) = (free_port(), free_port());
        let settings = folder.join("slurm.conf");
        let text = format!(
            "ClusterName=graybox\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={control}\nSlurmdPort={worker}\n\
             SlurmUser=root\nAuthType=auth/munge\nAuthInfo=socket={at}/munge.socket\nCredType=cred/munge\n\
             StateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool\nSlurmctldPidFile={at}/slurmctld.pid\n\
             SlurmdPidFile={at}/slurmd.pid\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nSlurmdParameters=config_overrides\n\
             ReturnToService=2\nSwitchType=switch/none\nKillWait=1\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=4\nPartitionName=all Nodes=ALL Default=YES State=UP\n"
        );
        fs::write(&settings, text).unwrap();
        fs::create_dir(folder.join("state")).unwrap();
        fs::create_dir(folder.join("spool")).unwrap();
        let daemon = |name: &str| {
            let mut command = Command::new(find(name).unwrap());
            command.args(["-D", "-f"]).arg(&settings);
            Daemon::start(&mut command, &folder.join(name))
        };
        let munged = Daemon::start(&mut munged, &folder.join("munged"));
        wait_for("munged", || folder.join("munge.socket").exists());
        let daemons = vec![daemon("slurmctld"), daemon("slurmd"), munged];
        let slurm = Self {
            settings,
            _daemons: daemons,
        };
        wait_for("an idle node", || {
            slurm.say("sinfo", &["-h", "-o", "%T"]).trim() == "idle"
        });
        slurm
    }

    fn say(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", &self.settings)
            .stderr(Stdio::null())
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }
}

pub(crate) fn test() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let slurm = Slurm::start(folder.path());
    let up = start.elapsed().as_secs_f64();
    let settings = format!("SLURM_CONF={}", slurm.settings.display());
    let prefix = ["env", &settings, "srun", "-n1", "-u"].map(String::from);
    let config = ProcessConfig {
        prefixes: vec![prefix.to_vec()],
        workers: 2,
        ..crate::site::throw(folder.path())
    };

    let n = 400;
    let oracle = ProcessOracle::start(config.clone()).unwrap();
    let seconds = every_row_once(oracle, n, folder.path(), |_| {});
    let each = 1e6 * seconds / n as f64;
    println!(
        "cluster: slurm: up in {up:.1} s; {n} calls on two workers, {each:.0} µs each, the ledger included"
    );

    let oracle = ProcessOracle::start(config).unwrap();
    let marker = folder.path().to_owned();
    every_row_once(oracle, n, folder.path(), move |answered| {
        if answered == n / 4 {
            let jobs = slurm.say("squeue", &["-h", "-o", "%i"]);
            assert!(!jobs.is_empty(), "no job to cancel");
            for job in jobs.lines() {
                slurm.say("scancel", &[job]);
            }
        } else if answered == n / 2 {
            assert!(crate::site::kill_workers(&marker) > 0, "no worker to kill");
        }
    });
    println!(
        "cluster: slurm: all jobs cancelled, then all workers killed in mid-run: {n} rows once each"
    );
}
