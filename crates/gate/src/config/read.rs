//! From a JSON tree to types: what is required, what may be left out, and what is neither.
//!
//! An error goes up from where it is found, and each list and object on its way puts its own place
//! before the field at fault. It never repeats a value, which may be a secret; of names it repeats
//! those that are not known.

use model::violation::Violation;

use super::json::Json;

pub(super) type Read<T> = Result<T, Violation>;

/// What can be read from JSON, into a place that holds some default until then: one function for all
/// objects then does what derived code would do for each of them at length.
pub(super) trait FromJson {
    fn read(&mut self, json: Json) -> Read<()>;
}

impl FromJson for bool {
    fn read(&mut self, json: Json) -> Read<()> {
        let Json::Bool(truth) = json else { return must_be("a boolean") };
        *self = truth;
        Ok(())
    }
}

impl FromJson for String {
    fn read(&mut self, json: Json) -> Read<()> {
        let Json::Text(text) = json else { return must_be("a string") };
        *self = text;
        Ok(())
    }
}

impl FromJson for u32 {
    fn read(&mut self, json: Json) -> Read<()> {
        match json {
            Json::Whole(number) if number <= u64::from(Self::MAX) => *self = number as Self,
            _ => return must_be("a whole number from 0 to 4294967295"),
        }
        Ok(())
    }
}

/// Null is the same as nothing.
impl<T: FromJson + Default> FromJson for Option<T> {
    fn read(&mut self, json: Json) -> Read<()> {
        match json {
            Json::Null => Ok(()),
            json => self.insert(T::default()).read(json),
        }
    }
}

impl<T: FromJson + Default> FromJson for Vec<T> {
    fn read(&mut self, json: Json) -> Read<()> {
        let Json::List(items) = json else { return must_be("a list") };
        self.resize_with(items.len(), T::default);
        for (i, (place, item)) in self.iter_mut().zip(items).enumerate() {
            place.read(item).map_err(|e| e.within(&format!("[{i}]")))?;
        }
        Ok(())
    }
}

/// Values by names that the operator chooses. A name may stand twice.
pub(super) struct ByName<T>(pub(super) Vec<(String, T)>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: FromJson + Default> FromJson for ByName<T> {
    fn read(&mut self, json: Json) -> Read<()> {
        for (name, json) in members(json)? {
            let mut value = T::default();
            value.read(json).map_err(|e| e.within(&name))?;
            self.0.push((name, value));
        }
        Ok(())
    }
}

/// A struct that is read from an object: of each field its type, whether it is `required` or
/// `optional`, and its name in the configuration.
macro_rules! object {
    (struct $Struct:ident { $($field:ident: $Type:ty, $presence:ident $name:literal;)* }) => {
        #[derive(Default)]
        pub(in crate::config) struct $Struct { $(pub(in crate::config) $field: $Type,)* }

        impl $crate::config::read::FromJson for $Struct {
            fn read(&mut self, json: $crate::config::json::Json) -> $crate::config::read::Read<()> {
                use $crate::config::read::{Field, fill};
                fill(&mut [$(Field::$presence($name, &mut self.$field)),*], json)
            }
        }
    };
}
pub(super) use object;

/// A member that an object may have, and its place.
pub(super) struct Field<'a> {
    name: &'static str,
    is_required: bool,
    json: Option<Json>,
    place: &'a mut dyn FromJson,
}

impl<'a> Field<'a> {
    pub(super) fn required(name: &'static str, place: &'a mut dyn FromJson) -> Self {
        Self { name, is_required: true, json: None, place }
    }

    pub(super) fn optional(name: &'static str, place: &'a mut dyn FromJson) -> Self {
        Self { name, is_required: false, json: None, place }
    }
}

/// Reads an object that may have these members and no others, and none of them twice. A name that is
/// not known is told first: it may be why another is missing.
pub(super) fn fill(fields: &mut [Field<'_>], json: Json) -> Read<()> {
    for (name, json) in members(json)? {
        let Some(field) = fields.iter_mut().find(|field| field.name == name) else {
            let known: Vec<_> = fields.iter().map(|field| field.name).collect();
            return Err(unknown("field", &name, &known).within(&name));
        };
        if field.json.replace(json).is_some() {
            return Err(Violation::new(name.clone(), format!("duplicate field `{name}`")));
        }
    }
    for field in fields {
        match field.json.take() {
            Some(json) => field.place.read(json).map_err(|e| e.within(field.name))?,
            None if field.is_required => return Err(Violation::new(field.name, "is required")),
            None => {}
        }
    }
    Ok(())
}

/// One of several words.
pub(super) fn choice<T: Copy>(json: Json, all: &[(&'static str, T)]) -> Read<T> {
    let mut word = String::new();
    word.read(json)?;
    let chosen = all.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    chosen.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        unknown_variant(&word, &names)
    })
}

/// The only member of an object, whose name says what sort of thing it is.
pub(super) struct Variant {
    pub(super) name: &'static str,
    json: Json,
}

impl Variant {
    pub(super) fn of(json: Json, names: &[&'static str]) -> Read<Self> {
        let single = match json {
            Json::Object(members) => <[_; 1]>::try_from(members).ok(),
            _ => None,
        };
        let Some([(name, json)]) = single else {
            return must_be("an object with exactly one field");
        };
        match names.iter().find(|known| **known == name) {
            Some(name) => Ok(Self { name, json }),
            None => Err(unknown_variant(&name, names)),
        }
    }

    pub(super) fn value<T: FromJson + Default>(self) -> Read<T> {
        let mut value = T::default();
        value.read(self.json).map_err(|e| e.within(self.name))?;
        Ok(value)
    }
}

fn members(json: Json) -> Read<Vec<(String, Json)>> {
    match json {
        Json::Object(members) => Ok(members),
        _ => must_be("an object"),
    }
}

pub(super) fn must_be<T>(what: &str) -> Read<T> {
    Err(Violation::new("", format!("must be {what}")))
}

pub(super) fn unknown_variant(name: &str, known: &[&str]) -> Violation {
    unknown("variant", name, known)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Violation {
    let list = known.join("`, `");
    let one_of = if known.len() > 1 { "one of " } else { "" };
    Violation::new("", format!("unknown {what} `{name}`, expected {one_of}`{list}`"))
}
