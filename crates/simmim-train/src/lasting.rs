//! How long something lasts, in words.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local};

/// When something ends that begins `now` and takes so many seconds, in local time; none beyond what a calendar holds.
pub fn ends(secs: f64, now: SystemTime) -> Option<DateTime<Local>> {
    let left = Duration::try_from_secs_f64(secs).ok()?;
    let end = now.checked_add(left)?;
    // `DateTime::from` panics where its calendar ends.
    let secs = end.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let end = DateTime::from_timestamp(i64::try_from(secs).ok()?, 0)?;
    Some(end.with_timezone(&Local))
}

/// How long it takes, and until when.
pub fn words(secs: f64, now: SystemTime) -> String {
    let until = ends(secs, now).map_or_else(String::new, |end| {
        format!(", until {}", end.format("%a %-d %b %Y, %H:%M"))
    });
    format!("about {}{until}", duration(secs))
}

/// A time as people say it.
pub(crate) fn duration(secs: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    let of = |unit: f64| (secs / unit) as u64;
    match secs {
        ..10.0 => format!("{} s", rounded(secs)),
        ..120.0 => format!("{secs:.0} s"),
        ..7200.0 => format!("{:.0} minutes", secs / MINUTE),
        ..172_800.0 => format!("{} h {} min", of(HOUR), (secs % HOUR / MINUTE) as u64),
        _ => format!("{} days {} h", of(DAY), (secs % DAY / HOUR) as u64),
    }
}

/// Two digits, or the whole number.
pub(crate) fn rounded(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.2}"),
        ..10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = [0.034, 2.56, 75.0, 600.0, 9_660.0, 400_000.0].map(duration);
        let expected = [
            "0.03 s",
            "2.6 s",
            "75 s",
            "10 minutes",
            "2 h 41 min",
            "4 days 15 h",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn the_end_is_said_in_local_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let end = ends(9_660.0, now).unwrap();
        assert_eq!(end.timestamp(), 1_800_009_660);
        let said = words(9_660.0, now);
        let hour = end.format("%H:%M").to_string();
        assert!(
            said.starts_with("about 2 h 41 min, until ") && said.ends_with(&hour),
            "{said}"
        );
    }

    #[test]
    fn what_lasts_beyond_any_calendar_has_words_too() {
        for secs in [1e15, 1e30, f64::INFINITY] {
            let said = words(secs, SystemTime::now());
            assert!(
                said.starts_with("about ") && !said.contains("until"),
                "{said}"
            );
        }
    }
}
