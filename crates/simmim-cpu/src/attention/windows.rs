//! Which tokens of an image attend to each other.

/// Added to the logit of two tokens that only the roll has brought into one window.
///
/// Source: microsoft/Swin-Transformer `models/swin_transformer.py`, `SwinTransformerBlock`: −100, not −∞.
pub const OTHER_REGION: f32 = -100.0;

/// The tokens of an image in an order that holds each of them once, as is proved when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order(Vec<u32>);

impl Order {
    /// The order in which place i has token `tokens[i]`.
    ///
    /// # Panics
    /// When a token of 0 to the number of places is missing.
    pub fn new(tokens: &[u32]) -> Self {
        let mut seen = vec![false; tokens.len()];
        for &token in tokens {
            let token = token as usize;
            assert!(
                token < seen.len() && !seen[token],
                "attention: windows hold each token once"
            );
            seen[token] = true;
        }
        Self(tokens.to_vec())
    }
}

/// Which tokens of an image attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    order: &'a [u32],
    regions: &'a [u32],
}

impl<'a> Windows<'a> {
    /// Windows by the token at each of their places, `order` `[G, T]`, and a number for each place,
    /// `regions` `[G, T]`: places of one window whose numbers differ see each other only by [`OTHER_REGION`].
    /// Empty `regions` stand for equal numbers.
    ///
    /// # Panics
    /// When `regions` are of another length.
    pub fn new(order: &'a Order, regions: &'a [u32]) -> Self {
        let order = &order.0[..];
        assert!(
            regions.is_empty() || regions.len() == order.len(),
            "attention: regions of another length"
        );
        Self { order, regions }
    }

    /// Tokens of an image.
    pub(super) fn n_tokens(self) -> usize {
        self.order.len()
    }

    /// The tokens of window `idx`, and their regions where these differ.
    pub(super) fn window(self, idx: usize, tokens: usize) -> (&'a [u32], &'a [u32]) {
        let range = idx * tokens..(idx + 1) * tokens;
        let regions = self.regions.get(range.clone()).unwrap_or(&[]);
        let differ = regions.iter().any(|region| *region != regions[0]);
        (&self.order[range], if differ { regions } else { &[] })
    }
}
