//! The store's files are taken away, replaced or changed while they are open.

use disk::StoreError;

use super::*;
use crate::Opening;

/// How long it may take until what was done to an idle store is noticed: looked for once a second.
const NOTICED: Duration = Duration::from_secs(10);

fn wait_for(keeper: &Keeper, what: &str, is: impl Fn(&StoreStatus) -> bool) -> StoreStatus {
    let deadline = Instant::now() + NOTICED;
    loop {
        let status = keeper.status();
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn all(directory: &Path) -> BTreeSet<String> {
    let (keeper, events) = opened(directory);
    close(&keeper);
    ids(&events)
}

/// What may be done to the files under the daemon's feet, and what must not matter.
const REMOVALS: [fn(&Path); 6] = [
    |store| std::fs::remove_file(store.join(FILE_NAME)).unwrap(),
    |store| std::fs::rename(store.join(FILE_NAME), store.join("elsewhere")).unwrap(),
    |store| std::fs::remove_dir_all(store).unwrap(),
    |store| std::fs::rename(store, store.with_file_name("moved")).unwrap(),
    |store| std::fs::remove_file(store.join("state.mark")).unwrap(),
    |store| {
        std::fs::remove_file(store.join("state.mark")).unwrap();
        std::fs::write(store.join("state.mark"), "x".repeat(500)).unwrap();
    },
];

#[test]
fn what_was_kept_is_written_anew_wherever_its_file_has_gone() {
    for (number, remove) in REMOVALS.iter().enumerate() {
        let (_temporary, directory) = filled(3);
        let (keeper, _) = opened(&directory);
        wait_durable(&keeper, keeper.save(kept(3)));
        remove(&directory);
        // Nothing is durable any more without being there.
        let ticket = keeper.save(kept(4));
        wait_durable(&keeper, ticket);
        assert!(directory.join(FILE_NAME).exists(), "removal {number}");
        assert_eq!(keeper.status().rewrites, u64::from(number < 4), "removal {number}");
        assert_eq!(keeper.event(&kept(1).subject, &kept(1).event_id), Some(kept(1).record));
        // As after kill -9: what stands there now.
        let copy = tempfile::tempdir().unwrap();
        for name in [FILE_NAME, "state.mark"] {
            std::fs::copy(directory.join(name), copy.path().join(name)).unwrap();
        }
        let expected = [0, 1, 2, 3, 4].map(|number: u32| number.to_string());
        assert_eq!(all(copy.path()), BTreeSet::from(expected), "removal {number}");
        close(&keeper);
        assert_eq!(all(&directory).len(), 5, "removal {number}");
        let (again, _) = opened(&directory);
        assert_eq!(again.position("redis").as_deref(), Some("7-1"));
        close(&again);
    }
}

#[test]
fn an_idle_store_that_is_gone_is_noticed_and_put_back() {
    let (_temporary, directory) = filled(3);
    let (keeper, _) = opened(&directory);
    std::fs::remove_dir_all(&directory).unwrap();
    wait_for(&keeper, "the store to be there again", |status| {
        status.rewrites == 1 && status.state == "healthy"
    });
    assert!(keeper.is_durable(Ticket(0)));
    // The directory is locked as before.
    let refused = refusal(&directory);
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    close(&keeper);
    assert_eq!(all(&directory).len(), 3);
}

#[test]
fn a_store_that_cannot_be_put_back_is_not_durable_until_it_can() {
    let (temporary, directory) = filled(3);
    let (keeper, _) = opened(&directory);
    let old = keeper.ticket_of(&kept(1).subject, &kept(1).event_id);
    assert!(keeper.is_durable(old));
    std::fs::rename(&directory, temporary.path().join("moved")).unwrap();
    std::fs::write(&directory, "a file where the directory was").unwrap();
    let ticket = keeper.save(kept(3));
    wait_for(&keeper, "the alarm", |status| status.state == "failing");
    assert!(!keeper.is_durable(ticket) && !keeper.is_durable(old));
    assert!(!keeper.close(Duration::ZERO), "this is no good end");
    std::fs::remove_file(&directory).unwrap();
    wait_durable(&keeper, ticket);
    assert!(keeper.is_durable(old));
    close(&keeper);
    assert_eq!(all(&directory).len(), 4);
}

#[test]
fn another_file_in_its_place_is_not_touched_until_somebody_decides() {
    let (_temporary, directory) = filled(3);
    let (file, away) = (directory.join(FILE_NAME), directory.join("away"));
    let (keeper, _) = opened(&directory);
    std::fs::rename(&file, &away).unwrap();
    std::fs::write(&file, "another").unwrap();
    let ticket = keeper.save(kept(3));
    let status = wait_for(&keeper, "the alarm", |status| status.cause.is_some());
    assert!(status.cause.unwrap().contains("another file has been put in its place"));
    assert!(!keeper.is_durable(ticket) && !keeper.is_durable(Ticket(0)));
    assert_eq!(std::fs::read(&file).unwrap(), b"another");
    // The old one again: as if nothing had been.
    std::fs::rename(&away, &file).unwrap();
    wait_durable(&keeper, ticket);
    // Put back after a new one was written: another file again, though it was ours once.
    std::fs::hard_link(&file, &away).unwrap();
    std::fs::remove_file(&file).unwrap();
    wait_durable(&keeper, keeper.save(kept(4)));
    std::fs::rename(&away, &file).unwrap();
    wait_for(&keeper, "the alarm", |status| status.cause.is_some());
    std::fs::remove_file(&file).unwrap();
    wait_for(&keeper, "the store to be back", |status| status.cause.is_none());
    close(&keeper);
    assert_eq!(all(&directory).len(), 5);
}

#[test]
fn a_file_that_somebody_else_has_written_is_checked_before_it_is_believed() {
    let (_temporary, directory) = filled(3);
    let file = directory.join(FILE_NAME);
    let old = std::fs::read(&file).unwrap();
    let (keeper, _) = opened(&directory);
    wait_durable(&keeper, keeper.save(kept(3)));
    // Only looked at as if it were new: nothing has changed.
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    wait_durable(&keeper, keeper.save(kept(4)));
    for number in [5, 6, 7] {
        let whole = std::fs::read(&file).unwrap();
        let mut emptied = whole.clone();
        emptied[4_096..].fill(0);
        // In place: the same file, with the content of a backup, or less. What closing it writes
        // into it does not make it whole again.
        std::fs::write(&file, [&emptied[..], &old, b""][usize::try_from(number - 5).unwrap()])
            .unwrap();
        wait_for(&keeper, "the alarm", |status| status.state == "failing");
        let ticket = keeper.save(kept(number));
        assert!(!keeper.is_durable(ticket) && !keeper.is_durable(Ticket(0)));
        std::fs::write(&file, &whole).unwrap();
        wait_durable(&keeper, ticket);
        assert!(keeper.is_durable(Ticket(0)));
    }
    assert_eq!(keeper.status().rewrites, 0);
    close(&keeper);
    assert_eq!(all(&directory).len(), 8);
}

#[test]
fn an_empty_directory_is_a_first_start_only_if_nothing_outside_knows_better() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("store");
    let witness = Witness::of(&directory, &crate::WitnessPlace::Beside);
    let open = |rebuild: Option<&Path>| {
        super::super::open(
            Opening {
                directory: &directory,
                witness: &witness,
                rebuild,
                meters: Meters::default(),
            },
            NOW,
            |_| Ok(()),
        )
    };
    let first = open(None).unwrap();
    assert!(first.start == Start::First && first.keeper.is_new());
    wait_durable(&first.keeper, first.keeper.save(kept(1)));
    close(&first.keeper);
    std::fs::remove_dir_all(&directory).unwrap();
    let refused = open(None).unwrap_err();
    assert!(refused.is_loss() && refused.to_string().contains("store.witness"), "{refused}");
    assert!(!directory.join(FILE_NAME).exists());
    let accepted = open(Some(Path::new("/nowhere"))).unwrap();
    assert!(accepted.start == Start::Rebuilt && !accepted.keeper.is_new());
    close(&accepted.keeper);
    let next = open(None).unwrap();
    assert_eq!(next.start, Start::Loaded);
    close(&next.keeper);
}
