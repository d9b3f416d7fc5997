//! First values of weights.

use simmim_autograd::Init;

/// The standard deviation of first values. Source: microsoft/SimMIM `models/`, as in BEiT and timm.
const STD: f32 = 0.02;
/// The width for which [`STD`] is made, that of ViT-B: it is close to PyTorch's own rule there, 1 / √(3 · 768) = 0.0208.
const WIDTH: f32 = 768.0;
/// A hundred deviations: no value is ever cut off.
const NO_BOUND: f32 = 2.0;

/// How first values of weights, tokens and vectors of positions are drawn from a normal distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitRule {
    /// Deviation 0.02, cut off at ±2, which is a hundred deviations: timm's default, practically not at all.
    Standard,
    /// Deviation 0.02, cut off at one deviation, as the authors' pre-training model computes it.
    Paper,
    /// Deviation 0.02 · √(768 / width), not cut off either: for a width of 768 as [`InitRule::Standard`], and for a narrower
    /// network larger, so that a layer's results start as large as in a wide one.
    Width,
}

impl InitRule {
    /// First values of a layer that reads tokens of this width, or of tokens of it, multiplied by `gain`.
    pub(crate) fn normal(self, width: usize, gain: f32) -> Init {
        let (std, bound) = match self {
            Self::Standard => (STD, NO_BOUND),
            Self::Paper => (STD, STD),
            Self::Width => (STD * (WIDTH / width as f32).sqrt(), NO_BOUND),
        };
        Init::TruncatedNormal { std, bound, gain }
    }
}

/// First values by the standard rule, of what has no width of tokens: tables, and the layers of heads.
pub(crate) fn standard() -> Init {
    Init::TruncatedNormal {
        std: STD,
        bound: NO_BOUND,
        gain: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_layers_start_larger_by_the_width_rule_alone() {
        let deviation = |rule: InitRule, width| match rule.normal(width, 1.0) {
            Init::TruncatedNormal { std, .. } => std,
            other => panic!("{other:?}"),
        };
        assert_eq!(deviation(InitRule::Width, 768), 0.02);
        assert_eq!(deviation(InitRule::Width, 192), 0.04);
        assert_eq!(deviation(InitRule::Standard, 192), 0.02);
        assert_eq!(deviation(InitRule::Paper, 192), 0.02);
    }
}
