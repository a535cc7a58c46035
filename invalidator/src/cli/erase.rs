//! `portcullis erase`: makes a user or session a stranger to the audit log, and says what remains.

use std::io::{self, Write};

use clap::Args;
use model::subject::Subject;
use serde_json::{Value, json};

use super::api::Api;
use super::args::id;
use super::{Client, Failure};

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
    match subject {
        Subject::User(id) => json!({ "user_id": id }),
        Subject::Session(id) => json!({ "session_id": id }),
    }
    .to_string()
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
        let title = reply.json.get("title").and_then(Value::as_str).unwrap_or("refused");
        writeln!(io::stderr(), "portcullis: {title}")?;
        return Ok(false);
    }
    io::stdout().write_all(in_words(&reply.json, &erase.id).as_bytes())?;
    Ok(true)
}

fn in_words(erased: &Value, id: &str) -> String {
    let list = |name: &str| erased.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("ID", id);
    let field = |value: &Value, name: &str| value.get(name).map(text).unwrap_or_default();
    let removed = list("removed");
    let mut words = String::new();
    if removed.is_empty() {
        words.push_str("removed  nothing: the audit log does not know this id\n");
    }
    for entry in &removed {
        words.push_str(&format!("removed  {}\n", text(entry)));
    }
    for entry in list("remains") {
        words.push_str(&format!(
            "remains  {}: {}\n",
            field(&entry, "place"),
            field(&entry, "what")
        ));
        words.push_str(&format!("         {}\n", field(&entry, "remedy")));
    }
    words
}
