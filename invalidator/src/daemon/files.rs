//! How many files and connections may be open. The usual limit of the system, 1024, is less than the
//! connections that two listeners may have; a daemon that has reached it can take in nobody.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What is open besides the connections of the listeners: files, Redis, signals.
const OTHERS: u64 = 128;

/// Raises the limit as far as is needed and allowed. Gives how many connections each listener may
/// have, of those that it wants.
pub(super) fn make_room(api: usize, poll: usize) -> (usize, usize) {
    let wanted = count(api).saturating_add(count(poll));
    let needed = wanted.saturating_add(OTHERS);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.unwrap_or(u64::MAX);
    if current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed.min(allowed)), maximum };
        if let Err(cause) = setrlimit(Resource::Nofile, raised) {
            warn!(%cause, "the limit of open files cannot be raised");
        }
    }
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if have < needed {
        warn!(have, needed, "the limit of open files is low: fewer connections are taken in");
    }
    let room = have.saturating_sub(OTHERS);
    (share(api, wanted, room), share(poll, wanted, room))
}

/// What one of several may have of what there is, so that all of them may have something.
fn share(own: usize, wanted: u64, room: u64) -> usize {
    if wanted <= room {
        return own;
    }
    let share = u128::from(count(own)).saturating_mul(room.into()).checked_div(wanted.into());
    usize::try_from(share.unwrap_or_default()).unwrap_or(own).clamp(1, own)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn what_there_is_is_shared() {
        assert_eq!((share(576, 1152, 5_000), share(576, 1152, 1152)), (576, 576));
        assert_eq!((share(576, 1152, 896), share(100, 1152, 576)), (448, 50));
        assert_eq!((share(1, 1000, 10), share(1, 1, 0)), (1, 1), "one is let in always");
    }
}
