//! What the system lets this process do.

/// The most open files that are asked for: more than any data set has archives.
#[cfg(unix)]
const MAX_FILES: u64 = 1 << 20;

/// Raises the number of files that may be open at once as far as the system allows without rights: each archive of a
/// data set stays open. Shells commonly begin at 1024, for programs that cannot do with more.
#[cfg(unix)]
pub(crate) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let found = getrlimit(Resource::Nofile);
    let wanted = found.maximum.map_or(MAX_FILES, |max| max.min(MAX_FILES));
    // Without a limit there is nothing to raise.
    if found.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..found
        };
        // Where that is refused, the error of the file that is one too many says what to do.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(not(unix))]
pub(crate) fn allow_many_files() {}
