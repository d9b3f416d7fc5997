use simmim_autograd::Parameters;
use simmim_checkpoint::Archive;
use simmim_model::EncoderConfig;

use crate::Error;

#[derive(Debug)]
pub(crate) struct Transplanted {
    pub loaded: usize,
}

pub(crate) fn transplant(
    archive: &Archive,
    _encoder: &EncoderConfig,
    parameters: &mut Parameters,
) -> Result<Transplanted, Error> {
    let names: Vec<String> = parameters
        .iter()
        .map(|(_, spec, _)| spec.name.clone())
        .collect();
    let mut loaded = 0;
    for name in names {
        if name.starts_with("head.") || name.starts_with("fc_norm.") {
            continue;
        }
        let from =
            if name.ends_with("attn.relative_position_bias_table") && name.starts_with("blocks") {
                "encoder.rel_pos_bias.relative_position_bias_table".to_owned()
            } else {
                format!("encoder.{name}")
            };
        let array = archive.array(&from)?;
        parameters
            .set(&name, &array.shape, &array.values)
            .map_err(|source| Error::Weights {
                path: archive.path().to_owned(),
                source,
            })?;
        loaded += 1;
    }
    Ok(Transplanted { loaded })
}
