//! What happens in a run as JSON, one line an event.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use simmim_train::{Estimate, Event, Outcome, lasting};

use super::failure;

/// The event as JSON; its kind stands under `event`.
pub(crate) fn event(event: &Event<'_>) -> Option<Value> {
    Some(match event {
        Event::Note(text) => json!({"event": "note", "text": text}),
        Event::Estimate(found) => estimate(found),
        Event::AllRuns { n_runs, secs } => {
            json!({"event": "all_runs", "n_runs": n_runs, "secs": secs, "ends": end(*secs)})
        }
        Event::Point {
            name,
            number,
            n_points,
        } => {
            json!({"event": "point", "name": name, "number": number, "n_points": n_points})
        }
        Event::Begin {
            done_steps,
            total_steps,
        } => {
            json!({"event": "begin", "done_steps": done_steps, "total_steps": total_steps})
        }
        Event::Step(record) => {
            let mut value = json!({"event": "step", "step": record.step, "time": record.time});
            for (name, metric) in record.metrics() {
                value[name] = json!(metric);
            }
            value
        }
        Event::BadImage(image) => {
            json!({"event": "bad_image", "name": image.name, "reason": image.reason})
        }
        Event::Saved(path) => json!({"event": "saved", "path": path}),
        Event::Picture(path) => json!({"event": "picture", "path": path}),
        // A new kind of event has no line until its form is settled: programs rely on what is written once.
        _ => return None,
    })
}

/// What a run takes, from now on.
fn estimate(found: &Estimate) -> Value {
    let shorter = found.shorter.iter();
    let shorter = shorter.map(|it| json!({"setting": it.setting, "factor": it.factor}));
    json!({
        "event": "estimate",
        "secs": found.secs,
        "ends": end(found.secs),
        "steps": found.n_steps,
        "step_secs": found.step_secs,
        "images_per_sec": found.images_per_sec,
        "loader_images_per_sec": found.loader_images_per_sec,
        "rough": found.is_rough,
        "memory_bytes": found.memory_bytes,
        "disk_bytes": found.disk_bytes,
        "free_bytes": found.free_bytes,
        "shorter": shorter.collect::<Vec<_>>(),
    })
}

/// When what takes so long ends, in local time.
fn end(secs: f64) -> Option<String> {
    lasting::ends(secs, SystemTime::now()).map(|end| end.to_rfc3339())
}

/// How a command failed: the last line of any of them.
pub(crate) fn error(error: &anyhow::Error) -> Value {
    json!({
        "event": "error",
        "message": failure::causes(error),
        "hint": failure::hint_of(error),
        "exit_code": failure::exit_code(error),
    })
}

/// The last line of a run; `report` is the page that was written.
pub(crate) fn done(outcome: &Outcome, report: Option<&Path>, n_bad: usize) -> Value {
    json!({
        "event": "done",
        "run": outcome.out,
        "finished": outcome.is_finished(),
        "done_steps": outcome.done_steps,
        "total_steps": outcome.total_steps,
        "first_val_loss": outcome.first_val_loss,
        "last_val_loss": outcome.last_val_loss,
        "best_val_accuracy": outcome.best_val_accuracy,
        "stopped_early": outcome.stopped_early,
        "picture": outcome.picture,
        "report": report,
        "bad_images": n_bad,
    })
}
