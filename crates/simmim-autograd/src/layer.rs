//! What a model says of a parameter when it names it, besides shape and first values.
//!
//! The engine itself asks for neither. They go with the parameter so that whoever groups parameters for an optimiser,
//! or fills them from a file, has no need to read them out of its name.

/// Where in a model a parameter lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Before the blocks.
    Embedding,
    /// In the block of this number, counted from 0 through the whole encoder.
    Block(usize),
    /// In the encoder, but in none of the above: its last norm, and what all blocks share.
    Rest,
    /// Behind the encoder.
    Head,
}

impl Layer {
    /// The number of the layer for layer-wise learning rates, in an encoder of so many blocks: 0 for the embedding,
    /// then one a block, then one for all that is left.
    ///
    /// Source: microsoft/SimMIM `optimizer.py`, `get_vit_layer`, `get_swin_layer`.
    pub fn number(self, n_blocks: usize) -> usize {
        match self {
            Self::Embedding => 0,
            Self::Block(idx) => idx + 1,
            // The last number learns at the full rate. What the source does not name falls to it, as the head does.
            Self::Rest | Self::Head => n_blocks + 1,
        }
    }
}

/// What a parameter is, as far as anything treats it by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// A weight, a bias, or a factor of values.
    Weight,
    /// A token that stands for a whole image.
    ClassToken,
    /// A token that stands for hidden patches.
    MaskToken,
    /// A vector for each position.
    AbsolutePositions,
    /// A table of biases for pairs of positions.
    PositionTable,
    /// Part of a network that gives biases for pairs of positions.
    PositionNetwork,
    /// A factor of the logits of attention.
    Temperature,
}
