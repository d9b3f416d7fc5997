//! How each library names the arrays of each family of models: tables, and nothing else.

mod huggingface;
mod mmpretrain;
mod official;
mod table;
mod timm;
mod torchvision;

pub use table::{Format, UnknownFormat};

pub(crate) use table::Dialect;

/// All of them; where two explain a file equally well, the first counts.
pub(crate) const ALL: &[&Dialect] = &[
    // What the two name alike is timm's: the authors' own ViTs have tables, scales or biases that it does not have.
    &timm::VIT,
    &timm::SWIN,
    &timm::SWIN_V2,
    &official::VIT,
    &official::SWIN,
    &official::SWIN_V2,
    &huggingface::VIT,
    &huggingface::BEIT,
    &huggingface::DINO_V2,
    &huggingface::SWIN,
    &huggingface::SWIN_V2,
    &torchvision::VIT,
    &torchvision::SWIN,
    &torchvision::SWIN_V2,
    &mmpretrain::VIT,
    &mmpretrain::BEIT,
    &mmpretrain::SWIN,
    &mmpretrain::SWIN_V2,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_pattern_and_every_word_names_its_format() {
        for dialect in ALL {
            assert!(dialect.rules().len() > 10, "{dialect:?}");
        }
        for format in Format::ALL {
            assert_eq!(format.word().parse(), Ok(format));
        }
        assert!("pytorch".parse::<Format>().is_err());
    }
}
