//! From an error to what the user reads and to the exit code.

use simmim_data::printable;
use simmim_device::DeviceFailure;

use super::output::StdoutError;

/// Exit code: the run failed.
const FAILED: u8 = 1;
/// Exit code: the command line or the configuration has to change.
const USAGE: u8 = 2;
/// Exit code: stopped by a signal, and saved. That of `EX_TEMPFAIL` in `sysexits.h`, which asks to try again later.
const STOPPED: u8 = 75;

/// A signal has ended a run before its end; it is saved, and all is said.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// That a run, which was reported, is finished, so that a program does not go on with half of it.
pub(crate) fn require_finished(is_finished: bool) -> anyhow::Result<()> {
    if is_finished {
        Ok(())
    } else {
        Err(Stopped.into())
    }
}

/// Whether the error has words for the user: neither whoever closed stdout nor whoever sent a signal asks for one.
pub(crate) fn is_told(error: &anyhow::Error) -> bool {
    let is_closed = error
        .downcast_ref::<StdoutError>()
        .is_some_and(StdoutError::is_closed);
    !is_closed && !error.is::<Stopped>()
}

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

/// 0 where the reader of stdout has gone, 75 where a signal has ended a run, 2 where the command line or the configuration is at fault, 1 for
/// everything that files, disks and numbers do.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error
        .downcast_ref::<StdoutError>()
        .is_some_and(StdoutError::is_closed)
    {
        return 0;
    }
    if error.is::<Stopped>() {
        return STOPPED;
    }
    // The outermost error of ours says it: what a checkpoint holds is no setting of the user's, whatever is wrong with it.
    if error.chain().find_map(is_usage).unwrap_or_default() {
        USAGE
    } else {
        FAILED
    }
}

/// Whether a cause is about the command line or the configuration; none where it is not an error of this program.
fn is_usage(cause: &(dyn std::error::Error + 'static)) -> Option<bool> {
    if let Some(error) = cause.downcast_ref() {
        return Some(of_sweep(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_eval(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_train(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_config(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_weights(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_pack(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_picture(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(is_setting(error));
    }
    cause.is::<Usage>().then_some(true)
}

fn of_sweep(error: &simmim_sweep::Error) -> bool {
    use simmim_sweep::Error as E;
    match error {
        E::Eval(error) => of_eval(error),
        E::Train(error) => of_train(error),
        // Errors of the crates below are judged by their own rules, as where they come alone.
        E::Config(error) => of_config(error),
        E::Data(error) => is_setting(error),
        E::UnknownGrid { .. }
        | E::UnknownKey { .. }
        | E::Type { .. }
        | E::Fixed { .. }
        | E::Twice { .. }
        | E::SamePoint { .. }
        | E::Misfits { .. }
        | E::Contradicts { .. }
        | E::NotASweep { .. } => true,
        // Kinds that are added later count as failures of the run until they are listed here.
        _ => false,
    }
}

fn of_eval(error: &simmim_eval::Error) -> bool {
    use simmim_eval::Error as E;
    match error {
        E::Train(error) => of_train(error),
        E::Config(error) => of_config(error),
        E::Data(error) => is_setting(error),
        E::Picture(error) => of_picture(error),
        E::NoFeature { .. } | E::NoHead { .. } | E::UnknownFormat { .. } => true,
        _ => false,
    }
}

fn of_picture(error: &simmim_picture::Error) -> bool {
    use simmim_picture::Error as E;
    matches!(error, E::UnknownFormat { .. } | E::TooLarge { .. })
}

fn of_train(error: &simmim_train::Error) -> bool {
    use simmim_train::Error as E;
    match error {
        E::Config(error) => of_config(error),
        E::Data(error) => is_setting(error),
        E::Foreign(error) => of_weights(error),
        E::OtherEncoder { .. } | E::FolderNotEmpty { .. } | E::NotARun { .. } => true,
        _ => false,
    }
}

/// What a file holds is its own fault, but for what an option can say of it.
fn of_weights(error: &simmim_weights::Error) -> bool {
    use simmim_weights::Error as E;
    matches!(
        error,
        E::Geometry { .. }
            | E::Missing { .. }
            | E::Unexpected { .. }
            | E::Pattern { .. }
            | E::Format(_)
            | E::Shape { .. }
            | E::NotExpressible { .. }
    )
}

fn of_config(error: &simmim_config::Error) -> bool {
    use simmim_config::Error as E;
    match error {
        E::Data(error) => is_setting(error),
        // What a file holds is no setting, even where a key names the file.
        E::File(_) | E::Codebook { .. } | E::NoCodebook { .. } => false,
        _ => true,
    }
}

fn of_pack(error: &simmim_pack::Error) -> bool {
    use simmim_pack::Error as E;
    match error {
        E::Data(error) => is_setting(error),
        E::Setting { .. } | E::NotEmpty { .. } | E::OtherPack { .. } => true,
        _ => false,
    }
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
            | E::NoShard { .. }
    )
}

/// `error: ` with the causes on one line, and `hint: ` where there is something to do.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let text = format!("error: {}", printable(&causes(error)));
    match hint_of(error) {
        Some(hint) => format!("{text}\nhint: {}", printable(&hint)),
        None => text,
    }
}

/// An error with its causes, in one line.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let causes = error.chain().map(|cause| one_line(&cause.to_string()));
    causes.collect::<Vec<_>>().join(": ")
}

/// What can be done about it.
pub(crate) fn hint_of(error: &anyhow::Error) -> Option<String> {
    // The outermost error that has advice: it knows most of what the user wanted.
    error.chain().find_map(hint)
}

/// TOML's errors draw the line at fault over several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<simmim_sweep::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_eval::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_train::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_config::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_weights::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_onnx::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_pack::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_picture::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_data::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_checkpoint::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_mpi::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_tcp::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<simmim_collective::Error>() {
        return error.hint();
    }
    if let Some(failure) = cause.downcast_ref::<DeviceFailure>() {
        return failure.hint().map(str::to_owned);
    }
    let usage = cause.downcast_ref::<Usage>()?;
    Some(usage.hint.to_owned())
}
