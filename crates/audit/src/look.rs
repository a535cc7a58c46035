//! Looks whether the log could be gone on with, and changes nothing.

use disk::is_locked;

use super::OpenError;
use super::directory::{self, LOCK, Lines, Next};
use super::line::{Facts, Seal};
use crate::Settings;

/// Whether a daemon with this configuration could write the log that is there, if there is one.
///
/// # Errors
/// If another process writes it, it is sealed with another key, or it cannot be read.
pub fn look(config: &Settings) -> Result<(), OpenError> {
    let place = &config.directory;
    // A directory that cannot be used is for others to tell.
    let Ok(files) = directory::list(place) else { return Ok(()) };
    if is_locked(&place.join(LOCK)) {
        return Err(OpenError::InUse(place.clone()));
    }
    let seal = Seal::new(config.key.as_ref()).name();
    let cannot = |cause| OpenError::Cannot(place.clone(), cause);
    for file in files.iter().rev() {
        let mut lines = Lines::of(place.join(&file.name)).map_err(cannot)?;
        let Next::Line(line) = lines.read().map_err(cannot)? else { continue };
        let found = Facts::of(line).and_then(|facts| Some(facts.seal?.into_owned()));
        return match found.filter(|found| *found != seal) {
            Some(found) => {
                Err(OpenError::OtherKey { file: file.name.clone(), found, configured: seal })
            }
            None => Ok(()),
        };
    }
    Ok(())
}
