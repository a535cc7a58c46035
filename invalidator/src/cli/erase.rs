//! `portcullis erase`: makes a user or session a stranger to the audit log, and says what remains.

use std::io::{self, Write};

use clap::Args;
use model::subject::Subject;
use serde_json::json;

use super::api::Api;
use super::input::id;
use super::{Client, Failure};
use crate::wire::{Erased, Named, Remains};

#[derive(Args, Debug)]
pub(super) struct Erase {
    /// The user's id
    #[arg(value_name = "USER", value_parser = id)]
    id: String,
    /// USER is the id of a session
    #[arg(long)]
    session: bool,
    #[command(flatten)]
    client: Client,
}

/// A user or session as the API's bodies name them.
pub(super) fn body(subject: &Subject) -> String {
    json!(Named::from(subject)).to_string()
}

pub(super) fn run(erase: &Erase) -> Result<bool, Failure> {
    let subject =
        if erase.session { Subject::session(&erase.id) } else { Subject::user(&erase.id) };
    let subject = subject.ok_or_else(|| Failure::Usage(format!("the id {}", Subject::RULE)))?;
    let reply = Api::new(&erase.client)?.post("/v1/erase", &body(&subject))?;
    let is_erased = reply.status == 200;
    if erase.client.json {
        writeln!(io::stdout(), "{}", reply.text)?;
        return Ok(is_erased);
    }
    if !is_erased {
        let title = reply.problem().title;
        let title = if title.is_empty() { "refused" } else { &title };
        writeln!(io::stderr(), "portcullis: {title}")?;
        return Ok(false);
    }
    io::stdout().write_all(in_words(&reply.read()?, &erase.id).as_bytes())?;
    Ok(true)
}

fn in_words(erased: &Erased, id: &str) -> String {
    let named = |text: &str| text.replace("ID", id);
    let mut words = String::new();
    if erased.removed.is_empty() {
        words.push_str("removed  nothing: the audit log does not know this id\n");
    }
    for entry in &erased.removed {
        words.push_str(&format!("removed  {}\n", named(entry)));
    }
    for Remains { place, what, remedy } in &erased.remains {
        words.push_str(&format!("remains  {}: {}\n", named(place), named(what)));
        words.push_str(&format!("         {}\n", named(remedy)));
    }
    words
}
