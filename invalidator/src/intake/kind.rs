//! What sets one kind of source apart from the others, wherever its events are looked at.

/// A kind of source of events, such as the API or Redis. Each has one value of this type, beside its code, and
/// nothing outside that folder asks which one it is: what may differ between sources is a field here, so that
/// a new source cannot forget to say it.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceKind {
    /// Its name in the configuration, in records of the store, dead letters, audit lines, metrics and
    /// answers. What is stored has it for good: it never changes.
    pub name: &'static str,
    /// Who sends events through it.
    pub senders: Senders,
    /// It is part of the daemon, and so works whenever the daemon does. Of any other the daemon has to hear
    /// signs of life: while it does not, it is not ready, and tells its nodes how old its knowledge is.
    pub built_in: bool,
    /// Whether `/v1/status` has a member of its name, which is null while there is nothing to say.
    pub reports: bool,
}

/// Who sends events through a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Callers of the API. Each has a name and a rate, gets an answer, and has a line in the audit log for each
    /// call: what is refused is no dead letter.
    Callers,
    /// Whoever can write where the source reads. Nobody gets an answer: what is refused is kept as a dead letter.
    Writers,
}

/// Stands for the source of a kept event which this program does not know: another version has kept it. The
/// event stays in force, since what is kept is checked for its form alone; as anything else than kept it
/// would have to be signed.
pub(crate) static UNKNOWN: SourceKind =
    SourceKind { name: "unknown", senders: Senders::Writers, built_in: false, reports: false };
