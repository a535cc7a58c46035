//! What commands read: files, standard input, ids, and the names of profiles.

use std::fs::File;
use std::io::{self, Read};

use signing::Profile;

use super::Failure;

/// The content of a file, or of standard input for `-`, if it has at most so many bytes.
pub(super) fn read(name: &str, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Failure::Input(name.to_owned(), error);
    let source: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(name).map_err(cannot)?),
    };
    let mut bytes = Vec::new();
    source.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max) {
        return Ok(bytes);
    }
    Err(Failure::Usage(format!("{name}: must be at most {bytes_max} bytes")))
}

/// A profile by its name.
pub(super) fn profile(text: &str) -> Result<Profile, String> {
    let names = || Profile::ALL.map(Profile::as_str).join(", ");
    Profile::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}

/// White space around an id is a slip of copying: it would be the id of nobody.
pub(super) fn id(text: &str) -> Result<String, &'static str> {
    let rule = "must not begin or end with white space";
    Some(text.to_owned()).filter(|text| text.trim_ascii() == text).ok_or(rule)
}
