//! One database file: made so that only its owner can read it, opened by one process at a time,
//! and checked as a whole before anything in it is believed.
//!
//! What is in the tables is not known here, but for one row of kind and format version.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};

use super::StoreError;

/// Bytes of pages that are kept in memory.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Permission bits of a file: its content is personal data.
const FILE_MODE: u32 = 0o600;
/// What a file is, in every file.
pub const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const KIND: &str = "kind";
const FORMAT: &str = "format";

/// Opens a database file, or makes it if there is none. `kind` says in one or two words what the
/// file keeps, `format` is the version of what its tables hold.
///
/// The whole file is checked: opening takes about 1 s per GiB.
///
/// # Errors
/// If another process has it, it is damaged, or of another kind or format.
pub fn open(path: &Path, kind: &str, format: u64) -> Result<Database, StoreError> {
    match path.try_exists() {
        Ok(true) => existing(path, kind, format),
        Ok(false) => create(path, kind, format, |_| Ok(())),
        Err(cause) => Err(StoreError::system(path)(cause)),
    }
}

/// Opens a file that has to be there.
pub fn existing(path: &Path, kind: &str, format: u64) -> Result<Database, StoreError> {
    let database = builder().open(path).map_err(|cause| StoreError::of(path, cause))?;
    let mode = Permissions::from_mode(FILE_MODE);
    std::fs::set_permissions(path, mode).map_err(StoreError::system(path))?;
    check_kind(&database, path, kind, format)?;
    Ok(database)
}

/// Makes a file, with what `fill` puts into it: it has its name only once it is whole.
pub fn create(
    path: &Path,
    kind: &str,
    format: u64,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<Database, StoreError> {
    let draft = draft_of(path);
    match std::fs::remove_file(&draft) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::system(&draft)(cause));
        }
        _ => {}
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(FILE_MODE);
    let file = options.open(&draft).map_err(StoreError::system(&draft))?;
    let backend = FileBackend::new(file).map_err(|cause| StoreError::of(&draft, cause))?;
    let database =
        builder().create_with_backend(backend).map_err(|cause| StoreError::of(&draft, cause))?;
    let filled = write_kind(&database, kind, format).and_then(|()| fill(&database));
    filled.map_err(|cause| StoreError::of(&draft, cause))?;
    std::fs::rename(&draft, path).map_err(StoreError::system(path))?;
    sync_directory_of(path)?;
    Ok(database)
}

/// A transaction that is on the disk when its commit returns. In two phases: then a commit that is
/// damaged later cannot be taken for one that was never finished.
pub fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Makes a rename or a new file in the file's directory last.
pub fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(path);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(StoreError::system(directory))
}

/// What a file is called until it is whole.
#[must_use]
pub fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn write_kind(database: &Database, kind: &str, format: u64) -> Result<(), redb::Error> {
    let transaction = begin(database)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(KIND, kind.as_bytes())?;
        meta.insert(FORMAT, format.to_le_bytes().as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}

fn check_kind(database: &Database, path: &Path, kind: &str, format: u64) -> Result<(), StoreError> {
    let (found_kind, found_format) =
        read_kind(database).map_err(|cause| StoreError::of(path, cause))?;
    let number = |bytes: Vec<u8>| <[u8; 8]>::try_from(bytes).ok().map(u64::from_le_bytes);
    let (Some(found_kind), Some(found_format)) = (found_kind, found_format.and_then(number)) else {
        return Err(StoreError::damaged(path, "it does not say what it holds"));
    };
    if (found_kind.as_slice(), found_format) == (kind.as_bytes(), format) {
        return Ok(());
    }
    let found_kind = String::from_utf8_lossy(&found_kind);
    Err(StoreError::Format {
        path: path.to_owned(),
        found: format!("\"{found_kind}\" of format {found_format}"),
        known: format!("\"{kind}\" of format {format}"),
    })
}

type Row = Option<Vec<u8>>;

fn read_kind(database: &Database) -> Result<(Row, Row), redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    let row = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|row| row.value().to_vec()));
    Ok((row(KIND)?, row(FORMAT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(database: &Database) -> Option<u8> {
        let meta = database.begin_read().unwrap().open_table(META).unwrap();
        meta.get("number").unwrap().map(|row| row.value()[0])
    }

    #[test]
    fn a_file_keeps_what_was_committed_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.redb");
        let database = open(&path, "some", 1).unwrap();
        let transaction = begin(&database).unwrap();
        transaction.open_table(META).unwrap().insert("number", [7].as_slice()).unwrap();
        transaction.commit().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = open(&path, "some", 1).unwrap_err().to_string();
        assert!(error.contains("some.redb: in use by"), "{error}");
        drop(database);
        assert_eq!(number(&open(&path, "some", 1).unwrap()), Some(7));
        assert!(!draft_of(&path).exists());
    }

    #[test]
    fn another_kind_or_format_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.redb");
        drop(open(&path, "some", 2).unwrap());
        for (kind, format) in [("other", 2), ("some", 1)] {
            let error = open(&path, kind, format).unwrap_err();
            assert!(error.is_loss());
            let error = error.to_string();
            assert!(error.contains("holds \"some\" of format 2: this program reads"), "{error}");
        }
    }

    #[test]
    fn an_empty_cut_or_foreign_file_is_damaged_and_never_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.redb");
        drop(open(&path, "some", 1).unwrap());
        let whole = std::fs::read(&path).unwrap();
        for content in [&[], b"text".as_slice(), &whole[..100], &whole[..whole.len() - 1]] {
            std::fs::write(&path, content).unwrap();
            let error = open(&path, "some", 1).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "{} bytes: {error}",
                content.len()
            );
        }
    }

    #[test]
    fn what_was_left_of_an_unfinished_start_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.redb");
        std::fs::write(draft_of(&path), "half").unwrap();
        drop(open(&path, "some", 1).unwrap());
        assert!(open(&path, "some", 1).is_ok());
    }
}
