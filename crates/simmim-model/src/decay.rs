//! Which parameters weight decay leaves alone.

use crate::encoder::Encoder;
use simmim_autograd::ParameterSpec;

/// Whose rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecayRule {
    /// Vectors, biases, tokens and position tables are exempt.
    Standard,
    /// As the authors' pre-training computes it: position tables decay, and a ViT's mask token does.
    Paper,
}

/// Tokens and tables of positions, wherever they stand in a name.
const POSITIONS_AND_TOKENS: [&str; 5] = [
    "relative_position_bias_table",
    "mask_token",
    "cls_token",
    "pos_embed",
    "absolute_pos_embed",
];

/// Whether a parameter is exempt from weight decay.
///
/// Source: microsoft/SimMIM `optimizer.py`, `get_pretrain_param_groups`. Its list of keywords reaches the
/// comparison with `encoder.` before each, so that no keyword ever matches and the tables decay; the
/// [`DecayRule::Standard`] rule does what the list says.
pub fn exempt_from_decay(
    parameter: &ParameterSpec,
    rule: DecayRule,
    encoder: &dyn Encoder,
) -> bool {
    let name = parameter.name.as_str();
    if parameter.shape.len() <= 1 || name.rsplit('.').next() == Some("bias") {
        return true;
    }
    match rule {
        DecayRule::Paper => encoder.exempt_by_name().contains(&name),
        DecayRule::Standard => POSITIONS_AND_TOKENS
            .iter()
            .any(|&part| name.ends_with(part)),
    }
}
