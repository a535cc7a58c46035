//! The files are taken away while the daemon writes them.

use super::*;

/// What may be done to the files, and whether it is noticed as a file that was gone.
type Removal = (fn(&Path), bool);

const REMOVALS: [Removal; 4] = [
    (|log| fs::remove_file(log.join(newest(log))).unwrap(), true),
    (|log| fs::rename(log.join(newest(log)), log.join("elsewhere")).unwrap(), true),
    (|log| fs::remove_dir_all(log).unwrap(), true),
    (|log| fs::remove_file(log.join("lock")).unwrap(), false),
];

fn newest(log: &Path) -> String {
    list(log).unwrap().pop().unwrap().name
}

#[test]
fn lines_in_a_file_that_is_gone_are_written_anew() {
    for (number, (remove, is_noticed)) in REMOVALS.into_iter().enumerate() {
        let temporary = tempfile::tempdir().unwrap();
        let log = temporary.path().join("audit");
        let (mut files, _) = open(&log, &keyed());
        files.append(&[line(NOW, 1)], NOW).unwrap();
        assert_eq!(files.check().unwrap(), None);
        remove(&log);
        // Written where nobody will read them.
        files.append(&[line(NOW, 2)], NOW).unwrap();
        let noticed = files.check().unwrap();
        assert_eq!(noticed.is_some(), is_noticed, "removal {number}: {noticed:?}");
        assert_eq!(files.check().unwrap(), None);
        files.append(&[line(NOW, 3)], NOW).unwrap();
        files.sync().unwrap();
        files.write_head(NOW).unwrap();
        // Nobody else may write.
        assert!(matches!(Files::open(keeping(&log), keyed()), Err(OpenError::InUse(_))));
        let report = check(&log, &keyed());
        assert_eq!((report.finding, report.lines), (None, 4), "removal {number}");
    }
}

#[test]
fn another_file_or_a_cut_one_is_not_written_to() {
    let temporary = tempfile::tempdir().unwrap();
    let log = temporary.path();
    let (mut files, _) = open(log, &keyed());
    files.append(&[line(NOW, 1)], NOW).unwrap();
    let (path, away) = (log.join(newest(log)), log.join("away"));
    fs::rename(&path, &away).unwrap();
    fs::write(&path, "another").unwrap();
    assert!(files.check().unwrap_err().to_string().contains("another file stands in its place"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    fs::rename(&away, &path).unwrap();
    assert_eq!(files.check().unwrap(), None);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..9]).unwrap();
    assert!(files.check().unwrap_err().to_string().contains("was cut short"));
}
