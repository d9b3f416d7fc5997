//! Ranks that are processes.

use std::sync::Arc;
use std::time::Duration;

use crate::collective::Collective;
use crate::error::Error;

/// A rank that is a process of its own, started together with the others by a launcher: it can wait with patience, and end.
pub trait Launched: Collective {
    /// The place of this rank among those of its machine.
    fn place_on_machine(&self) -> usize;

    /// How many ranks there are, and by what they reach each other; and what else the user should know.
    fn describe(&self) -> Vec<String>;

    /// Sets how long the others are waited for.
    fn set_timeout(&self, secs: u64);

    /// Waits for all ranks for as long as that; without an end where that is none.
    ///
    /// # Errors
    /// [`Error::Silent`] where they have not come within that time; where another rank has ended.
    fn meet(&self, patience: Option<Duration>) -> Result<(), Error>;

    /// Waits until all ranks have come to their end, and hands each one's last words to all. Only [`Launched::finish`] and
    /// [`Launched::abort`] may follow.
    ///
    /// # Errors
    /// As [`Launched::meet`].
    fn farewell(&self, words: &str, patience: Option<Duration>) -> Result<Vec<String>, Error> {
        self.meet(patience)?;
        let all = self.all_gather(words.as_bytes())?;
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        Ok(all.iter().map(text).collect())
    }

    /// Leaves the others, on the thread that joined; all ranks do.
    ///
    /// # Errors
    /// [`Error::Lost`].
    fn finish(&self) -> Result<(), Error>;

    /// Ends all ranks, this process with `code`.
    fn abort(self: Arc<Self>, code: u8) -> !;
}
