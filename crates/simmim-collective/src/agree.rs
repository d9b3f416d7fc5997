//! One rank's error is everybody's.

use std::error::Error as StdError;

use crate::collective::Collective;
use crate::error::Error;

/// What a rank that has failed sends before its words.
const FAILED: char = '!';

/// The rank's own result where all ranks have one; an error on every rank where any has met one: its own on the rank that
/// has, [`Error::Failed`] with the words of the first such rank on the others.
///
/// Without this a rank that ends leaves the others waiting for it in their next sum.
///
/// # Errors
/// As above, and [`Error::Left`].
pub fn agree<T, E: From<Error> + StdError>(
    collective: &dyn Collective,
    result: Result<T, E>,
) -> Result<T, E> {
    if collective.is_alone() {
        return result;
    }
    // One number in the usual case: words are exchanged only where somebody has some.
    let mut n_failed = [f64::from(u8::from(result.is_err()))];
    collective.all_reduce_f64(&mut n_failed)?;
    if n_failed == [0.0] {
        return result;
    }
    // A mark before the words: an error without any is one, too.
    let marked = |error| format!("{FAILED}{}", words(error));
    let own = result.as_ref().err().map(marked).unwrap_or_default();
    let all = collective.all_gather(own.as_bytes())?;
    // Only now: the rank that has failed must take part in the exchange, too.
    let value = result?;
    let said = |words: &Vec<u8>| {
        let words = String::from_utf8_lossy(words).into_owned();
        words.strip_prefix(FAILED).map(str::to_owned)
    };
    match all
        .iter()
        .map(said)
        .enumerate()
        .find(|(_, said)| said.is_some())
    {
        Some((rank, Some(reason))) => {
            let who = collective.member(rank);
            Err(Error::Failed { who, reason }.into())
        }
        _ => Ok(value),
    }
}

/// What rank 0 makes or finds, there alone: none on the other ranks, which wait for it. Its error is everybody's.
///
/// # Errors
/// As [`agree`].
pub fn on_first<T, E: From<Error> + StdError>(
    collective: &dyn Collective,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<Option<T>, E> {
    let own = if collective.is_first() {
        work().map(Some)
    } else {
        Ok(None)
    };
    agree(collective, own)
}

/// An error with its causes, in one line that steers no terminal.
fn words<E: StdError>(error: &E) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        // A transparent error has the words of its cause.
        let more = source.to_string();
        if !words.ends_with(&more) {
            words = format!("{words}: {more}");
        }
        cause = source.source();
    }
    words.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::Alone;
    use crate::member::Member;
    use crate::threads::ThreadRank;

    fn member(rank: usize) -> Member {
        Member { rank, host: None }
    }

    #[test]
    fn an_error_of_one_rank_ends_all_with_its_words() {
        let own = Error::Left { who: member(7) };
        let found = ThreadRank::run(3, |rank| {
            let own = if rank.rank() == 1 {
                Err(own.clone())
            } else {
                Ok(rank.rank())
            };
            agree(rank, own)
        });
        let reason = "rank 7 of the training has ended".to_owned();
        let who = member(1);
        let told = Err(Error::Failed { who, reason });
        assert_eq!(found, [told.clone(), Err(own), told]);
    }

    /// An error that says nothing.
    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("")]
    struct Silent;

    impl From<Error> for Silent {
        fn from(_: Error) -> Self {
            Self
        }
    }

    #[test]
    fn an_error_without_words_ends_all_as_well() {
        let found = ThreadRank::run(2, |rank| {
            let own = if rank.rank() == 0 {
                Err(Silent)
            } else {
                Ok(())
            };
            agree(rank, own)
        });
        assert_eq!(found, [Err(Silent), Err(Silent)]);
    }

    #[test]
    fn without_an_error_each_rank_keeps_its_own_result() {
        let found = ThreadRank::run(2, |rank| agree(rank, Ok::<_, Error>(rank.rank())));
        assert_eq!(found, [Ok(0), Ok(1)]);
        assert_eq!(agree(&Alone, Ok::<_, Error>(5)), Ok(5));
    }
}
