//! The thread that writes, its queue, and whom it writes about.

use model::subject::Subject;

use super::*;
use crate::entry::About;
use crate::{Audit, AuditMetrics, Ticket};

fn named(id: &str) -> Option<About> {
    Subject::user(id).map(About::Named)
}

fn text_of(directory: &Path) -> String {
    lines(directory).into_iter().map(|(_, _, line)| line + "\n").collect()
}

#[test]
fn the_writer_gives_pseudonyms_keeps_order_and_ends_with_everything_written() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let (audit, writer) = Audit::start(&config, directory.path(), AuditMetrics::default()).unwrap();
    for number in 0..500 {
        audit.note(named(if number % 2 == 0 { "alice-7" } else { "bob-8" }), Fact::Stop {});
    }
    writer.finish();
    let report = check(&config.directory, &keyed());
    assert_eq!(report.finding, None);
    let text = text_of(&config.directory);
    assert!(!text.contains("alice-7") && !text.contains("bob-8"));
    let alice = audit.pseudonym(&Subject::user("alice-7").unwrap()).unwrap().unwrap();
    assert_eq!(text.matches(&format!("\"user\":\"{alice}\"")).count(), 250);
    assert_eq!(audit.status().head, report.last.unwrap().to_string());
}

#[test]
fn a_full_queue_loses_entries_and_says_how_many() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let (audit, writer) =
        Audit::start_with(&config, directory.path(), AuditMetrics::default(), 8).unwrap();
    // Faster than any disk: some of them find no room.
    let mut refused = 0;
    while refused == 0 {
        let tickets = (0..1_000).map(|_| audit.note(None, Fact::Stop {}));
        refused = tickets.filter(|ticket| *ticket == Ticket::default()).count();
    }
    writer.finish();
    let report = check(&config.directory, &keyed());
    assert_eq!(report.finding, None);
    assert_eq!(report.lost, u64::try_from(refused).unwrap());
    assert!(text_of(&config.directory).contains("\"cause\":\"the queue was full\""));
}

/// However much waits, and whatever is lost with it.
#[test]
fn a_disk_that_stays_broken_does_not_keep_the_daemon_from_ending() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let (audit, writer) = Audit::start(&config, directory.path(), AuditMetrics::default()).unwrap();
    std::fs::remove_dir_all(&config.directory).unwrap();
    // More than the writer takes at once.
    for _ in 0..3_000 {
        audit.note(None, Fact::Stop {});
    }
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        writer.finish();
        let _ = done.send(());
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(()), "it never ends");
}

#[tokio::test]
async fn who_is_erased_is_nobody_in_old_lines_and_somebody_else_in_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let (audit, writer) = Audit::start(&config, directory.path(), AuditMetrics::default()).unwrap();
    let alice = Subject::user("alice-7").unwrap();
    audit.note(named("alice-7"), Fact::Stop {});
    let erased = audit.erase(alice.clone(), None, 0).await.unwrap().unwrap();
    assert_eq!(audit.pseudonym(&alice).unwrap(), None);
    assert_eq!(audit.erase(alice.clone(), None, 0).await.unwrap(), None);
    audit.note(Some(About::LookedFor(alice.clone())), Fact::Stop {});
    let ticket = audit.note(named("alice-7"), Fact::Stop {});
    audit.settled(ticket).await;
    tokio::task::spawn_blocking(|| writer.finish()).await.unwrap();
    let fresh = audit.pseudonym(&alice).unwrap().unwrap();
    assert_ne!(fresh, erased);
    let text = text_of(&config.directory);
    assert_eq!(text.matches(&format!("\"user\":\"{erased}\"")).count(), 1);
    assert!(text.contains(&format!("\"pseudonym\":\"{erased}\"")));
    assert_eq!(text.matches(&format!("\"user\":\"{fresh}\"")).count(), 1);
    assert_eq!(text.matches("\"user\":\"unknown\"").count(), 1);
    assert_eq!(check(&config.directory, &keyed()).finding, None);
}

#[test]
fn what_is_said_has_the_pseudonym_that_stands_in_the_lines_and_comes_in_order_with_erasing() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let (audit, writer) = Audit::start(&config, directory.path(), AuditMetrics::default()).unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let alice = Subject::user("alice-7").unwrap();
    let tell = |id: &str| {
        let said = said.clone();
        let subject = Subject::user(id).unwrap();
        audit.tell(&subject, move |name| said.send(name.to_owned()).unwrap());
        heard.recv_timeout(Duration::from_secs(20)).unwrap()
    };
    assert_eq!(tell("alice-7"), "unknown", "nobody has named her");
    audit.note(named("alice-7"), Fact::Stop {});
    let first = tell("alice-7");
    assert_eq!(audit.pseudonym(&alice).unwrap(), Some(first.clone()));
    assert_eq!(tell("alice-7"), first, "now at hand");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let erased = runtime.block_on(audit.erase(alice.clone(), None, 0)).unwrap();
    assert_eq!(erased, Some(first.clone()));
    assert_eq!(tell("alice-7"), "unknown", "erased from what is at hand, too");
    audit.note(named("alice-7"), Fact::Stop {});
    let second = tell("alice-7");
    assert_ne!(second, first);
    writer.finish();
    assert_eq!(tell("bob-8"), "unknown", "nobody writes any more");
    assert!(text_of(&config.directory).contains(&second));
    assert_eq!(check(&config.directory, &keyed()).finding, None);
}
