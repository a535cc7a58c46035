//! Evidence outside the store's directory that there was a store: an empty directory alone does not
//! tell a first start from a disk that is not mounted, or a directory that was removed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use disk::StoreError;
use model::time::UnixMicros;
use tracing::info;

use crate::WitnessPlace;

/// What the file is called that stands beside the directory, if no other is configured.
const SUFFIX: &str = ".witness";

/// What may speak for an earlier life of this daemon.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// A file of our own.
    own: Option<PathBuf>,
    /// Whether it was asked for: then it has to be there.
    required: bool,
    off: bool,
    /// Other files outside the directory that only a daemon with a store leaves behind.
    others: Vec<PathBuf>,
}

impl Witness {
    /// The configured file, or else one beside the store's directory.
    #[must_use]
    pub fn of(directory: &Path, configured: &WitnessPlace) -> Self {
        let beside = || {
            let mut name = directory.file_name()?.to_owned();
            name.push(SUFFIX);
            Some(directory.with_file_name(name))
        };
        let own = match configured {
            WitnessPlace::Beside => beside(),
            WitnessPlace::File(path) => Some(path.clone()),
            WitnessPlace::Off => return Self { off: true, ..Self::default() },
        };
        let required = matches!(configured, WitnessPlace::File(_));
        Self { own, required, ..Self::default() }
    }

    /// With another file that speaks for an earlier life if it is there, unless nothing is to.
    #[must_use]
    pub fn and(mut self, other: Option<PathBuf>) -> Self {
        self.others.extend(other.filter(|_| !self.off));
        self
    }

    /// What says that there was a store, if anything does.
    fn speaks(&self) -> Result<Option<&Path>, StoreError> {
        for path in self.own.iter().chain(&self.others) {
            match path.try_exists() {
                Ok(true) => return Ok(Some(path)),
                Ok(false) => {}
                // A witness that nobody asked for, in a directory that we may not even look into.
                Err(_) if !self.required => {}
                Err(cause) => return Err(StoreError::system(path)(cause)),
            }
        }
        Ok(None)
    }

    /// Whether nothing says that there was a store, of which this was the file.
    pub(super) fn is_silent(&self, path: &Path) -> Result<(), StoreError> {
        match self.speaks()? {
            None => Ok(()),
            Some(witness) => {
                let (path, witness) = (path.to_owned(), witness.to_owned());
                Err(StoreError::Forgotten { path, witness })
            }
        }
    }

    /// Leaves a witness of a store that is in use from now on.
    pub(super) fn leave(&self, now: UnixMicros) -> Result<(), StoreError> {
        let Some(path) = &self.own else { return Ok(()) };
        match write(path, now) {
            Err(cause) if self.required => Err(StoreError::system(path)(cause)),
            Err(cause) => {
                let path = path.display();
                info!(%path, %cause, "no witness of the store can be left there: set store.witness");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn write(path: &Path, now: UnixMicros) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        file => file?,
    };
    writeln!(file, "portcullis: a daemon has kept a store since {now}")?;
    file.sync_all()?;
    let directory = path.parent().unwrap_or(path);
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_stands_beside_the_directory_and_speaks_once_it_was_left() {
        let temporary = tempfile::tempdir().unwrap();
        let store = temporary.path().join("store");
        let witness = Witness::of(&store, &WitnessPlace::Beside);
        assert_eq!(witness.speaks().unwrap(), None);
        witness.leave(UnixMicros(1)).unwrap();
        witness.leave(UnixMicros(2)).unwrap();
        let path = temporary.path().join("store.witness");
        assert_eq!(witness.speaks().unwrap(), Some(&*path));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("since 1970-01-01T00:00:00.000001Z"), "{text}");
    }

    #[test]
    fn only_one_that_was_asked_for_has_to_be_there() {
        let nowhere = Path::new("/proc/nowhere/file");
        let leave = |configured| Witness::of(nowhere, &configured).leave(UnixMicros(1));
        assert!(leave(WitnessPlace::Beside).is_ok() && leave(WitnessPlace::Off).is_ok());
        assert!(leave(WitnessPlace::File(nowhere.to_owned())).is_err());
        let temporary = tempfile::tempdir().unwrap();
        let (none, audit) = (Witness::default(), temporary.path().join("audit-1.jsonl"));
        let with_log = none.and(Some(audit.clone()));
        assert_eq!(with_log.speaks().unwrap(), None);
        std::fs::write(&audit, "").unwrap();
        assert_eq!(with_log.speaks().unwrap(), Some(&*audit));
        let off = Witness::of(nowhere, &WitnessPlace::Off).and(Some(audit));
        assert_eq!(off.speaks().unwrap(), None);
    }
}
