//! Images that several processes look at together: each at every so many-th batch, and rank 0 gets what is computed of all
//! of them, in their order. Batches are those of one process, so what is computed is the same to the bit.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use simmim_collective::{Collective, Error as RankError, agree};
use simmim_data::{BadImage, Batch, Loader, Reporter, Turn};

use crate::error::Error;

/// What was computed of a batch.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    /// Which image each row is of: those of the batch that could be read.
    pub(crate) entries: Vec<usize>,
    /// `[B, D]` each, of a width of its own; none where no image could be read.
    pub(crate) columns: Vec<Vec<f32>>,
}

/// Batches on their way, on every rank alike.
///
/// Whatever ends a rank is told to the others where they agree, before each round and at [`Walk::finish`], and ends them, too.
#[derive(Debug)]
pub(crate) struct Walk {
    ranks: Arc<dyn Collective>,
    loader: Loader,
    /// In each of which every rank takes a batch, if there is one left for it.
    rounds_left: u64,
    /// Computed, and not given out yet; on rank 0 alone.
    waiting: VecDeque<Part>,
    /// Whether the others know already that this ends in an error.
    is_told: bool,
}

impl Walk {
    /// Begins to make batches: those that `start` is told to, of `n_batches` in all.
    ///
    /// # Errors
    /// Those of `start`, on any rank.
    pub(crate) fn start(
        ranks: &Arc<dyn Collective>,
        n_batches: u64,
        start: impl FnOnce(Turn) -> Result<Loader, Error>,
    ) -> Result<Self, Error> {
        let turn = Turn {
            first: ranks.rank() as u64,
            every: ranks.world() as u64,
        };
        Ok(Self {
            loader: agree(&**ranks, start(turn))?,
            rounds_left: n_batches.div_ceil(turn.every),
            ranks: Arc::clone(ranks),
            waiting: VecDeque::new(),
            is_told: false,
        })
    }

    /// What `compute` makes of the next batch, in the order of the images; none behind the last one. On other ranks than the first
    /// there is never one: they come back when all is done.
    ///
    /// # Errors
    /// [`Error::Data`] for too many unreadable images, on all ranks together; [`Error::Ranks`].
    pub(crate) fn next(
        &mut self,
        compute: &mut dyn FnMut(&Batch) -> Vec<Vec<f32>>,
    ) -> Result<Option<Part>, Error> {
        while self.waiting.is_empty() && self.rounds_left > 0 {
            self.rounds_left -= 1;
            let own = self.own_part(compute);
            if self.ranks.is_alone() {
                self.waiting.extend(own?);
            } else {
                let done = self.share(own);
                // Known to the others: this rank has told them, or they have told it, or are gone.
                self.is_told = done.is_err();
                done?;
            }
        }
        Ok(self.waiting.pop_front())
    }

    fn own_part(
        &mut self,
        compute: &mut dyn FnMut(&Batch) -> Vec<Vec<f32>>,
    ) -> Result<Option<Part>, Error> {
        let Some(batch) = self.loader.next().transpose()? else {
            return Ok(None);
        };
        let part = Part {
            entries: batch.entry_idx.clone(),
            columns: if batch.is_empty() {
                Vec::new()
            } else {
                compute(&batch)
            },
        };
        self.loader.recycle(batch);
        Ok(Some(part))
    }

    /// Hands what every rank has computed in a round to rank 0.
    fn share(&mut self, own: Result<Option<Part>, Error>) -> Result<(), Error> {
        let ranks = Arc::clone(&self.ranks);
        let own = agree(&*ranks, own)?;
        let sent = to_bytes(&self.take_bad(), own.as_ref());
        for bytes in ranks.gather(&sent)? {
            let (bad, part) = of_bytes(&bytes);
            if let Err(error) = mark(self.reporter(), bad) {
                // The others meet it where they agree next.
                return agree(&*ranks, Err(error.into()));
            }
            self.waiting.extend(part);
        }
        Ok(())
    }

    /// The images that this rank could not read, since it was asked before.
    fn take_bad(&self) -> Vec<Bad> {
        let reporter = self.reporter();
        let found = reporter.take_found().into_iter();
        let bad = found.filter_map(|entry_idx| {
            let BadImage { name, reason, hint } = reporter.found(entry_idx)?;
            Some(Bad {
                entry_idx,
                name,
                reason,
                hint,
            })
        });
        bad.collect()
    }

    fn reporter(&self) -> &Arc<Reporter> {
        self.loader.plan().reporter()
    }

    /// The end, on all ranks: `own` is what came of all the parts here. Where another rank could not go on, or could not use
    /// what it got, that is an error here as well.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn finish<T, E: From<Error> + Display>(self, own: Result<T, E>) -> Result<T, E> {
        if self.is_told {
            return own;
        }
        let told = own.as_ref().map(|_| ()).map_err(|error| RankError::Failed {
            who: self.ranks.member(self.ranks.rank()),
            reason: error.to_string(),
        });
        let agreed = agree(&*self.ranks, told);
        let value = own?;
        agreed.map_err(Error::from)?;
        Ok(value)
    }
}

/// An image that a rank could not read, as it tells rank 0.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bad {
    entry_idx: usize,
    name: String,
    reason: String,
    hint: Option<String>,
}

fn mark(reporter: &Reporter, bad: Vec<Bad>) -> Result<(), simmim_data::Error> {
    for Bad {
        entry_idx,
        name,
        reason,
        hint,
    } in bad
    {
        reporter.mark_as(entry_idx, BadImage { name, reason, hint })?;
    }
    Ok(())
}

/// What a rank tells rank 0: pieces, each behind its length. First the unreadable images as JSON; then, where there is a part, its
/// entries and its columns.
fn to_bytes(bad: &[Bad], part: Option<&Part>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = |piece: &[u8]| {
        bytes.extend((piece.len() as u64).to_le_bytes());
        bytes.extend(piece);
    };
    piece(&serde_json::to_vec(bad).expect("text and numbers are plain JSON"));
    if let Some(Part { entries, columns }) = part {
        let entries = entries
            .iter()
            .flat_map(|entry| (*entry as u64).to_le_bytes());
        piece(&entries.collect::<Vec<_>>());
        for column in columns {
            let values = column.iter().flat_map(|value| value.to_le_bytes());
            piece(&values.collect::<Vec<_>>());
        }
    }
    bytes
}

fn of_bytes(bytes: &[u8]) -> (Vec<Bad>, Option<Part>) {
    let mut pieces = Pieces(bytes);
    let bad = pieces.next().unwrap_or_default();
    let bad = serde_json::from_slice(bad).expect("what another rank has written as JSON");
    let part = pieces.next().map(|entries| Part {
        entries: entries
            .as_chunks::<8>()
            .0
            .iter()
            .map(|entry| u64::from_le_bytes(*entry) as usize)
            .collect(),
        columns: pieces
            .map(|column| {
                let values = column.as_chunks::<4>().0.iter();
                values.map(|value| f32::from_le_bytes(*value)).collect()
            })
            .collect(),
    });
    (bad, part)
}

/// The pieces of what a rank has told.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<8>()?;
        let (piece, rest) = rest.split_at_checked(u64::from_le_bytes(*len) as usize)?;
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_collective::{Alone, Member, ThreadRank};
    use simmim_data::{
        BatchPlan, BatchSettings, CropSettings, DataSet, DecodeSettings, Normalisation, Pass,
        Split, Transform, Views,
    };

    /// Eleven images in batches of two; `n_bad` of them are none.
    fn plan(n_bad: usize) -> (tempfile::TempDir, Arc<BatchPlan>) {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..11_u8 {
            let path = folder.path().join(format!("{n:02}.png"));
            let (width, height, pixels) = (9, 9, vec![20 * n; 9 * 9 * 3]);
            let picture = simmim_picture::Picture {
                width,
                height,
                pixels,
            };
            if usize::from(n) < n_bad {
                std::fs::write(&path, b"no image").unwrap();
            } else {
                picture.write(&path).unwrap();
            }
        }
        let data = DataSet::open(folder.path().to_str().unwrap()).unwrap();
        let normalisation = Normalisation::imagenet();
        let views = Views {
            transform: Transform::new(CropSettings::default(), [8, 8], normalisation).unwrap(),
            masks: None,
            decoding: DecodeSettings::default(),
        };
        let settings = BatchSettings {
            seed: 0,
            batch_size: 2,
            n_micro: 1,
            rank: 0,
            world: 1,
        };
        let reporter = Arc::new(Reporter::new(3));
        let plan = BatchPlan::new(Arc::new(data), views, Split::all(11), settings, reporter);
        (folder, Arc::new(plan.unwrap()))
    }

    fn start(plan: &Arc<BatchPlan>, ranks: &Arc<dyn Collective>) -> Walk {
        let start = |turn| {
            let plan = Arc::clone(plan);
            Ok(Loader::start_in_turn(plan, Pass::All, turn, 1)?)
        };
        Walk::start(ranks, plan.n_all_batches(), start).unwrap()
    }

    /// Every image with the first value of its sample; where it is told to, it stops in the middle.
    fn walk(plan: &Arc<BatchPlan>, ranks: &Arc<dyn Collective>, stops: bool) -> Walked {
        let mut walk = start(plan, ranks);
        let mut found = Vec::new();
        let own = loop {
            let next = walk.next(&mut |batch| {
                let rows = batch.images.chunks(batch.images.len() / batch.len());
                vec![rows.map(|row| row[0]).collect()]
            });
            match next {
                Ok(Some(part)) => {
                    let rows = part.columns.into_iter().flatten();
                    found.extend(part.entries.into_iter().zip(rows));
                    if stops {
                        break Err(Error::SeveralLabels);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let own = walk.finish(own);
        Walked {
            found,
            error: own.err().map(|error| error.to_string()),
        }
    }

    #[derive(Debug, Default, PartialEq)]
    struct Walked {
        found: Vec<(usize, f32)>,
        error: Option<String>,
    }

    fn on_ranks(n: usize, n_bad: usize, stops: bool) -> (Vec<Walked>, Vec<Vec<BadImage>>) {
        let plans: Vec<_> = (0..n).map(|_| plan(n_bad)).collect();
        let ranks = ThreadRank::ranks(n).into_iter().zip(&plans);
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = ranks
                .map(|(rank, (_, plan))| {
                    let rank: Arc<dyn Collective> = Arc::new(rank);
                    scope.spawn(move || walk(plan, &rank, stops))
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let reported = |(folder, plan): &(tempfile::TempDir, Arc<BatchPlan>)| {
            let mut list = plan.reporter().list();
            let prefix = folder.path().display().to_string();
            for image in &mut list {
                image.name = image.name.replace(&prefix, "");
            }
            list
        };
        (found, plans.iter().map(reported).collect())
    }

    #[test]
    fn rank_0_gets_everything_in_order_and_the_others_nothing() {
        for n_bad in [0, 3] {
            let (_folder, plan) = plan(n_bad);
            let alone: Arc<dyn Collective> = Arc::new(Alone);
            let one = walk(&plan, &alone, false);
            assert_eq!(one.found.len(), 11 - n_bad);
            assert_eq!(one.error, None);
            for n in [2, 3, 7] {
                let (found, reported) = on_ranks(n, n_bad, false);
                assert_eq!(found[0], one);
                assert!(found[1..].iter().all(|it| *it == Walked::default()));
                // With the reasons of those that have tried.
                assert_eq!(reported[0].len(), n_bad);
                assert!(!format!("{:?}", reported[0]).contains("another process"));
            }
        }
    }

    #[test]
    fn unreadable_images_of_all_ranks_count_together() {
        // Each of three ranks has met two at most, and three are allowed.
        let (found, _) = on_ranks(3, 5, false);
        for walked in found {
            let error = walked.error.unwrap();
            assert!(error.contains("over the limit of 3"), "{error}");
        }
    }

    #[test]
    fn what_ends_rank_0_ends_all() {
        let (found, _) = on_ranks(3, 0, true);
        let said: Vec<String> = found.into_iter().filter_map(|it| it.error).collect();
        assert_eq!(said.len(), 3);
        let who = Member {
            rank: 0,
            host: None,
        };
        for others in &said[1..] {
            assert!(others.starts_with(&format!("{who} of the training has failed")));
        }
    }
}
