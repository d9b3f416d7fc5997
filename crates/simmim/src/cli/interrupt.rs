//! Ctrl-C and SIGTERM: the first asks the run to stop after its step, the second ends the process. SIGUSR1, by which clusters tell
//! that a job's time is over, asks only.

use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use simmim_train::StopFlag;

use super::progress::Progress;

/// How soon a signal is answered by a word.
const ANSWER: Duration = Duration::from_millis(100);

/// A flag that the signals raise, for a run.
pub(crate) fn stop_flag(progress: &Progress) -> anyhow::Result<StopFlag> {
    let voice = progress.voice();
    flag_of(move |_| {
        voice
            .say("stopping after this step, then saving; once more to exit at once without saving");
    })
}

/// A flag that the signals raise. `answer` is called once, with a line to say where nothing has to be saved.
pub(crate) fn flag_of(answer: impl FnOnce(&str) + Send + 'static) -> anyhow::Result<StopFlag> {
    let stop = StopFlag::new();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag low and raises it, the next one finds it raised.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.shared())?;
        flag::register(signal, stop.shared())?;
    }
    // However often: a launcher passes on what the cluster has sent to each process already.
    flag::register(SIGUSR1, stop.shared())?;
    let watched = stop.clone();
    // Lives as long as the process.
    thread::spawn(move || {
        while !watched.is_raised() {
            thread::sleep(ANSWER);
        }
        answer("stopping");
    });
    Ok(stop)
}
