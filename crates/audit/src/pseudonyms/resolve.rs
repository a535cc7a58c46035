//! Gives pseudonyms: to whom an event names, and only then.

use std::io;
use std::time::Duration;

use disk::file;
use model::subject::Subject;
use model::time::UnixMicros;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, Table};

use super::tables::{ERASED, FORMER, NAMES, erased, opened};
use super::{Names, NamesError, PSEUDONYM_BYTES, SharedKeys, UNKNOWN};
use crate::entry::About;

/// How much older than now the noted last use may be: so it is not written for every line.
const LAST_USE_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of some look-ups.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// The pseudonyms, in the order of the subjects.
    pub(crate) names: Vec<String>,
    /// How many of them are not kept, since there is no room: they lead to nobody.
    pub(crate) unkept: u64,
}

impl Names {
    /// The pseudonyms of some subjects. Who was named by an event gets one; it is on disk when this
    /// returns, so that no line ever has one that leads to nobody.
    ///
    /// # Errors
    /// If the file cannot be written: nothing has changed then.
    pub(crate) fn resolve(
        &self,
        abouts: &[&About],
        now: UnixMicros,
    ) -> Result<Resolved, NamesError> {
        if let Some(names) = self.resolve_known(abouts, now)? {
            self.remember(abouts, &names, now);
            return Ok(Resolved { names, unkept: 0 });
        }
        let mut fresh = Vec::new();
        for _ in abouts {
            fresh.push(random().map_err(io::Error::from)?);
        }
        let shared = self.shared();
        let resolved = self.with(|database| {
            let transaction = file::begin(database)?;
            let mut resolved = Resolved::default();
            {
                let mut table = transaction.open_table(NAMES)?;
                let mut former = transaction.open_table(FORMER)?;
                let gone = transaction.open_table(ERASED)?;
                for (about, fresh) in abouts.iter().zip(fresh) {
                    let subject = about.subject();
                    let key = (subject.kind_name(), subject.id());
                    let known =
                        table.get(key)?.map(|row| (row.value().0.to_owned(), row.value().1));
                    let name = match (known, about) {
                        (None, About::LookedFor(_)) => UNKNOWN.to_owned(),
                        (Some((name, _)), About::LookedFor(_)) => name,
                        (known, About::Named(_)) => {
                            let due = shared.name(subject, now);
                            let due = due.filter(|due| !erased(Some(&gone), due).unwrap_or(true));
                            let kept = known.as_ref().map(|(name, _)| name.clone());
                            let name = due.or(kept).unwrap_or(fresh);
                            if known.is_none() && table.len()? >= self.names_max {
                                resolved.unkept = resolved.unkept.saturating_add(1);
                            } else {
                                table.insert(key, (&*name, now.0))?;
                            }
                            let before = known.filter(|(before, _)| *before != name);
                            if let Some((before, used)) = before {
                                let before = (&*before, used, now);
                                self.keep_former(&mut former, subject, before, &shared)?;
                            }
                            name
                        }
                    };
                    resolved.names.push(name);
                }
            }
            transaction.commit()?;
            Ok(resolved)
        })?;
        // One that is not kept is another one the next time.
        if resolved.unkept == 0 {
            self.remember(abouts, &resolved.names, now);
        }
        Ok(resolved)
    }

    /// Keeps a pseudonym that a subject had, unless a key gives it.
    fn keep_former(
        &self,
        former: &mut Table<'_, (&'static str, &'static str, &'static str), u64>,
        subject: &Subject,
        (name, used, now): (&str, u64, UnixMicros),
        shared: &SharedKeys,
    ) -> Result<(), redb::Error> {
        let is_computed = shared.names(subject, now).iter().any(|computed| computed == name);
        if !is_computed && former.len()? < self.names_max {
            former.insert((subject.kind_name(), subject.id(), name), used)?;
        }
        Ok(())
    }

    /// The pseudonyms if nothing has to be written for them.
    fn resolve_known(
        &self,
        abouts: &[&About],
        now: UnixMicros,
    ) -> Result<Option<Vec<String>>, NamesError> {
        let shared = self.shared();
        self.with(|database| {
            let transaction = database.begin_read()?;
            let Some(table) = opened(transaction.open_table(NAMES))? else { return Ok(None) };
            let gone = opened(transaction.open_table(ERASED))?;
            let mut names = Vec::new();
            for about in abouts {
                let row = table.get((about.subject().kind_name(), about.subject().id()))?;
                let row = row.as_ref().map(|row| row.value());
                let due = shared.name(about.subject(), now);
                let is_due = |name: &str| {
                    due.as_deref().is_none_or(|due| {
                        // What cannot be read is looked at again where it is to be written.
                        due == name || erased(gone.as_ref(), due).unwrap_or(false)
                    })
                };
                match (about, row) {
                    (About::Named(_), Some((name, used)))
                        if now.since(UnixMicros(used)) < LAST_USE_STEP && is_due(name) =>
                    {
                        names.push(name.to_owned());
                    }
                    (About::LookedFor(_), Some((name, _))) => names.push(name.to_owned()),
                    (About::LookedFor(_), None) => names.push(UNKNOWN.to_owned()),
                    (About::Named(_), _) => return Ok(None),
                }
            }
            Ok(Some(names))
        })
    }
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; PSEUDONYM_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("p{}", base16ct::lower::encode_string(&bytes)))
}
