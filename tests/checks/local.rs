//! Checks that ping, and checks that run programs.

use std::collections::BTreeMap;
use std::time::Duration;

use pointsman::base::{CheckId, SecretRef};
use pointsman::config::{CheckKind, ExecCheck, ExitCodes, HeaderValue, IcmpCheck};
use pointsman::health::Finding;
use pointsman::io::Net;
use pointsman::probe;

use crate::common::{self, Scratch, daemon, find, until};
use crate::{TIMEOUT, fails, passes, run, unknown};

fn ping(host: &str, count: u8, lost_max: u8) -> CheckKind {
    CheckKind::Icmp(IcmpCheck { host: host.to_owned(), count, lost_max })
}

/// What pinging another host brings, on a machine of two hosts.
struct Pair(common::net::Net);

impl Pair {
    fn ping(&self, count: u8, lost_max: u8) -> Finding {
        let check = ping(&self.0.address(1), count, lost_max);
        self.0.within(0, run(check)).join().unwrap()
    }

    fn on(&self, host: usize, program: &str, arguments: &[&str]) -> String {
        let output = self.0.on(host, program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Who may ping without privilege.
    fn allow(&self, groups: &str) {
        self.on(0, "sysctl", &["-qw", &format!("net.ipv4.ping_group_range={groups}")]);
    }
}

#[test]
fn pings_with_either_kind_of_socket() {
    let Some(net) = common::net::Net::start(2) else { return };
    let pair = Pair(net);
    // Nobody may without privilege, and we have it; then everybody may.
    for groups in ["1 0", "0 2147483647"] {
        pair.allow(groups);
        passes(pair.ping(3, 0), "3 of 3 echoes, the slowest in ");
        for (host, of) in [("::1", 2), ("127.0.0.1", 5), ("localhost", 1)] {
            let finding = pair.0.within(0, run(ping(host, of, 0))).join().unwrap();
            passes(finding, &format!("{of} of {of} echoes"));
        }
        // Many at once do not take each other's replies.
        let many = async {
            let mut pings = tokio::task::JoinSet::new();
            for _ in 0..20 {
                pings.spawn(run(ping("127.0.0.1", 5, 0)));
            }
            pings.join_all().await
        };
        for finding in pair.0.within(0, many).join().unwrap() {
            passes(finding, "5 of 5 echoes");
        }
    }

    // Every third one gets lost: one of three, and two of six.
    let lossy = [
        "-A",
        "INPUT",
        "-p",
        "icmp",
        "-m",
        "statistic",
        "--mode",
        "nth",
        "--every",
        "3",
        "--packet",
        "2",
        "-j",
        "DROP",
    ];
    pair.on(1, "iptables", &lossy);
    passes(pair.ping(3, 1), "2 of 3 echoes");
    fails(pair.ping(3, 0), "only 2 of 3 echoes from 10.77.0.2, wanted 3");
    pair.0.heal(1);
    // The cable is cut: silence, within the timeout.
    pair.0.cut(1, 0);
    fails(pair.ping(3, 1), "no echo from 10.77.0.2 to 3 requests in 7");
    pair.0.heal(1);
    // It says itself that there is no way.
    pair.on(
        1,
        "iptables",
        &["-A", "INPUT", "-p", "icmp", "-j", "REJECT", "--reject-with", "icmp-host-unreachable"],
    );
    let finding = pair.ping(3, 1);
    assert!(matches!(finding, Finding::Fail(_)), "{finding:?}");
    pair.0.heal(1);
    passes(pair.ping(3, 1), "3 of 3 echoes");
}

#[test]
fn without_the_right_to_ping_the_cure_is_told() {
    let Some(net) = common::net::Net::start(1) else { return };
    let Some(setpriv) = find("setpriv", "util-linux", &["/usr/bin"]) else { return };
    let pair = Pair(net);
    pair.allow("1 0");
    let scratch = Scratch::new("icmp");
    let file = scratch.path().join("pointsman.yaml");
    let text = "version: 1\nmode: observe\nsite: {name: here}\nlisten: {dns: [\"127.0.0.1:5353\"]}\n\
                regions: {eu: {layers: {reach: [{icmp: {host: 127.0.0.1}}]}}}\n";
    std::fs::write(&file, text).unwrap();
    let probe = || {
        let mut command = pair.0.on(0, setpriv.to_str().unwrap());
        command.args(["--bounding-set=-all", "--inh-caps=-all", daemon::BINARY, "--config"]);
        command.arg(&file).args(["probe", "eu/reach/icmp"]).output().unwrap()
    };
    let said = probe();
    let out = String::from_utf8_lossy(&said.stdout);
    assert!(out.contains("  unknown: cannot ping 127.0.0.1: the daemon may not"), "{said:?}");
    assert!(
        out.contains("net.ipv4.ping_group_range=\"0 2147483647\"") && out.contains("CAP_NET_RAW"),
        "{out}"
    );
    assert_eq!(said.status.code(), Some(3));
    // The cure cures.
    pair.allow("0 2147483647");
    let said = probe();
    assert!(String::from_utf8_lossy(&said.stdout).contains("  pass: 3 of 3 echoes"), "{said:?}");
    assert!(said.status.success());
}

#[tokio::test]
async fn a_name_that_is_not_there_is_our_own_trouble() {
    unknown(run(ping("no-such-host.invalid", 1, 0)).await, "cannot resolve");
}

// ── programs ──

fn exec(script: &str, codes: ExitCodes) -> ExecCheck {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    ExecCheck { argv, env: BTreeMap::new(), codes }
}

async fn see(check: ExecCheck) -> Finding {
    run(CheckKind::Exec(check)).await
}

#[tokio::test]
async fn exit_codes_are_verdicts() {
    let plain = |script: &str| exec(script, ExitCodes::Plain);
    passes(see(plain("echo all is well; echo more")).await, "exited with 0");
    passes(see(plain("echo all is well; echo more")).await, ": all is well");
    fails(see(plain("echo database is gone >&2; exit 1")).await, "exited with 1");
    fails(see(plain("echo database is gone >&2; exit 1")).await, ": database is gone");
    unknown(see(plain("exit 2")).await, "exited with 2");
    unknown(see(plain("exit 75")).await, "exited with 75");
    unknown(see(plain("kill -KILL $$")).await, "killed by signal 9");

    let nagios = |script: &str| exec(script, ExitCodes::Nagios);
    passes(see(nagios("echo 'LOAD OK | load=1;5;10'")).await, ": LOAD OK");
    passes(see(nagios("exit 1")).await, "exited with 1");
    fails(see(nagios("echo CRITICAL; exit 2")).await, "exited with 2");
    unknown(see(nagios("exit 3")).await, "exited with 3");

    let none = ExecCheck { argv: vec!["/no/such/program".to_owned()], ..plain("") };
    unknown(see(none).await, "there is no program `/no/such/program`");
    let not_one = ExecCheck { argv: vec!["/etc/passwd".to_owned()], ..plain("") };
    unknown(see(not_one).await, "cannot run `/etc/passwd`");
}

#[tokio::test]
async fn programs_are_bounded_and_leave_nothing_behind() {
    // It hangs, and so does its child; the group dies with it.
    let scratch = Scratch::new("exec");
    let file = scratch.path().join("child");
    let script = format!("sleep 60 & echo $! > {}; sleep 60", file.display());
    fails(see(exec(&script, ExitCodes::Plain)).await, "had not ended within 700ms and was killed");
    let child: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    // Dead: gone, or a zombie of whoever adopts orphans here.
    until("the child to be killed", Duration::from_secs(5), || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
    });
    // It ignores what may be ignored.
    fails(see(exec("trap '' TERM INT HUP; while :; do :; done", ExitCodes::Plain)).await, "was killed");
    // It says more than anybody reads.
    passes(see(exec("yes | head -c 1000000; echo; echo end", ExitCodes::Plain)).await, "exited with 0");
    fails(see(exec("yes", ExitCodes::Plain)).await, "was killed: y");
    // No zombie of ours is left; another test's may be between its death and its burial.
    let me = std::process::id().to_string();
    let is_ours = |stat: &str| {
        stat.rsplit_once(") ").is_some_and(|(name, rest)| {
            let mut words = rest.split(' ');
            words.next() == Some("Z") && words.next() == Some(&me) && name.ends_with("(sh")
        })
    };
    until("the dead to be buried", Duration::from_secs(5), || {
        let mut processes = std::fs::read_dir("/proc").unwrap().flatten();
        !processes
            .any(|entry| std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| is_ours(&stat)))
    });
}

#[tokio::test]
async fn the_environment_is_clean() {
    let scratch = Scratch::new("exec-env");
    let token = scratch.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let env = [
        ("LIMIT".to_owned(), HeaderValue::Plain("5".to_owned())),
        ("TOKEN".to_owned(), HeaderValue::Secret(SecretRef::File(token.clone()))),
    ];
    let script = "[ \"$LIMIT$TOKEN\" = 5s3cret ] && [ -n \"$PATH\" ] && [ -n \"$POINTSMAN_TIMEOUT\" ] && [ -z \"$CARGO_MANIFEST_DIR\" ]";
    let check = ExecCheck { env: env.into(), ..exec(script, ExitCodes::Plain) };
    passes(see(check.clone()).await, "exited with 0");
    std::fs::remove_file(&token).unwrap();
    unknown(see(check).await, "cannot read the secret");
    // No shell looks at the arguments.
    let argv = ["/bin/echo", "$HOME; exit 1"].map(str::to_owned).to_vec();
    passes(see(ExecCheck { argv, ..exec("", ExitCodes::Plain) }).await, ": $HOME; exit 1");
}

#[tokio::test]
async fn only_so_many_programs_run_at_once() {
    let (net, scratch) = (Net::new(), Scratch::new("exec-turns"));
    // Each counts those that run while it does.
    let script = format!("cd {}; : > $$; sleep 0.1; ls | wc -l; sleep 0.1; rm $$", scratch.path().display());
    let check = CheckKind::Exec(exec(&script, ExitCodes::Plain));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (net, check) = (net.clone(), check.clone());
        let patience = Duration::from_secs(30);
        running.spawn(async move { probe::check(&net, CheckId(7), &check, patience).await.unwrap().finding });
    }
    let most = running.join_all().await.into_iter().map(|finding| {
        let Finding::Pass(words) = &finding else { panic!("{finding:?}") };
        words.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    });
    let most = most.max().unwrap();
    assert!((2..=32).contains(&most), "{most} at once");
    // Who gets no turn in its time has measured nothing.
    let _held: Vec<_> = all_turns(&net).await;
    let turned_away = probe::check(&net, CheckId(7), &check, TIMEOUT).await.unwrap().finding;
    unknown(turned_away, "too many check programs run at once");
}

/// All turns there are.
async fn all_turns(net: &Net) -> Vec<tokio::sync::OwnedSemaphorePermit> {
    let mut held = Vec::new();
    while let Ok(Some(turn)) = tokio::time::timeout(Duration::from_millis(50), net.turn_to_run()).await {
        held.push(turn);
    }
    held
}
