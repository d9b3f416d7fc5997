//! One line of a table of names: what an array is called here and there, and how its values lie.

use simmim_checkpoint::Array;

use crate::pattern::Pattern;

/// Parts of a merged token: four neighbours.
const NEIGHBOURS: usize = 4;
/// Theirs counts the neighbours row by row; ours down first.
const PLACES: [usize; NEIGHBOURS] = [0, 2, 1, 3];

/// What an array of ours is in a file of another library.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) ours: Pattern,
    /// One array, or several that ours is made of.
    pub(crate) theirs: Vec<Pattern>,
    pub(crate) how: How,
}

/// How the values of one side become those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// They are the same.
    Same,
    /// Ours are theirs one after the other: queries, keys and values.
    Stacked,
    /// Ours are one third of theirs, 0 to 2: of a bias whose part for keys the other side takes as zero.
    Third(usize),
    /// Theirs has no leading axis of length 1.
    Token,
    /// The four neighbours that a merging reads lie innermost in theirs, as `torch.nn.Unfold` lays them out, and right before down.
    ///
    /// Source: open-mmlab/mmpretrain `tools/model_converters/mixmim_to_mmpretrain.py`, `correct_unfold_reduction_order` and
    /// `correct_unfold_norm_order`.
    Unfolded,
}

impl How {
    /// In words, for a report; none where values are as they were.
    pub(crate) fn words(self) -> Option<&'static str> {
        match self {
            Self::Same => None,
            Self::Stacked => Some("queries, keys and values put together"),
            Self::Third(_) => Some("biases of queries and values taken apart"),
            Self::Token => Some("an axis added"),
            Self::Unfolded => Some("merged neighbours put in order"),
        }
    }

    /// The shape of ours; none where theirs are not of shapes that fit.
    pub(crate) fn shape(self, theirs: &[Vec<usize>]) -> Option<Vec<usize>> {
        let first = theirs.first()?;
        match self {
            Self::Same => Some(first.clone()),
            Self::Stacked => {
                let (_, inner) = first.split_first()?;
                let mut n_rows = 0_usize;
                for shape in theirs {
                    let (rows, own) = shape.split_first()?;
                    n_rows = n_rows.checked_add(*rows).filter(|_| own == inner)?;
                }
                Some([&[n_rows], inner].concat())
            }
            Self::Third(_) => match first.as_slice() {
                [n] if n.is_multiple_of(3) => Some(vec![n / 3]),
                _ => None,
            },
            Self::Token => Some(std::iter::once(1).chain(first.iter().copied()).collect()),
            Self::Unfolded => {
                let last = first.last()?;
                last.is_multiple_of(NEIGHBOURS).then(|| first.clone())
            }
        }
    }

    /// The values of ours, for arrays whose shapes fit ([`How::shape`]).
    pub(crate) fn apply(self, shape: Vec<usize>, theirs: Vec<Array>) -> Array {
        let mut parts = theirs.into_iter().map(|array| array.values);
        let values = match self {
            Self::Same | Self::Token | Self::Stacked => parts.flatten().collect(),
            Self::Third(part) => {
                let n = shape.iter().product::<usize>();
                let all = parts.next().unwrap_or_default();
                all[part * n..(part + 1) * n].to_vec()
            }
            Self::Unfolded => {
                let width = shape.last().copied().unwrap_or(NEIGHBOURS);
                let all = parts.next().unwrap_or_default();
                all.chunks(width).flat_map(from_unfolded).collect()
            }
        };
        Array { shape, values }
    }
}

impl How {
    /// Theirs of ours, in `n` arrays. A [`How::Third`] is put together by whoever has all three.
    pub(crate) fn undo(self, ours: Array, n: usize) -> Vec<Array> {
        match self {
            Self::Same | Self::Third(_) => vec![ours],
            Self::Token => vec![Array {
                shape: ours.shape[1..].to_vec(),
                ..ours
            }],
            Self::Stacked => {
                let mut shape = ours.shape;
                shape[0] /= n;
                let length = ours.values.len() / n;
                let parts = ours.values.chunks(length.max(1));
                parts
                    .map(|values| Array {
                        shape: shape.clone(),
                        values: values.to_vec(),
                    })
                    .collect()
            }
            Self::Unfolded => {
                let width = ours.shape.last().copied().unwrap_or(NEIGHBOURS);
                let values = ours.values.chunks(width).flat_map(to_unfolded).collect();
                vec![Array {
                    shape: ours.shape,
                    values,
                }]
            }
        }
    }
}

/// A row of ours in their order: the inverse of [`from_unfolded`].
fn to_unfolded(row: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let width = row.len() / NEIGHBOURS;
    // The order of the places is its own inverse.
    (0..width).flat_map(move |channel| {
        PLACES
            .into_iter()
            .map(move |place| row[place * width + channel])
    })
}

/// A row of theirs in our order: neighbours outermost, down before right.
fn from_unfolded(row: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let width = row.len() / NEIGHBOURS;
    PLACES
        .into_iter()
        .flat_map(move |place| (0..width).map(move |channel| row[channel * NEIGHBOURS + place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], values: &[f32]) -> Array {
        Array {
            shape: shape.to_vec(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn parts_are_put_together_and_taken_apart() {
        let parts = [array(&[1, 2], &[1.0, 2.0]), array(&[2, 2], &[3.0; 4])];
        let shapes: Vec<_> = parts.iter().map(|part| part.shape.clone()).collect();
        let shape = How::Stacked.shape(&shapes).unwrap();
        let found = How::Stacked.apply(shape, parts.to_vec());
        assert_eq!(found, array(&[3, 2], &[1.0, 2.0, 3.0, 3.0, 3.0, 3.0]));
        assert_eq!(How::Stacked.shape(&[vec![1, 2], vec![1, 3]]), None);

        let whole = array(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let found = How::Third(2).apply(vec![2], vec![whole]);
        assert_eq!(found.values, [5.0, 6.0]);
        assert_eq!(How::Third(0).shape(&[vec![7]]), None);
    }

    #[test]
    fn merged_neighbours_stand_outermost_and_down_comes_first() {
        // Two channels; each value says its channel and the place of its neighbour, row by row.
        let row = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let found = How::Unfolded.apply(vec![8], vec![array(&[8], &row)]);
        assert_eq!(found.values, [0.0, 10.0, 2.0, 12.0, 1.0, 11.0, 3.0, 13.0]);
    }
}
