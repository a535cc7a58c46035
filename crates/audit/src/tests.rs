//! The log as a whole: what is written can be verified, and nothing that is done to it stays
//! unnoticed.

mod attack;
mod fold;
mod gone;
mod search;
mod sync;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::time::UnixMicros;
use tempfile::TempDir;

use super::directory::{self, list};
use super::entry::Fact;
use super::files::{Files, Keeping, Ready};
use super::line::{Facts, Point, Seal};
use super::recover::OpenError;
use super::verify::{Fault, Finding, Report, verify};
use crate::{Fsync, Settings};

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn keyed() -> Seal {
    Seal::new(Some(&"0123456789abcdef".into()))
}

/// For those that start the writer.
fn config(directory: &TempDir) -> Settings {
    Settings {
        directory: directory.path().join("audit"),
        key: Some("0123456789abcdef".into()),
        fsync: Fsync::Every(Duration::from_millis(10)),
        rotate_bytes: 4_000,
        rotate_age: DAY,
        retention: DAY * 400,
        pseudonyms_max: 100,
        pace: throttle::Pace { burst: 3, per_minute: 1 },
        fold_interval: Duration::from_secs(1),
    }
}

fn keeping(directory: &Path) -> Keeping {
    Keeping {
        directory: directory.to_owned(),
        rotate_bytes: 2_000,
        rotate_age: DAY,
        retention: DAY * 7,
        durable: false,
    }
}

fn open(directory: &Path, seal: &Seal) -> (Files, Vec<Fact>) {
    Files::open(keeping(directory), seal.clone()).unwrap()
}

fn line(at: UnixMicros, jump_ms: i64) -> Ready {
    Ready { at, about: Some(("user", "p0123".to_owned())), fact: Fact::Clock { jump_ms } }
}

/// A log of some files, in order, and its head.
fn write_log(directory: &Path, seal: &Seal, lines: i64) -> Point {
    let (mut files, notes) = open(directory, seal);
    assert!(notes.is_empty(), "{notes:?}");
    for number in 0..lines {
        files.append(&[line(NOW, number)], NOW).unwrap();
    }
    files.sync().unwrap();
    files.write_head(NOW).unwrap()
}

fn check(directory: &Path, seal: &Seal) -> Report {
    verify(directory, seal, None).unwrap()
}

fn finding(directory: &Path, seal: &Seal) -> Finding {
    let report = check(directory, seal);
    report.finding.clone().unwrap_or_else(|| panic!("nothing was found in {report:?}"))
}

/// Every line of the log: its file, its number in it from 0, and its text.
fn lines(directory: &Path) -> Vec<(PathBuf, usize, String)> {
    let files = list(directory).unwrap().into_iter().map(|file| directory.join(file.name));
    let lines = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.into_iter().enumerate().map(move |(index, line)| (path.clone(), index, line))
    };
    files.flat_map(lines).collect()
}

/// Writes the lines back, each to its file.
fn put(directory: &Path, lines: &[(PathBuf, usize, String)]) {
    for file in list(directory).unwrap() {
        let path = directory.join(file.name);
        let text = lines.iter().filter(|(of, ..)| *of == path).map(|(_, _, line)| line);
        fs::write(&path, text.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
}

fn seq_of(line: &str) -> u64 {
    Facts::of(line.as_bytes()).unwrap().seq
}

#[test]
fn what_is_written_verifies_over_all_files_and_goes_on_after_a_restart() {
    for seal in [keyed(), Seal::new(None)] {
        let directory = tempfile::tempdir().unwrap();
        let head = write_log(directory.path(), &seal, 30);
        let report = check(directory.path(), &seal);
        assert_eq!((report.finding, report.last), (None, Some(head)));
        assert!(report.files > 3);
        let (mut files, notes) = open(directory.path(), &seal);
        assert!(notes.is_empty(), "{notes:?}");
        files.append(&[line(NOW, 0)], NOW).unwrap();
        files.sync().unwrap();
        files.write_head(NOW).unwrap();
        let report = check(directory.path(), &seal);
        assert_eq!((report.finding, report.first), (None, Some(1)));
        assert_eq!(report.lines, report.last.unwrap().seq);
        assert!(verify(directory.path(), &seal, Some(head)).unwrap().finding.is_none());
    }
}

#[test]
fn the_first_line_of_a_file_names_the_file_before_and_the_chain_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path(), &keyed(), 30);
    let files = list(directory.path()).unwrap();
    for (before, file) in files.iter().zip(files.iter().skip(1)) {
        let last = fs::read_to_string(directory.path().join(&before.name)).unwrap();
        let first = fs::read_to_string(directory.path().join(&file.name)).unwrap();
        let hash = keyed().check(last.lines().last().unwrap().as_bytes()).unwrap();
        let first = first.lines().next().unwrap();
        assert_eq!(Facts::of(first.as_bytes()).unwrap().prev, hash);
        assert!(first.contains(&format!("\"after\":\"{}\",\"cause\":\"size\"", before.name)));
        assert_eq!(seq_of(first), file.first);
    }
}

#[test]
fn lines_cut_off_at_the_end_are_missing_and_a_head_kept_elsewhere_finds_more() {
    let directory = tempfile::tempdir().unwrap();
    let head = write_log(directory.path(), &keyed(), 30);
    let stolen = fs::read(directory.path().join("head")).unwrap();
    let mut all = lines(directory.path());
    all.truncate(all.len() - 2);
    put(directory.path(), &all);
    let found = finding(directory.path(), &keyed());
    assert_eq!((found.fault, found.seq), (Fault::Missing, head.seq - 1));
    // Even a whole file.
    let last = list(directory.path()).unwrap().pop().unwrap();
    fs::remove_file(directory.path().join(&last.name)).unwrap();
    let found = finding(directory.path(), &keyed());
    assert_eq!((found.fault, found.seq), (Fault::Missing, last.first));
    fs::remove_file(directory.path().join("head")).unwrap();
    let found = finding(directory.path(), &keyed());
    assert_eq!((found.fault, &*found.place.file), (Fault::Missing, "head"));
    let report = verify(directory.path(), &keyed(), Some(head)).unwrap();
    assert_eq!(report.finding.unwrap().seq, last.first);
    fs::write(directory.path().join("head"), stolen).unwrap();
    assert_eq!(finding(directory.path(), &keyed()).fault, Fault::Missing);
}

#[test]
fn without_the_key_a_log_cannot_be_written_that_passes() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path(), &Seal::new(None), 10);
    assert_eq!(check(directory.path(), &Seal::new(None)).finding, None);
    let found = finding(directory.path(), &keyed());
    assert_eq!((found.fault, found.seq), (Fault::Changed, 1));
    assert!(found.detail.contains("sealed with sha256"), "{found}");
}

#[test]
fn files_past_retention_are_removed_with_a_line_that_explains_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write_log(path, &keyed(), 20);
    let before = list(path).unwrap();
    let (mut files, _) = open(path, &keyed());
    assert!(files.past_retention(NOW.saturating_add(DAY)).unwrap().is_none());
    let later = NOW.saturating_add(DAY * 8);
    // The newest file is never past it, however old.
    let removed = files.past_retention(later).unwrap().unwrap();
    assert_eq!(removed.count, before.len() - 1);
    assert_eq!(removed.through, before.last().unwrap().first - 1);
    let through = removed.through;
    let removed = Ready { at: later, about: None, fact: Fact::Removed(removed) };
    files.append(&[removed], later).unwrap();
    files.sync().unwrap();
    files.write_head(later).unwrap();
    // A crash before they are gone leaves nothing that is wrong.
    assert_eq!(check(path, &keyed()).finding, None);
    files.remove(through).unwrap();
    let report = check(path, &keyed());
    assert_eq!((report.finding, report.first), (None, Some(through + 1)));
    // Somebody removes one more.
    fs::remove_file(path.join(&list(path).unwrap()[0].name)).unwrap();
    let found = finding(path, &keyed());
    assert_eq!(found.fault, Fault::Missing);
}

/// Without a key, lines that say that others were removed can be written by anybody.
#[test]
fn a_head_kept_elsewhere_has_to_be_in_the_log_or_just_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (directory, seal) = (directory.path(), Seal::new(None));
    write_log(directory, &seal, 60);
    let (mut files, _) = open(directory, &seal);
    let removed = files.past_retention(NOW.saturating_add(DAY * 8)).unwrap().unwrap();
    let before = Point { seq: removed.through, hash: removed.through_hash };
    let fact = Fact::Removed(removed);
    files.append(&[Ready { at: NOW, about: None, fact }], NOW).unwrap();
    files.sync().unwrap();
    files.write_head(NOW).unwrap();
    files.remove(before.seq).unwrap();
    let finding = |expected| verify(directory, &seal, Some(expected)).unwrap().finding;
    assert_eq!(finding(before), None);
    let other = seal.hash(b"another line");
    assert_eq!(finding(Point { hash: other, ..before }).unwrap().fault, Fault::Changed);
    let gone = finding(Point { seq: before.seq - 1, hash: other }).unwrap();
    assert_eq!((gone.fault, gone.seq), (Fault::Missing, before.seq - 1), "{gone}");
}

#[test]
fn the_oldest_file_cannot_go_without_a_line_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path(), &keyed(), 20);
    let files = list(directory.path()).unwrap();
    fs::remove_file(directory.path().join(&files[0].name)).unwrap();
    let found = finding(directory.path(), &keyed());
    assert_eq!((found.fault, found.seq), (Fault::Missing, files[1].first - 1));
}

#[test]
fn a_torn_last_line_is_cut_off_and_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write_log(path, &keyed(), 3);
    let file = path.join(&list(path).unwrap()[0].name);
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}{{\"seq\":5,\"ti")).unwrap();
    assert!(check(path, &keyed()).incomplete);
    let (mut files, notes) = open(path, &keyed());
    assert!(matches!(&notes[..], [Fact::Torn { bytes: 12, .. }]), "{notes:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    let notes = notes.into_iter().map(|fact| Ready { at: NOW, about: None, fact });
    files.append(&notes.collect::<Vec<_>>(), NOW).unwrap();
    let report = check(path, &keyed());
    assert_eq!((report.finding, report.torn), (None, 1));
}

#[test]
fn a_line_that_lacks_only_its_break_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let head = write_log(path, &keyed(), 3);
    let file = path.join(&list(path).unwrap()[0].name);
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, whole.trim_end()).unwrap();
    assert_eq!(check(path, &keyed()).finding, None);
    let (files, notes) = open(path, &keyed());
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(files.last(), head);
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
}

#[test]
fn a_crash_between_a_file_and_its_first_line_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let head = write_log(path, &keyed(), 3);
    fs::write(path.join(directory::LogFile::beginning_with(head.seq + 1).name), "{\"s").unwrap();
    let (mut files, notes) = open(path, &keyed());
    assert!(matches!(&notes[..], [Fact::Torn { .. }]), "{notes:?}");
    files.append(&[line(NOW, 1)], NOW).unwrap();
    let report = check(path, &keyed());
    assert_eq!((report.finding, report.files), (None, 2));
}

#[test]
fn the_daemon_goes_on_behind_damage_and_the_damage_is_still_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let head = write_log(path, &keyed(), 3);
    // A line is cut off: the log goes on behind the head's number, and not in its place.
    let mut all = lines(path);
    all.pop();
    put(path, &all);
    let (mut files, notes) = open(path, &keyed());
    assert!(matches!(&notes[..], [Fact::Damaged { .. }]), "{notes:?}");
    files.append(&[line(NOW, 1)], NOW).unwrap();
    files.sync().unwrap();
    files.write_head(NOW).unwrap();
    assert_eq!(files.last().seq, head.seq + 2);
    let found = finding(path, &keyed());
    assert_eq!((found.fault, found.seq), (Fault::Missing, head.seq));
    drop(files);
    // A line is changed in the file that is being written.
    let mut all = lines(path);
    let last = all.len() - 1;
    all[last].2 = all[last].2.replace("\"kind\"", "\"king\"");
    put(path, &all);
    let (files, notes) = open(path, &keyed());
    assert!(notes.iter().any(|note| matches!(note, Fact::Damaged { .. })), "{notes:?}");
    assert_eq!(files.last().seq, head.seq + 2);
}

#[test]
fn another_key_and_another_writer_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path(), &keyed(), 3);
    let other = Files::open(keeping(directory.path()), Seal::new(None));
    assert!(matches!(other, Err(OpenError::OtherKey { .. })));
    let first = open(directory.path(), &keyed());
    let second = Files::open(keeping(directory.path()), keyed());
    assert!(matches!(second, Err(OpenError::InUse(_))));
    drop(first);
}
