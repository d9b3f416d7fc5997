//! Ranks on several machines, for each of which a network namespace stands: with an address and a host name of its own, and a link
//! to the others that can be slow, late, or cut.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::launchers::{Mpi, here, say_skipped};
use crate::ranks::{LONG, RUN, Running, SECONDS, folder_of, require_same_curve};
use crate::sandbox::{Ran, Sandbox};

/// Starts a command on another machine, in place of `ssh`: what it is called with is the address, and the command. The last number of an
/// address names the machine.
const AGENT: &str = r#"#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
n=${host##*.}
exec ip netns exec PREFIX$n unshare --uts sh -c "hostname node$n; $*"
"#;
/// The address of a machine, but for its last number.
const NET: &str = "10.77.0.";

/// Machines on one switch.
struct Hosts {
    prefix: String,
    n: usize,
    agent: PathBuf,
}

/// How good the links are.
#[derive(Debug, Clone, Copy)]
enum Links {
    /// As good as the machine's own memory.
    Fast,
    /// 100 Mbit/s, and 10 ms late where the kernel can do that.
    Slow,
}

/// Runs a command of the system.
fn run(words: &str) -> bool {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let command = command
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Hosts {
    /// `n` machines; none where namespaces cannot be made, which is said.
    fn new(test: &str, sandbox: &Sandbox, n: usize, links: Links) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let hosts = Self {
            // A device's name has 15 letters at most.
            prefix: format!("s{}x{number}n", std::process::id()),
            n,
            agent: sandbox.path("agent.sh"),
        };
        let switch = hosts.name(0);
        if !run(&format!("ip netns add {switch}")) {
            say_skipped(test, "network namespaces cannot be made");
            return None;
        }
        fs::write(&hosts.agent, AGENT.replace("PREFIX", &hosts.prefix)).unwrap();
        fs::set_permissions(&hosts.agent, Permissions::from_mode(0o755)).unwrap();
        let made = run(&format!("ip -n {switch} link add bridge type bridge"))
            && run(&format!("ip -n {switch} link set bridge up"))
            && (1..=n).all(|host| hosts.add(host));
        assert!(made, "namespaces can be made and not joined");
        (1..=n).for_each(|host| hosts.wait_for_link(host));
        if let Links::Slow = links {
            let late = (1..=n).all(|host| hosts.slow(host));
            if !late {
                say_skipped(
                    &format!("a delay of 10 ms in: {test}"),
                    "the kernel has no netem",
                );
            }
        }
        Some(hosts)
    }

    fn name(&self, host: usize) -> String {
        format!("{}{host}", self.prefix)
    }

    fn add(&self, host: usize) -> bool {
        let (name, switch) = (self.name(host), self.name(0));
        [
            format!("ip netns add {name}"),
            format!("ip -n {switch} link add port{host} type veth peer name eth0 netns {name}"),
            format!("ip -n {switch} link set port{host} master bridge"),
            format!("ip -n {switch} link set port{host} up"),
            format!("ip -n {name} addr add {NET}{host}/24 dev eth0"),
            format!("ip -n {name} link set eth0 up"),
            format!("ip -n {name} link set lo up"),
        ]
        .iter()
        .all(|command| run(command))
    }

    /// A link that has just been made takes no data for up to a second.
    fn wait_for_link(&self, host: usize) {
        let begun = Instant::now();
        loop {
            let mut command = Command::new("ip");
            let command = command.args(["-n", &self.name(host), "link", "show", "eth0"]);
            let shown = command.output().unwrap().stdout;
            if String::from_utf8_lossy(&shown).contains("state UP") {
                return;
            }
            assert!(
                begun.elapsed() < SECONDS,
                "the link of {host} does not come up"
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Makes a machine's link slow, and late where that can be done; says whether it could.
    fn slow(&self, host: usize) -> bool {
        let tc = format!(
            "ip netns exec {} tc qdisc add dev eth0 root",
            self.name(host)
        );
        if run(&format!("{tc} netem delay 10ms rate 100mbit")) {
            return true;
        }
        let is_slow = run(&format!("{tc} tbf rate 100mbit burst 32kbit latency 400ms"));
        assert!(is_slow, "links cannot be slowed down");
        false
    }

    fn cut(&self, host: usize) {
        assert!(run(&format!(
            "ip -n {} link set port{host} down",
            self.name(0)
        )));
    }

    fn mend(&self, host: usize) {
        assert!(run(&format!(
            "ip -n {} link set port{host} up",
            self.name(0)
        )));
    }

    /// A command that the first machine's launcher starts, once on each.
    fn simmim(&self, mpi: &Mpi, sandbox: &Sandbox, words: &str) -> Command {
        let launch = mpi.launch(sandbox);
        let first = self.name(1);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &first, "unshare", "--uts", "sh", "-c"]);
        command.arg("hostname node1; exec \"$@\"").arg("sh");
        command.arg(launch.get_program());
        let of_address = |host: usize| format!("{NET}{host}");
        let addresses: Vec<String> = (1..=self.n).map(of_address).collect();
        let agent = self.agent.to_str().unwrap();
        if mpi.name == "mpich" {
            command.args(["-launcher", "ssh", "-launcher-exec", agent]);
            command.args(["-hosts", &addresses.join(","), "-ppn", "1"]);
        } else {
            let net = format!("{NET}0/24");
            command.args(["--host", &addresses.join(","), "--bind-to", "none"]);
            command.args(["--mca", "plm_rsh_agent", agent, "--mca", "btl", "tcp,self"]);
            command.args([
                "--mca",
                "btl_tcp_if_include",
                &net,
                "--mca",
                "oob_tcp_if_include",
                &net,
            ]);
        }
        command.args(["-n", &self.n.to_string()]);
        command.args(Mpi::program()).args(words.split_whitespace());
        // It would find that all of these are one machine, and use its memory.
        command.env("UCX_TLS", "tcp");
        command.current_dir(launch.get_current_dir().unwrap());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in launch.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// A run of two machines that goes on until something ends it.
    fn start(&self, mpi: &Mpi, sandbox: &Sandbox) -> Running {
        let words = format!("{LONG} --out {}", mpi.name);
        let child: Child = self.simmim(mpi, sandbox, &words).spawn().unwrap();
        Running::begun(child, &sandbox.path(mpi.name))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in 0..=self.n {
            run(&format!("ip netns del {}", self.name(host)));
        }
    }
}

#[test]
fn machines_with_slow_links_give_the_curve_of_one_process() {
    let test = "several machines";
    let sandbox = Sandbox::with_photos(24);
    let run = format!("{RUN} --set train.accumulation=1");
    sandbox.simmim(&format!("{run} --out one")).ok();
    for n in [2, 4] {
        let Some(hosts) = Hosts::new(test, &sandbox, n, Links::Slow) else {
            return;
        };
        for mpi in here(test) {
            let out = format!("{}-{n}", mpi.name);
            let mut command = hosts.simmim(&mpi, &sandbox, &format!("{run} --out {out}"));
            let ran = Ran::of(command.output().unwrap()).ok();
            let says = format!("{n} ranks on {n} machines");
            assert_eq!(ran.stderr.matches(&says).count(), 1, "{ran:?}");
            require_same_curve(&sandbox.path("one"), &sandbox.path(&out));
        }
    }
}

#[test]
fn a_rank_that_is_killed_on_another_machine_ends_the_run() {
    let test = "a rank killed on another machine";
    let sandbox = Sandbox::with_photos(24);
    let Some(hosts) = Hosts::new(test, &sandbox, 2, Links::Fast) else {
        return;
    };
    for mpi in here(test) {
        let running = hosts.start(&mpi, &sandbox);
        let ran = running.end_by("KILL", 1, &sandbox);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        require_all_gone(&sandbox);
        Running::resume(&sandbox, mpi.name).stopped();
    }
}

#[test]
fn a_link_that_is_cut_ends_the_run_on_both_of_its_ends() {
    let test = "a link that is cut";
    let sandbox = Sandbox::with_photos(24);
    let Some(hosts) = Hosts::new(test, &sandbox, 2, Links::Fast) else {
        return;
    };
    for mpi in here(test) {
        let mut running = hosts.start(&mpi, &sandbox);
        hosts.cut(2);
        // The launcher itself may wait for the other machine for long: the ranks do not.
        require_all_gone(&sandbox);
        hosts.mend(2);
        let ran = running.end();
        assert!(
            ran.stderr
                .contains("rank 0 on node1 has waited for 2 s for rank 1 on node2")
                || ran
                    .stderr
                    .contains("rank 0 on node1 has lost the other ranks"),
            "{ran:?}"
        );
        Running::resume(&sandbox, mpi.name).stopped();
    }
}

/// Holds that soon no rank in a sandbox is left.
#[track_caller]
fn require_all_gone(sandbox: &Sandbox) {
    let folder = folder_of(sandbox);
    let begun = Instant::now();
    while let Some(process) = (0..2).find_map(|rank| Running::process_of(rank, &folder)) {
        assert!(begun.elapsed() < SECONDS, "{process} is left");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_disk_that_is_full_on_the_first_machine_ends_all_ranks_with_its_words() {
    let test = "a full disk under several ranks";
    let sandbox = Sandbox::with_photos(24);
    for mpi in here(test) {
        let disk = sandbox.path(mpi.name);
        fs::create_dir(&disk).unwrap();
        let mount = format!("mount -t tmpfs -o size=8m tmpfs {}", disk.display());
        if !run(&mount) {
            say_skipped(test, "no disk can be mounted");
            return;
        }
        let filled = fill_during_a_run(&mpi, &sandbox);
        assert!(run(&format!("umount -l {}", disk.display())));
        let ran = filled.fails(1, &["No space left"]);
        assert_eq!(ran.stderr.matches("error: ").count(), 1, "{ran:?}");
    }
}

fn fill_during_a_run(mpi: &Mpi, sandbox: &Sandbox) -> Ran {
    let out = format!("{}/run", mpi.name);
    let child = mpi
        .simmim(sandbox, 2, &format!("{LONG} --out {out}"))
        .spawn();
    let mut running = Running::begun(child.unwrap(), &sandbox.path(&out));
    // Up to the last byte, which fails.
    let _ = fs::write(sandbox.path(mpi.name).join("filling"), vec![0; 16 << 20]);
    running.end()
}
