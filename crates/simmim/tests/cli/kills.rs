//! Processes that are killed at random moments.

use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use simmim::random::{Purpose, Stream};

/// The environment variable with the seed of a test that failed.
const VARIABLE: &str = "SIMMIM_TEST_SEED";
/// The environment variable with the number of kills, where more are wanted than a test usually has time for.
const N_VARIABLE: &str = "SIMMIM_TEST_KILLS";

/// How many kills are wanted altogether; one run is killed a few times.
pub(crate) fn wanted() -> usize {
    std::env::var(N_VARIABLE).map_or(1, |text| text.parse().unwrap())
}

/// Starts what `next` gives, kills it at a random moment, and so on until one comes to its end: well, and after two kills
/// at least; gives their number. The moments are up to a fifth of `whole` after the start at first, and later ever later:
/// `whole` is what the same run took without a kill, as no number of seconds is short on every machine.
///
/// The seed of the moments is printed, which shows when the test fails; `SIMMIM_TEST_SEED` gives the same moments again. (How
/// far a process has come by then is up to the machine.)
#[track_caller]
pub(crate) fn until_the_end(whole: Duration, mut next: impl FnMut() -> Command) -> usize {
    let seed = std::env::var(VARIABLE).map_or_else(|_| clock(), |text| text.parse().unwrap());
    eprintln!("to kill at the same moments: {VARIABLE}={seed}");
    let chances = Stream::new(seed, Purpose::Survey);
    for n_kills in 0..200_u32 {
        let mut said = tempfile::tempfile().unwrap();
        let mut command = next();
        let command = command
            .stdout(Stdio::null())
            .stderr(said.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let longest = whole.mul_f64(0.2 + 0.05 * f64::from(n_kills));
        let share = chances.at(0, n_kills.into()).unit();
        sleep(Duration::from_millis(20) + longest.mul_f64(share));
        if let Some(status) = child.try_wait().unwrap() {
            let mut stderr = String::new();
            said.rewind().unwrap();
            said.read_to_string(&mut stderr).unwrap();
            assert!(
                status.success(),
                "{status}, after {n_kills} kills: {stderr}"
            );
            assert!(n_kills >= 2, "it was too short to be killed twice");
            return n_kills as usize;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("it never comes to its end");
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_micros() as u64
}
