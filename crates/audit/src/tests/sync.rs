//! A disk that fails to sync, and then seems to work again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use super::*;

#[test]
fn a_sync_that_failed_is_not_made_good_by_one_that_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let keeping = Keeping { durable: true, rotate_bytes: 1 << 20, ..keeping(directory) };
    let (mut files, _) = Files::open(keeping, keyed()).unwrap();
    files.append(&[line(NOW, 1)], NOW).unwrap();
    files.sync().unwrap();
    let head = files.write_head(NOW).unwrap();
    let path = list(directory).unwrap().iter().map(|file| directory.join(&file.name)).next();
    let path = path.unwrap();
    let synced = fs::read(&path).unwrap().len();
    files.append(&(0..500).map(|number| line(NOW, number)).collect::<Vec<_>>(), NOW).unwrap();
    let whole = fs::read(&path).unwrap();

    // A file of which nothing can be on any disk.
    let current = files.current.as_mut().unwrap();
    let file = std::mem::replace(&mut current.file, File::open("/dev/null").unwrap());
    files.sync().unwrap_err();
    files.current.as_mut().unwrap().file = file;

    // What is read again from the disk is not what was written to memory.
    let disk = OpenOptions::new().write(true).open(&path).unwrap();
    disk.write_all_at(&vec![0; whole.len() - synced], synced as u64).unwrap();
    let error = files.sync().unwrap_err().to_string();
    assert!(error.contains("has lost lines"), "{error}");
    assert_eq!(files.write_head(NOW).unwrap(), head, "the head names what is on disk");

    // Memory still has it.
    disk.write_all_at(&whole, 0).unwrap();
    files.sync().unwrap();
    assert_eq!(files.write_head(NOW).unwrap(), files.last());
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(check(directory, &keyed()).finding, None);
}
