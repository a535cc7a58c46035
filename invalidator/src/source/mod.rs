//! Where events come from. Each kind of source is a folder here, and a line in the list below; nothing else names it.
//!
//! A folder has the [`SourceKind`] of its source as `KIND`, its HTTP routes as `ROUTES` (none, unless it is called), its
//! section of the configuration as written, `Section`, and as checked, `Config`, which is
//! [`Configured`]: that makes the [`Source`], with its metrics.

pub mod waiting;

use std::sync::Arc;

use model::violation::Violation;
use serde::Deserialize;

pub use crate::hub::{Daemons, Ledger, Replica, Running, Source};
use crate::intake::SourceKind;
use crate::metrics::SourceMeters;
pub use crate::overview::Report;
use crate::server::api::Route;

/// The configuration of a source, checked by itself: nothing has been opened for it.
pub trait Configured {
    /// Shows the files and secrets that the configuration leads to, each with its field, so that it is seen when they
    /// change while the configuration does not.
    fn add_secrets(&self, add: &mut dyn FnMut(&str, &[u8]));

    /// Makes the source and registers its metrics. Checks what can be checked without connecting.
    ///
    /// # Errors
    /// The rule that is broken.
    fn build(self, meters: &mut SourceMeters<'_>) -> Result<Arc<dyn Source>, Violation>;

    /// Registers the metrics of a source that is not configured: they are there all the same, and zero.
    fn register_idle(meters: &mut SourceMeters<'_>);
}

/// Makes of a list of folders all that has to know each kind of source.
macro_rules! sources {
    ($($(#[$only:meta])? $name:ident,)+) => {
        $($(#[$only])? pub mod $name;)+

        /// Every kind of source, whether it is configured or not.
        pub static KINDS: &[&SourceKind] = &[$($(#[$only])? &$name::KIND),+];

        /// The routes of all kinds.
        static ROUTES: &[&[Route]] = &[$($(#[$only])? &$name::ROUTES),+];

        /// `[sources]` as written.
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct RawSources {
            $($(#[$only])? $name: Option<$name::Section>,)+
        }

        impl RawSources {
            /// Checks every section. A source that is there, but wrong, is a source.
            pub(crate) fn check(self, errors: &mut Vec<Violation>) -> Option<Sources> {
                let before = errors.len();
                let sources = Sources {
                    $($(#[$only])? $name: $name::Section::check_all(self.$name)
                        .unwrap_or_else(|error| {
                            errors.push(error);
                            None
                        }),)+
                };
                if errors.len() == before && sources.count() == 0 {
                    let rule = "at least one source has to be enabled";
                    errors.push(Violation::new("sources", rule));
                }
                (errors.len() == before).then_some(sources)
            }
        }

        /// The sources that are configured.
        #[derive(Debug)]
        pub struct Sources {
            $(
                $(#[$only])?
                #[doc = concat!("`[sources.", stringify!($name), "]`")]
                pub $name: Option<$name::Config>,
            )+
        }

        impl Sources {
            fn count(&self) -> usize {
                [$($(#[$only])? self.$name.is_some()),+].into_iter().filter(|is| *is).count()
            }

            /// See [`Configured::add_secrets`].
            pub fn add_secrets(&self, add: &mut dyn FnMut(&str, &[u8])) {
                $($(#[$only])? if let Some(source) = &self.$name { source.add_secrets(add); })+
            }

            /// Makes all of them, and the metrics of those that are not configured.
            ///
            /// # Errors
            /// The first rule that is broken.
            pub fn build(
                self,
                meters: &mut SourceMeters<'_>,
            ) -> Result<Vec<Arc<dyn Source>>, Violation> {
                let mut built = Vec::new();
                $($(#[$only])? match self.$name {
                    Some(source) => built.push(source.build(meters)?),
                    None => $name::Config::register_idle(meters),
                })+
                Ok(built)
            }
        }
    };
}

sources! {
    embedded,
    redis,
    #[cfg(test)]
    listed,
}

/// The kind of this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static SourceKind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// The routes of every kind of source: also of those that are not configured, to say so.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().copied().flatten()
}
