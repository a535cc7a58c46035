//! Requests that were let through and are open still: found by whom they are from, so that a block of one looks at what that
//! one has open, whatever else there is.
//!
//! Adding and removing is done for every request, and takes no memory of its own once there is room for as many.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use gate::decide::Watched;
use gate::node::changed::{Changed, Position};
use model::hash::SubjectHash;

use crate::host::Begun;

/// Most requests that are looked at again in one tick: each may have to be ended, and requests wait meanwhile.
pub(crate) const LOOKS_PER_TICK_MAX: usize = 512;

/// A request is looked at again once so many ticks have come since it began: it is a tick old at least.
const OLD_AFTER_TICKS: u32 = 2;

/// Names an open request until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    place: usize,
    generation: u32,
}

/// What one worker has open. `T` is what the proxy reaches a request by.
pub(crate) struct OpenStreams<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
    links: Vec<Link>,
    free_links: Vec<usize>,
    /// The first link of each subject.
    by_subject: HashMap<SubjectHash, usize, BuildHasherDefault<Prefix>>,
    /// What is to be looked at again, each once.
    due: VecDeque<Ticket>,
    /// What is due, and began so lately that it may be over by itself soon.
    young: Vec<Ticket>,
    /// The number of the tick that came last.
    round: u32,
    pub(crate) position: Position,
    /// The number with which places begin.
    first: u32,
}

/// Where a request stands, or none for now. The number tells those apart that stand there in turn.
struct Place<T> {
    generation: u32,
    request: Option<Request<T>>,
}

struct Request<T> {
    reach: T,
    watched: Watched,
    begun: Begun,
    /// The tick before it.
    round: u32,
    first_link: Option<usize>,
    is_due: bool,
}

/// One subject of one request: in a list with the others of the subject, and in one with the others of the request.
#[derive(Clone, Copy)]
struct Link {
    subject: SubjectHash,
    place: usize,
    before: Option<usize>,
    after: Option<usize>,
    sibling: Option<usize>,
}

impl<T> OpenStreams<T> {
    /// Nothing is open; what was heard before this is known to all that will be. Tickets of another, which a worker had before,
    /// name nothing here: `first` is another number each time.
    pub(crate) fn since(position: Position, first: u32) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            links: Vec::new(),
            free_links: Vec::new(),
            by_subject: HashMap::default(),
            due: VecDeque::new(),
            young: Vec::new(),
            round: 0,
            position,
            first,
        }
    }

    /// Adds a request that was let through.
    pub(crate) fn add(&mut self, reach: T, watched: Watched) -> Ticket {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: self.first, request: None });
            self.places.len().saturating_sub(1)
        });
        let mut first_link = None;
        for subject in watched.subjects() {
            first_link = Some(self.link(*subject, place, first_link));
        }
        let generation = self.first;
        let Some(at) = self.places.get_mut(place) else { return Ticket { place, generation } };
        let (begun, round) = (Begun::No, self.round);
        at.request = Some(Request { reach, watched, begun, round, first_link, is_due: false });
        Ticket { place, generation: at.generation }
    }

    /// The response to a request begins.
    pub(crate) fn begin_response(&mut self, ticket: Ticket) {
        if let Some(request) = self.request_mut(ticket) {
            request.begun = Begun::Yes;
        }
    }

    fn request_mut(&mut self, ticket: Ticket) -> Option<&mut Request<T>> {
        let at = self.places.get_mut(ticket.place)?;
        at.request.as_mut().filter(|_| at.generation == ticket.generation)
    }

    /// Removes a request that is over.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let Some(at) = self.places.get_mut(ticket.place) else { return };
        if at.generation != ticket.generation {
            return;
        }
        let Some(request) = at.request.take() else { return };
        at.generation = at.generation.wrapping_add(1);
        self.free.push(ticket.place);
        let mut link = request.first_link;
        while let Some(number) = link {
            link = self.unlink(number);
        }
    }

    /// Has the requests of these subjects looked at again.
    pub(crate) fn note(&mut self, changed: Changed) {
        match changed {
            Changed::These(subjects) => {
                for subject in subjects {
                    let mut link = self.by_subject.get(&subject).copied();
                    while let Some(one) = link.and_then(|number| self.links.get(number)).copied() {
                        self.note_place(one.place);
                        link = one.after;
                    }
                }
            }
            Changed::Anybody => (0..self.places.len()).for_each(|place| self.note_place(place)),
        }
    }

    fn note_place(&mut self, place: usize) {
        let Some(Place { generation, request: Some(request) }) = self.places.get_mut(place) else {
            return;
        };
        if !std::mem::replace(&mut request.is_due, true) {
            self.due.push_back(Ticket { place, generation: *generation });
        }
    }

    /// A tick has come.
    pub(crate) fn tick(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.due.extend(self.young.drain(..));
    }

    /// The next request that is to be looked at again, if there is one. One that has just begun is left
    /// for a later tick: nearly all are over by themselves then, and a client has more of a whole response than of half of one.
    pub(crate) fn next_due(&mut self) -> Option<(&T, &Watched, Begun)> {
        let ticket = loop {
            let (ticket, round) = (self.due.pop_front()?, self.round);
            match self.request_mut(ticket) {
                Some(request) if round.wrapping_sub(request.round) < OLD_AFTER_TICKS => {
                    self.young.push(ticket);
                }
                Some(request) => {
                    request.is_due = false;
                    break ticket;
                }
                None => {}
            }
        };
        let Request { reach, watched, begun, .. } = self.request(ticket)?;
        Some((reach, watched, *begun))
    }

    /// What a request is watched for, if it is open still, and whether its response has begun.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<(&Watched, Begun)> {
        self.request(ticket).map(|request| (&request.watched, request.begun))
    }

    fn request(&self, ticket: Ticket) -> Option<&Request<T>> {
        let at = self.places.get(ticket.place)?;
        at.request.as_ref().filter(|_| at.generation == ticket.generation)
    }

    fn link(&mut self, subject: SubjectHash, place: usize, sibling: Option<usize>) -> usize {
        let after = self.by_subject.get(&subject).copied();
        let link = Link { subject, place, before: None, after, sibling };
        let number = match self.free_links.pop() {
            Some(number) => {
                if let Some(free) = self.links.get_mut(number) {
                    *free = link;
                }
                number
            }
            None => {
                self.links.push(link);
                self.links.len().saturating_sub(1)
            }
        };
        if let Some(after) = after.and_then(|after| self.links.get_mut(after)) {
            after.before = Some(number);
        }
        self.by_subject.insert(subject, number);
        number
    }

    /// Takes a link out of its subject's list, and gives the next one of its request.
    fn unlink(&mut self, number: usize) -> Option<usize> {
        let Link { subject, before, after, sibling, .. } = self.links.get(number).copied()?;
        if let Some(after) = after.and_then(|after| self.links.get_mut(after)) {
            after.before = before;
        }
        match (before, after) {
            (Some(before), _) => {
                if let Some(before) = self.links.get_mut(before) {
                    before.after = after;
                }
            }
            (None, Some(after)) => {
                self.by_subject.insert(subject, after);
            }
            (None, None) => {
                self.by_subject.remove(&subject);
            }
        }
        self.free_links.push(number);
        sibling
    }
}

/// The first bytes of a subject's hash are as good as any hash of it.
#[derive(Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // How long a hash is says nothing.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gate::config::Groups;
    use proptest::prelude::*;

    use super::*;

    fn subject(number: u8) -> SubjectHash {
        SubjectHash([number; 16])
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(Vec<u8>),
        Remove(usize),
        RemoveAgain,
        Note(Vec<u8>),
        NoteAll,
        Look,
    }

    fn step() -> impl Strategy<Value = Step> {
        let subjects = || prop::collection::vec(0..4_u8, 1..3);
        prop_oneof![
            4 => subjects().prop_map(Step::Add),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => Just(Step::RemoveAgain),
            3 => subjects().prop_map(Step::Note),
            1 => Just(Step::NoteAll),
            4 => Just(Step::Look),
        ]
    }

    proptest! {
        /// Beside a list that is searched as a whole.
        #[test]
        fn it_is_a_list_of_requests(steps in prop::collection::vec(step(), 1..120)) {
            let mut open = OpenStreams::since(Position::default(), u32::MAX);
            let mut known: BTreeMap<usize, (Ticket, Vec<u8>)> = BTreeMap::new();
            let mut due: Vec<usize> = Vec::new();
            let mut last = None;
            for (name, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(mut subjects) => {
                        subjects.dedup();
                        let hashes = subjects.iter().copied().map(subject).collect();
                        let watched = Watched::new(hashes, Groups::default()).unwrap();
                        let ticket = open.add(name, watched);
                        known.insert(name, (ticket, subjects));
                    }
                    Step::Remove(at) if !known.is_empty() => {
                        let name = *known.keys().nth(at % known.len()).unwrap();
                        let (ticket, _) = known.remove(&name).unwrap();
                        open.remove(ticket);
                        due.retain(|one| *one != name);
                        last = Some(ticket);
                    }
                    Step::RemoveAgain => last.into_iter().for_each(|ticket| open.remove(ticket)),
                    Step::Note(subjects) => {
                        open.note(Changed::These(subjects.iter().copied().map(subject).collect()));
                        let is_meant = |of: &[u8]| of.iter().any(|one| subjects.contains(one));
                        let meant = known.iter().filter(|(_, (_, of))| is_meant(of));
                        due.extend(meant.map(|(name, _)| *name));
                    }
                    Step::NoteAll => {
                        open.note(Changed::Anybody);
                        due.extend(known.keys());
                    }
                    Step::Look => {
                        open.tick();
                        open.tick();
                        let found = open.next_due().map(|(name, ..)| *name);
                        prop_assert_eq!(found.is_none(), due.is_empty());
                        if let Some(found) = found {
                            prop_assert!(due.contains(&found));
                            due.retain(|one| *one != found);
                        }
                    }
                    Step::Remove(_) => {}
                }
                for (ticket, subjects) in known.values() {
                    let (watched, _) = open.get(*ticket).unwrap();
                    prop_assert_eq!(watched.subjects().len(), subjects.len());
                }
            }
            known.into_values().for_each(|(ticket, _)| open.remove(ticket));
            open.tick();
            open.tick();
            prop_assert!(open.by_subject.is_empty() && open.next_due().is_none());
        }
    }
}
