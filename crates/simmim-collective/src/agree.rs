//! One rank's error is everybody's.

use std::error::Error as StdError;

use crate::collective::Collective;
use crate::error::Error;

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
    let own = result.as_ref().err().map(words).unwrap_or_default();
    let all = collective.all_gather(own.as_bytes())?;
    // Only now: the rank that has failed must take part in the exchange, too.
    let value = result?;
    let failed = all.iter().enumerate().find(|(_, words)| !words.is_empty());
    match failed {
        None => Ok(value),
        Some((rank, words)) => {
            let reason = String::from_utf8_lossy(words).into_owned();
            Err(Error::Failed { rank, reason }.into())
        }
    }
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
    use crate::threads::ThreadRank;

    #[test]
    fn an_error_of_one_rank_ends_all_with_its_words() {
        let found = ThreadRank::run(3, |rank| {
            let own = if rank.rank() == 1 {
                Err(Error::Left { rank: 7 })
            } else {
                Ok(rank.rank())
            };
            agree(rank, own)
        });
        let reason = "rank 7 of the training has ended".to_owned();
        let told = Err(Error::Failed { rank: 1, reason });
        assert_eq!(found, [told.clone(), Err(Error::Left { rank: 7 }), told]);
    }

    #[test]
    fn without_an_error_each_rank_keeps_its_own_result() {
        let found = ThreadRank::run(2, |rank| agree(rank, Ok::<_, Error>(rank.rank())));
        assert_eq!(found, [Ok(0), Ok(1)]);
        assert_eq!(agree(&Alone, Ok::<_, Error>(5)), Ok(5));
    }
}
