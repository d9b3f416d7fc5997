//! How a run shows that it is alive: a bar on a terminal, lines elsewhere, JSON for programs, or nothing.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use simmim_config::auto::Reason;
use simmim_data::{BadImage, printable};
use simmim_train::metrics::Record;
use simmim_train::{Event, Observer, lasting};

use super::table::{self, Fact, Stream};
use super::{Talk, json, output};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Weight of the newest step in the loss and the speed that are shown.
const NEWEST: f64 = 0.1;
/// Unreadable images that are named; the rest are counted, and all stand in the run's log.
const MOST_NAMED: usize = 10;

/// Says things without tearing the bar.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    bar: ProgressBar,
    is_quiet: bool,
}

impl Voice {
    pub(crate) fn say(&self, line: &str) {
        if !self.is_quiet {
            self.bar.suspend(|| output::say(line));
        }
    }
}

/// Shows a run to the user.
#[derive(Debug)]
pub(crate) struct Progress {
    voice: Voice,
    as_json: bool,
    /// Whether the reader of the JSON lines has gone.
    is_deaf: bool,
    has_bar: bool,
    total_steps: u64,
    loss: Option<f64>,
    images_per_sec: Option<f64>,
    /// When this process began to train, and after how many steps.
    begun: (Instant, u64),
    last_line: Option<Instant>,
    n_bad: usize,
    /// What was chosen, for the log of the run.
    chosen: Vec<String>,
}

impl Progress {
    pub(crate) fn new(talk: Talk) -> Self {
        // In a file each drawing of a bar would be left behind.
        let has_bar = talk == Talk::Plain && stderr().is_terminal();
        Self {
            voice: Voice {
                // Not shown before there is something to show.
                bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
                is_quiet: talk != Talk::Plain,
            },
            as_json: talk == Talk::Json,
            is_deaf: false,
            has_bar,
            total_steps: 0,
            loss: None,
            images_per_sec: None,
            begun: (Instant::now(), 0),
            last_line: None,
            n_bad: 0,
            chosen: Vec::new(),
        }
    }

    /// A voice for other threads.
    pub(crate) fn voice(&self) -> Voice {
        self.voice.clone()
    }

    /// Unreadable images so far.
    pub(crate) fn n_bad(&self) -> usize {
        self.n_bad
    }

    /// Says a choice or a fact.
    pub(crate) fn note(&mut self, text: &str) {
        self.see(&Event::Note(text));
    }

    /// Says what was chosen and why: a table for a person, a note each for a program.
    pub(crate) fn tell_choices<'a>(&mut self, reasons: impl IntoIterator<Item = &'a Reason>) {
        let mut rows = Vec::new();
        for reason in reasons {
            let line = reason.to_string();
            if self.as_json {
                self.note(&line);
            }
            self.chosen.push(line);
            rows.push(Fact::new(format!("  {}", reason.about), &reason.text));
        }
        if !self.as_json {
            self.voice.say(&table::facts_to(Stream::Talk, &rows));
        }
    }

    /// What [`Progress::tell_choices`] has said so far, a line each.
    pub(crate) fn chosen(&self) -> Vec<String> {
        self.chosen.clone()
    }

    /// Shows how many images were looked at, where there is a terminal; from any thread.
    pub(crate) fn show_looking(&self, n_done: usize, total: usize) {
        if self.has_bar {
            let bar = &self.voice.bar;
            bar.set_style(style("▕{wide_bar}▏ {pos}/{len} images looked at"));
            bar.set_length(total as u64);
            bar.set_position(n_done as u64);
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        }
    }

    /// Says the end of a command that has only looked.
    pub(crate) fn say_dry(&self) {
        self.voice
            .say("--dry-run: nothing was done and nothing written");
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.voice.bar.finish_and_clear();
    }

    fn begin(&mut self, done_steps: u64, total_steps: u64) {
        self.total_steps = total_steps;
        self.begun = (Instant::now(), done_steps);
        // Of this run, not of the one before it in an ablation.
        self.loss = None;
        self.images_per_sec = None;
        // A run that is done already is opened like any other, and has nothing to continue.
        if done_steps > 0 && done_steps < total_steps {
            self.voice.say(&format!(
                "continuing after step {done_steps} of {total_steps}"
            ));
        }
        if self.has_bar {
            let bar = &self.voice.bar;
            bar.set_style(style("▕{wide_bar}▏ {pos}/{len} · first step"));
            bar.set_length(total_steps);
            bar.set_position(done_steps);
            // Steps of an earlier process say nothing of the speed of this one.
            bar.reset_eta();
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            bar.enable_steady_tick(Duration::from_secs(1));
        }
    }

    fn step(&mut self, record: &Record) {
        // Before the first step is done there is no time left to show.
        if self.has_bar && self.loss.is_none() {
            self.voice.bar.set_position(record.step);
            let template = "▕{wide_bar}▏ {pos}/{len} · {msg} · {eta} left";
            self.voice.bar.set_style(style(template));
        }
        // Begun with the first value, because an average from 0 would take many steps to arrive.
        let smooth = |shown: Option<f64>, value: f64| {
            Some(shown.map_or(value, |shown| shown + NEWEST * (value - shown)))
        };
        self.loss = smooth(self.loss, record.loss);
        self.images_per_sec = smooth(self.images_per_sec, record.images_per_sec);
        let (loss, speed) = (
            self.loss.unwrap_or_default(),
            self.images_per_sec.unwrap_or_default(),
        );
        let figures = format!("loss {loss:.4} · {speed:.1} images/s");
        if self.has_bar {
            self.voice.bar.set_position(record.step);
            self.voice.bar.set_message(figures);
        } else if self
            .last_line
            // The first step has its line at once, so that a log shows that the run works.
            .is_none_or(|last| last.elapsed() >= LINE_EVERY)
        {
            self.last_line = Some(Instant::now());
            let (step, total) = (record.step, self.total_steps);
            let left = self.time_left(step);
            self.voice
                .say(&format!("step {step}/{total} · {figures} · {left} left"));
        }
        if let Some(val_loss) = record.val_loss {
            let accuracy = record.val_accuracy.map_or_else(String::new, |share| {
                format!(" · held-out accuracy {:.2} %", 100.0 * share)
            });
            self.voice.say(&format!(
                "epoch {:.1} · loss {loss:.4} · held-out loss {val_loss:.4}{accuracy}",
                record.epoch
            ));
        }
    }

    fn time_left(&self, step: u64) -> HumanDuration {
        let (since, first) = self.begun;
        // Only the steps of this process: the time is its own too.
        let n_done = step.saturating_sub(first).max(1) as f64;
        let n_left = self.total_steps.saturating_sub(step) as f64;
        let left_secs = since.elapsed().as_secs_f64() * n_left / n_done;
        // A clock that was set by years must not end a run by a time too long to be said.
        HumanDuration(Duration::try_from_secs_f64(left_secs).unwrap_or(Duration::MAX))
    }

    fn bad_image(&mut self, image: &BadImage) {
        self.n_bad += 1;
        if self.n_bad <= MOST_NAMED {
            self.voice
                .say(&format!("warning: unreadable image {image}"));
        }
        if self.n_bad == MOST_NAMED {
            self.voice
                .say("further unreadable images are listed in the run's log.txt");
        }
    }

    fn write_json(&mut self, event: &Event<'_>) {
        // A run of days does not end because nobody reads its lines any more.
        if let (false, Some(value)) = (self.is_deaf, json::event(event)) {
            self.is_deaf = output::data(value).is_err();
            if self.is_deaf {
                output::say("warning: stdout is closed; the run continues without JSON lines");
            }
        }
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    style.progress_chars("█▉▊▋▌▍▎▏ ")
}

impl Observer for Progress {
    fn see(&mut self, event: &Event<'_>) {
        if self.as_json {
            self.write_json(event);
        }
        match event {
            Event::Note(text) => self.voice.say(&printable(text)),
            Event::Estimate(found) => {
                for line in found.lines(SystemTime::now()) {
                    self.voice.say(&printable(&line));
                }
            }
            Event::AllRuns { n_runs, secs } => {
                let words = lasting::words(*secs, SystemTime::now());
                self.voice
                    .say(&format!("time of all {n_runs} runs: {words}"));
            }
            Event::Point {
                name,
                number,
                n_points,
            } => {
                let line = format!("run {number} of {n_points}: {name}");
                self.voice.say(&line);
            }
            Event::Begin {
                done_steps,
                total_steps,
            } => self.begin(*done_steps, *total_steps),
            Event::Step(record) => self.step(record),
            Event::BadImage(image) => self.bad_image(image),
            _ => {}
        }
    }
}
