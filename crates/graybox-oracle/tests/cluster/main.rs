//! Oracles on a cluster of one machine, with the real things: HAProxy before UM-Bridge servers, workers through
//! ssh, workers through Slurm, the reference implementation of UM-Bridge. Servers and workers are killed in mid-run,
//! and every row must be answered once.
//!
//! What is not installed is skipped and says so, with the command that installs it. No harness, so that this
//! and the figures are seen.

mod haproxy;
mod reference;
mod site;
mod slurm;
mod ssh;

fn main() {
    // A list of tests, or a filter for those of other files.
    if std::env::args()
        .skip(1)
        .any(|argument| !argument.starts_with("--test"))
    {
        return;
    }
    for (name, needs, install, test) in [
        (
            "haproxy",
            &["haproxy"][..],
            "haproxy",
            haproxy::test as fn(),
        ),
        (
            "ssh",
            &["sshd", "ssh", "ssh-keygen"],
            "openssh-server openssh-client",
            ssh::test,
        ),
        (
            "slurm",
            &["slurmctld", "slurmd", "srun", "munged"],
            "slurmctld slurmd slurm-client munge",
            slurm::test,
        ),
    ] {
        let missing: Vec<&str> = needs
            .iter()
            .copied()
            .filter(|program| site::find(program).is_none())
            .collect();
        if missing.is_empty() {
            test();
        } else {
            println!(
                "cluster: SKIPPED {name}: there is no {} here; apt-get install {install}",
                missing.join(", no ")
            );
        }
    }
    if reference::is_installed() {
        reference::test();
    } else {
        println!(
            "cluster: SKIPPED reference: python3 has no umbridge here; pip install umbridge, and name that Python in \
             GRAYBOX_PYTHON"
        );
    }
}
