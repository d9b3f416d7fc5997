//! Which parameters weight decay leaves alone.

use crate::encoder::Encoder;
use simmim_autograd::{ParameterKind, ParameterSpec};

/// Whose rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecayRule {
    /// Vectors, biases, tokens and position tables are exempt.
    Standard,
    /// As the authors' pre-training computes it: position tables decay, and a ViT's mask token does. Their fine-tuning
    /// exempts a Swin transformer's tables, as [`DecayRule::Standard`] does, and lets a ViT's decay.
    Paper,
}

/// Whether a parameter is exempt from weight decay.
///
/// Source: [`DecayRule::Standard`] exempts what the keywords of microsoft/SimMIM and microsoft/Swin-Transformer
/// `models/`, both versions, name. In microsoft/SimMIM `optimizer.py`, `get_pretrain_param_groups`, that list reaches
/// the comparison with `encoder.` before each keyword, so that none ever matches and the tables decay:
/// [`DecayRule::Paper`] does the same.
pub fn exempt_from_decay(
    parameter: &ParameterSpec,
    rule: DecayRule,
    encoder: &dyn Encoder,
) -> bool {
    // Biases, and the scales of norms and branches; both rules agree on these.
    if parameter.shape.len() <= 1 {
        return true;
    }
    match rule {
        DecayRule::Paper => encoder.exempt_kinds().contains(&parameter.kind),
        DecayRule::Standard => parameter.kind != ParameterKind::Weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RelativePositions, Vit, VitConfig};
    use simmim_autograd::ParameterSpecs;

    #[test]
    fn the_standard_rule_exempts_tokens_and_positions_and_the_paper_rule_decays_two_of_them() {
        let config = VitConfig {
            depth: 1,
            absolute_positions: true,
            relative_positions: RelativePositions::PerBlock,
            ..VitConfig::default()
        };
        let mut specs = ParameterSpecs::default();
        let vit = Vit::new(&config, "encoder.", &mut specs);
        let decayed = |rule: DecayRule| -> Vec<&str> {
            let all = specs.iter();
            all.filter(|spec| !exempt_from_decay(spec, rule, &vit))
                .map(|spec| spec.name.as_str())
                .collect()
        };
        let matrices = [
            "patch_embed.proj",
            "blocks.0.attn.qkv",
            "blocks.0.attn.proj",
            "blocks.0.mlp.fc1",
            "blocks.0.mlp.fc2",
        ];
        let matrices = matrices.map(|name| format!("encoder.{name}.weight"));
        assert_eq!(decayed(DecayRule::Standard), matrices);
        let mut paper = decayed(DecayRule::Paper);
        paper.retain(|name| !matrices.iter().any(|matrix| matrix == name));
        let table = "encoder.blocks.0.attn.relative_position_bias_table";
        assert_eq!(paper, ["encoder.mask_token", table]);
    }
}
