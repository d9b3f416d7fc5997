//! How tokens attend to each other, and how that is shared out.

use super::group::Group;
use super::part::Part;
use super::windows::Windows;
use rayon::prelude::*;
use simmim_device::{Heads, Precision};
use std::ops::Range;

/// How tokens attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct Pattern<'a> {
    /// Sizes.
    pub dims: Heads,
    /// `[N, T, T]`, added to the logits.
    pub bias: Option<&'a [f32]>,
    /// Windows of each image; without them all tokens of an image attend to each other.
    pub windows: Option<Windows<'a>>,
    /// Of the products; the softmax is f32 always.
    pub precision: Precision,
}

/// What a thread is likely to work on next.
#[derive(Clone, Copy)]
pub(super) struct Next<'a> {
    pub(super) group: Group<'a>,
    /// How far its columns lie from those of the heads before.
    pub(super) shift: isize,
}

impl<'a> Pattern<'a> {
    /// L, tokens of an image.
    pub(super) fn image_tokens(self) -> usize {
        self.windows.map_or(self.dims.tokens, Windows::n_tokens)
    }

    /// Groups of tokens that attend to each other in one image.
    pub(super) fn n_windows(self) -> usize {
        self.image_tokens() / self.dims.tokens
    }

    /// The tokens of a group, among all groups of a batch.
    pub(super) fn group(self, idx: usize) -> Group<'a> {
        let tokens = self.dims.tokens;
        let Some(windows) = self.windows else {
            return Group {
                idx,
                first_row: idx * tokens,
                order: &[],
                regions: &[],
            };
        };
        let (order, regions) = windows.window(idx % self.n_windows(), tokens);
        Group {
            idx,
            first_row: idx / self.n_windows() * self.image_tokens(),
            order,
            regions,
        }
    }

    /// The groups of a task, each with what comes after it: the next group, or for the last one what the next task begins with.
    pub(super) fn and_next(
        self,
        part: &Part,
        groups: Range<usize>,
        n_groups: usize,
    ) -> impl Iterator<Item = (Group<'a>, Option<Next<'a>>)> {
        let Part { dims, heads, .. } = part;
        let (n, heads, all) = (heads.len(), heads.clone(), dims.heads);
        groups.clone().map(move |idx| {
            let (next, first_head) = if idx + 1 < groups.end || n == all {
                (idx + 1, heads.start)
            } else if heads.end < all {
                (groups.start, heads.end)
            } else {
                (groups.end, 0)
            };
            let next = (next < n_groups).then(|| Next {
                group: self.group(next),
                shift: (first_head as isize - heads.start as isize) * dims.head_dim as isize,
            });
            (self.group(idx), next)
        })
    }

    pub(super) fn assert_fits<T>(self, qkv: &[T], out: &[T]) {
        let (dims, image) = (self.dims, self.image_tokens() * self.dims.width());
        assert!(
            out.len().is_multiple_of(image) && qkv.len() == 3 * out.len(),
            "attention: lengths differ"
        );
        assert!(
            self.image_tokens().is_multiple_of(dims.tokens),
            "attention: {} tokens in windows of {}",
            self.image_tokens(),
            dims.tokens
        );
        let len = dims.heads * dims.logits_len();
        assert!(
            self.bias.is_none_or(|bias| bias.len() == len),
            "attention: the bias is not [{}, {}, {}]",
            dims.heads,
            dims.tokens,
            dims.tokens
        );
    }
}

impl Pattern<'_> {
    /// Calls `run` with the number of a part, some heads, and the groups of the part, in parallel. Parts depend on the number of
    /// groups alone. Of whole images a task takes one head; of windows all, so that it reads whole rows.
    pub(super) fn in_parts(
        self,
        n_groups: usize,
        n_parts: usize,
        run: impl Fn(usize, Part, Range<usize>) + Sync,
    ) {
        let n_parts = n_parts.min(n_groups);
        let (each, n_shares) = match self.windows {
            Some(_) => (self.dims.heads, 1),
            None => (1, self.dims.heads),
        };
        (0..n_parts * n_shares).into_par_iter().for_each(|task| {
            let (part, share) = (task / n_shares, task % n_shares);
            let groups = part * n_groups / n_parts..(part + 1) * n_groups / n_parts;
            let heads = Part {
                dims: self.dims,
                heads: share * each..(share + 1) * each,
                precision: self.precision,
            };
            run(part, heads, groups);
        });
    }
}
