//! Several processes that are told by their environment where they meet, as `torchrun` does it, do one training.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::gpu::fake_gpu;
use crate::launchers::here;
use crate::ranks::{LONG, RUN, Running, SECONDS, require_same_curve};
use crate::resume::are_equal;
use crate::sandbox::{Ran, Sandbox};

/// Ranks that meet at a port of this machine.
struct Ranks<'a> {
    sandbox: &'a Sandbox,
    n: usize,
    port: u16,
}

impl<'a> Ranks<'a> {
    /// `n` of them, at a port at which nobody listens.
    fn new(sandbox: &'a Sandbox, n: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { sandbox, n, port }
    }

    /// One of them.
    fn command(&self, rank: usize, words: &str) -> Command {
        let mut command = self.sandbox.command(words);
        command
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", self.n.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", self.port.to_string())
            .env_remove("SIMMIM_MPI")
            .env_remove("SIMMIM_PORT")
            .env_remove("TORCHELASTIC_RUN_ID")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, words: &str) -> Vec<Child> {
        let start = |rank| self.command(rank, words).spawn().unwrap();
        (0..self.n).map(start).collect()
    }

    /// Runs them to their end.
    fn run(&self, words: &str) -> Vec<Ran> {
        self.start(words).into_iter().map(end).collect()
    }
}

fn end(child: Child) -> Ran {
    Ran::of(child.wait_with_output().unwrap())
}

fn host() -> String {
    let host = rustix::system::uname().nodename().to_owned();
    host.into_string().unwrap()
}

#[test]
fn ranks_without_mpi_give_the_bits_that_they_give_with_it() {
    let sandbox = Sandbox::with_photos(24);
    for n in [2, 3] {
        let run = format!("{RUN} --set train.batch_size=12");
        let out = |name: &str| format!("{name}-{n}");
        sandbox.simmim(&format!("{run} --out {}", out("one"))).ok();
        let mut ran = Ranks::new(&sandbox, n).run(&format!("{run} --out {}", out("tcp")));
        let others = ran.split_off(1);
        let first = ran.remove(0).ok();
        assert_eq!(first.stdout.trim(), out("tcp"));
        let says = format!("{n} ranks on 1 machine, by TCP");
        assert_eq!(first.stderr.matches(&says).count(), 1, "{first:?}");
        for other in others {
            let other = other.ok();
            assert_eq!((other.stdout.as_str(), other.stderr.as_str()), ("", ""));
        }
        let found = sandbox.path(&out("tcp"));
        require_same_curve(&sandbox.path(&out("one")), &found);
        for mpi in here("ranks with and without MPI") {
            let words = format!("{run} --out {}", out(mpi.name));
            Ran::of(mpi.simmim(&sandbox, n, &words).output().unwrap()).ok();
            are_equal(&sandbox.path(&out(mpi.name)), &found);
        }
    }
}

#[test]
fn torchrun_keeps_its_port_and_a_user_may_choose_one() {
    let sandbox = Sandbox::with_photos(24);
    let ranks = Ranks::new(&sandbox, 2);
    // As the store of `torchrun` does.
    let _store = TcpListener::bind(("127.0.0.1", ranks.port)).unwrap();
    let chosen = Ranks::new(&sandbox, 2).port.to_string();
    for (out, variable, value) in [("next", "LOCAL_RANK", "0"), ("own", "SIMMIM_PORT", &chosen)] {
        let words = format!("pretrain --config tiny.toml --data photos --out {out}");
        let start = |rank| {
            let mut command = ranks.command(rank, &words);
            command
                .env("TORCHELASTIC_RUN_ID", "none")
                .env(variable, value);
            // `srun` has started `torchrun` on one of three machines.
            command
                .env("SLURM_STEP_NUM_TASKS", "3")
                .env("SLURM_PROCID", "0");
            command.spawn().unwrap()
        };
        for ran in [0, 1].map(start).map(end) {
            ran.ok();
        }
        assert!(sandbox.path(out).join("metrics.jsonl").exists());
    }
}

#[test]
fn a_rank_without_mpi_that_is_killed_ends_the_run_which_goes_on_afterwards() {
    let sandbox = Sandbox::with_photos(24);
    for (killed, signal, code) in [(1, "KILL", 1), (0, "KILL", 1), (1, "STOP", 1)] {
        let mut children = Ranks::new(&sandbox, 2).start(&format!("{LONG} --out run"));
        Running::wait_for_steps(&sandbox.path("run"));
        let mut gone = children.remove(killed);
        let other = children.remove(0);
        let process = gone.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.unwrap().success());
        let begun = Instant::now();
        let ran = end(other);
        assert!(begun.elapsed() < SECONDS, "{:?}", begun.elapsed());
        let _ = gone.kill();
        gone.wait().unwrap();
        let (host, rank) = (host(), 1 - killed);
        let says = if signal == "STOP" {
            format!("rank {rank} on {host} has waited for 2 s for rank {killed} on {host}")
        } else {
            format!("rank {killed} on {host} of the training has ended")
        };
        ran.fails(code, &[&says, "--resume"]);
        Running::resume(&sandbox, "run").stopped();
        fs::remove_dir_all(sandbox.path("run")).unwrap();
    }
}

#[test]
fn a_signal_to_a_rank_without_mpi_saves_once_and_stops_all() {
    let sandbox = Sandbox::with_photos(24);
    let children = Ranks::new(&sandbox, 2).start(&format!("{LONG} --out run"));
    Running::wait_for_steps(&sandbox.path("run"));
    let process = children[1].id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &process]).status();
    assert!(sent.unwrap().success());
    let ran: Vec<Ran> = children.into_iter().map(end).map(Ran::stopped).collect();
    assert_eq!(
        ran[0].stderr.matches("saved after step").count(),
        1,
        "{ran:?}"
    );
    Running::resume(&sandbox, "run").stopped();
}

#[test]
fn an_error_of_a_rank_without_mpi_is_told_once() {
    let sandbox = Sandbox::with_photos(24);
    let words = "pretrain --config tiny.toml --data nowhere --out run";
    let ran = Ranks::new(&sandbox, 2).run(words);
    let n_told = ran.iter().map(|ran| ran.stderr.matches("error: ").count());
    assert_eq!(n_told.sum::<usize>(), 1, "{ran:?}");
    assert!(ran.iter().all(|ran| ran.code == Some(1)), "{ran:?}");
    assert!(!sandbox.path("run").exists());
}

#[test]
fn a_stranger_at_the_port_is_turned_away() {
    let sandbox = Sandbox::with_photos(24);
    let ranks = Ranks::new(&sandbox, 2);
    let words = "pretrain --config tiny.toml --data photos --out run";
    let first = ranks.command(0, words).spawn().unwrap();
    let begun = Instant::now();
    let stranger = loop {
        match TcpStream::connect(("127.0.0.1", ranks.port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < SECONDS, "{error}"),
        }
        sleep(Duration::from_millis(20));
    };
    (&stranger).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // One more, which says nothing.
    let silent = TcpStream::connect(("127.0.0.1", ranks.port)).unwrap();
    let other = ranks.command(1, words).spawn().unwrap();
    end(other).ok();
    end(first).ok();
    drop((stranger, silent));
}

#[test]
fn ranks_that_cannot_meet_are_told_why() {
    let sandbox = Sandbox::with_photos(4);
    let words = "pretrain --config tiny.toml --data photos --out run";
    let ranks = Ranks::new(&sandbox, 2);
    let taken = TcpListener::bind(("127.0.0.1", ranks.port)).unwrap();
    let ran = Ran::of(ranks.command(0, words).output().unwrap());
    let at = format!("at 127.0.0.1:{}", ranks.port);
    ran.fails(1, &["rank 0 cannot listen", &at, "SIMMIM_PORT"]);
    drop(taken);
    let with = |name: &str, value: &str| {
        let mut command = ranks.command(0, words);
        Ran::of(command.env(name, value).output().unwrap())
    };
    let mut command = sandbox.command(words);
    let ran = Ran::of(
        command
            .env("WORLD_SIZE", "2")
            .env("RANK", "0")
            .env_remove("MASTER_ADDR")
            .output()
            .unwrap(),
    );
    ran.fails(
        1,
        &[
            "2 processes were started, and MASTER_ADDR is not set",
            "torchrun sets",
        ],
    );
    with("MASTER_ADDR", "").fails(1, &["2 processes were started, and MASTER_ADDR is \"\""]);
    with("MASTER_PORT", "x").fails(1, &["MASTER_PORT is \"x\"", "SIMMIM_MPI=none"]);
    with("RANK", "2").fails(1, &["RANK is \"2\""]);
    with("SIMMIM_PORT", "0").fails(1, &["SIMMIM_PORT is \"0\""]);
    assert!(!sandbox.path("run").exists());
    with("SIMMIM_MPI", "none").ok();
    let ran = Ran::of(
        ranks
            .command(0, "mask photos/000.png --out m.png")
            .output()
            .unwrap(),
    );
    ran.fails(2, &["there are 2 processes, and this command runs in one"]);
}

/// A training on two fake GPUs, of which ranks wait for each other for two seconds.
const ON_GPUS: &str = "pretrain --config tiny.toml --data photos --set train.device=cuda --set train.epochs=2 \
    --set train.rank_timeout_secs=2";

#[test]
fn gpus_of_processes_without_mpi_meet_and_sum_by_nccl() {
    let Some(folder) = fake_gpu("GPUs of processes without MPI") else {
        return;
    };
    let sandbox = Sandbox::with_photos(24);
    sandbox
        .simmim("pretrain --config tiny.toml --data photos --set train.epochs=2 --out one")
        .ok();
    let calls = sandbox.path("calls");
    let ranks = Ranks::new(&sandbox, 2);
    let start = |rank| {
        let mut command = ranks.command(rank, &format!("{ON_GPUS} --out two"));
        command.env("LD_LIBRARY_PATH", &folder);
        command.env("FAKE_CUDA_DEVICES", "2");
        command.env("FAKE_CUDA_CALLS", &calls);
        command.spawn().unwrap()
    };
    for ran in [0, 1].map(start).map(end) {
        ran.ok();
    }
    require_same_curve(&sandbox.path("one"), &sandbox.path("two"));
    assert!(fs::read_to_string(calls).unwrap().contains("ncclAllReduce"));
}

#[test]
fn a_process_that_dies_while_gpus_join_or_sum_ends_the_others() {
    let Some(folder) = fake_gpu("a process that dies while GPUs join or sum") else {
        return;
    };
    let sandbox = Sandbox::with_photos(24);
    for variable in ["FAKE_NCCL_DIES_JOINING", "FAKE_NCCL_DIES_SUMMING"] {
        for dies in [0, 1] {
            let ranks = Ranks::new(&sandbox, 2);
            let out = format!("{variable}-{dies}");
            let start = |rank| {
                let mut command = ranks.command(rank, &format!("{ON_GPUS} --out {out}"));
                command.env("LD_LIBRARY_PATH", &folder);
                command.env("FAKE_CUDA_DEVICES", "2");
                command.env(variable, dies.to_string());
                command.spawn().unwrap()
            };
            let begun = Instant::now();
            let mut ran = [0, 1].map(start).map(end);
            assert!(begun.elapsed() < 2 * SECONDS, "{:?}", begun.elapsed());
            assert_eq!(ran[dies].code, None, "{ran:?}");
            let says = format!("rank {dies} on {} of the training has ended", host());
            ran.swap(0, dies);
            let [_, other] = ran;
            other.fails(1, &[&says, "--resume"]);
        }
    }
}
