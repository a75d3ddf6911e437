//! What the benches share: processes pinned to a core, what they cost, and honest statistics.
#![allow(dead_code, reason = "each bench takes what it needs")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Servers run here …
pub const SERVER_CORE: &str = "0";
/// … and clients there.
pub const CLIENT_CORE: &str = "1";

/// Has this process, all its threads included, run on the client's core only.
pub fn pin_to_client_core() {
    let this = std::process::id().to_string();
    let pinned =
        Command::new("taskset").args(["-a", "-p", "-c", CLIENT_CORE, &this]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "needs taskset(1) and two cores");
}

/// Nanoseconds of a core that these processes have spent, the kernel's share included, as the
/// scheduler counted them for each of their threads.
pub fn cpu_ns(processes: &[u32]) -> u64 {
    let tasks = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let spent = processes.iter().flat_map(tasks).filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    spent.sum()
}

/// Memory of these processes in octets, what they share counted once (PSS).
pub fn pss(processes: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    processes.iter().filter_map(of).sum::<u64>() * 1024
}

/// Mean and half of the 95 % interval.
pub fn spread(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let values: Vec<_> = values.into_iter().collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    // Student's t for ten rounds; less for more, so that this errs on the wide side.
    (mean, 2.26 * (variance / n).sqrt())
}

/// A control group that holds processes to a share of their core. Takes root and a control
/// group file system, version 1 or 2, that can be written to.
pub struct Group(PathBuf);

impl Group {
    /// An empty group with a limit of that many percent of one core.
    pub fn new(percent: u32) -> Self {
        const PERIOD_US: u32 = 10_000;
        let quota = PERIOD_US * percent / 100;
        let v1 = PathBuf::from("/sys/fs/cgroup/cpu");
        let is_v1 = v1.join("cpu.cfs_quota_us").exists() || v1.join("tasks").exists();
        let root = if is_v1 { v1 } else { PathBuf::from("/sys/fs/cgroup") };
        let group = Self(root.join(format!("pointsman-bench-{}", std::process::id())));
        fs::create_dir(&group.0).expect("--quota takes root and a cgroup file system that is writable");
        if is_v1 {
            group.write("cpu.cfs_period_us", &PERIOD_US.to_string());
            group.write("cpu.cfs_quota_us", &quota.to_string());
        } else {
            group.write("cpu.max", &format!("{quota} {PERIOD_US}"));
        }
        group
    }

    /// Takes processes in.
    pub fn hold(&self, processes: &[u32]) {
        for pid in processes {
            self.write("cgroup.procs", &pid.to_string());
        }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect("the group takes its limits and members");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The processes go on in the group above, so that this one can go.
        if let (Ok(members), Some(above)) = (fs::read_to_string(self.0.join("cgroup.procs")), self.0.parent())
        {
            for member in members.lines() {
                let _ = fs::write(above.join("cgroup.procs"), member);
            }
        }
        let _ = fs::remove_dir(&self.0);
    }
}
