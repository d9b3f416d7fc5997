//! From an error to what the user reads and to the exit code.

use simmim_train::config::ConfigError;

use super::output::StdoutError;

/// Exit code: the run failed.
const FAILED: u8 = 1;
/// Exit code: the command line or the configuration has to change.
const USAGE: u8 = 2;

/// A command line that cannot be obeyed, with what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Usage {
    message: String,
    hint: &'static str,
}

impl Usage {
    pub(crate) fn new(message: impl Into<String>, hint: &'static str) -> Self {
        Self {
            message: message.into(),
            hint,
        }
    }
}

/// 0 where the reader of stdout has gone, 2 where the command line or the configuration is at fault, 1 for
/// everything that files, disks and numbers do.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error
        .downcast_ref::<StdoutError>()
        .is_some_and(StdoutError::is_closed)
    {
        return 0;
    }
    if error.chain().any(is_usage) {
        USAGE
    } else {
        FAILED
    }
}

fn is_usage(cause: &(dyn std::error::Error + 'static)) -> bool {
    use simmim_train::Error as E;
    use simmim_train::ablate::GridError as G;
    if let Some(error) = cause.downcast_ref::<E>() {
        return match error {
            E::Config(_)
            | E::Grid(
                G::UnknownGrid { .. }
                | G::UnknownKey { .. }
                | G::Type { .. }
                | G::Fixed { .. }
                | G::Twice { .. }
                | G::SamePoint { .. }
                | G::Misfits { .. }
                | G::Contradicts { .. }
                | G::NotAnAblation { .. },
            )
            | E::OtherTask { .. }
            | E::OtherEncoder { .. }
            | E::NoFeature { .. }
            | E::UnknownFormat { .. }
            | E::UnknownVariant { .. }
            | E::Geometry { .. }
            | E::UnknownRecipe { .. }
            | E::FolderNotEmpty { .. }
            | E::NotARun { .. } => true,
            E::Data(error) => is_setting(error),
            _ => false,
        };
    }
    cause.is::<Usage>()
        || cause.is::<ConfigError>()
        || cause
            .downcast_ref::<simmim_data::Error>()
            .is_some_and(is_setting)
}

/// Whether a setting is at fault rather than an image.
fn is_setting(error: &simmim_data::Error) -> bool {
    use simmim_data::Error as E;
    matches!(
        error,
        E::Pattern { .. }
            | E::CropRange { .. }
            | E::Normalisation { .. }
            | E::Zero { .. }
            | E::PatchSize { .. }
            | E::CellSize { .. }
            | E::MaskRatio { .. }
            | E::MaskImageSize { .. }
            | E::BatchDivision { .. }
            | E::Rank { .. }
            | E::TooFewImages { .. }
            | E::RandAugment { .. }
            | E::Probability { .. }
            | E::ErasingRange { .. }
            | E::MixAlpha { .. }
            | E::SubsetShare { .. }
    )
}

/// `error: ` with the causes on one line, and `hint: ` where there is something to do.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error
        .chain()
        .map(|cause| one_line(&cause.to_string()))
        .collect();
    let text = format!("error: {}", causes.join(": "));
    match error.chain().find_map(hint) {
        Some(hint) => format!("{text}\nhint: {hint}"),
        None => text,
    }
}

/// TOML's errors draw the line at fault over several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<simmim_train::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ConfigError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_data::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_checkpoint::Error>() {
        return error.hint();
    }
    let usage = cause.downcast_ref::<Usage>()?;
    Some(usage.hint.to_owned())
}
