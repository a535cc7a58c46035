//! Route groups and what matches a request.

use regex_lite::Regex;

use super::super::route::{Matcher, PathMatch, RouteGroup};
use super::super::{ConfigError, ROUTE_GROUPS_MAX, raw};
use super::{Checked, fail, name};
use crate::name::Name;

pub(super) fn route_groups(raw: Vec<raw::RouteGroup>) -> Checked<Vec<RouteGroup>> {
    if raw.len() > ROUTE_GROUPS_MAX {
        return fail("route_groups", "must be at most 64 groups");
    }
    let mut groups: Vec<RouteGroup> = Vec::with_capacity(raw.len());
    for (i, group) in raw.into_iter().enumerate() {
        let field = format!("route_groups[{i}]");
        let name = name(&format!("{field}.name"), &group.name)?;
        if groups.iter().any(|known| known.name == name) {
            return fail(format!("{field}.name"), "must not be the name of another group");
        }
        if group.matchers.is_empty() {
            return fail(format!("{field}.match"), "must have at least one entry");
        }
        let mut matchers = Vec::with_capacity(group.matchers.len());
        for (j, raw) in group.matchers.into_iter().enumerate() {
            let field = format!("{field}.match[{j}]");
            if raw.route_group.is_some() {
                return fail(format!("{field}.route_group"), "must not be used inside a group");
            }
            matchers.push(matcher(&field, raw)?);
        }
        groups.push(RouteGroup { name, matchers });
    }
    Ok(groups)
}

pub(super) fn matcher(field: &str, raw: raw::Matcher) -> Checked<Matcher> {
    if raw.methods.is_none() && raw.path.is_none() {
        return fail(field, "must have methods, path or both");
    }
    // An empty list would match every method, which is hardly what its author meant.
    let is_empty = raw.methods.as_ref().is_some_and(Vec::is_empty);
    let methods = raw.methods.unwrap_or_default();
    let is_method = |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase());
    if is_empty || !methods.iter().all(is_method) {
        return fail(format!("{field}.methods"), "must be upper-case methods, such as \"POST\"");
    }
    let path = raw.path.map(|raw| path(&format!("{field}.path"), raw)).transpose()?;
    Ok(Matcher { methods, path })
}

fn path(field: &str, raw: raw::Path) -> Checked<PathMatch> {
    let absolute =
        |kind: &str, path: &str| match path.starts_with('/') && !path.contains(['?', '#']) {
            true => Ok(()),
            false => fail(format!("{field}.{kind}"), "must begin with \"/\", and have no query"),
        };
    Ok(match raw {
        raw::Path::Exact(whole) => {
            absolute("exact", &whole)?;
            PathMatch::Exact(whole)
        }
        raw::Path::Prefix(prefix) => {
            absolute("prefix", &prefix)?;
            PathMatch::Prefix(prefix.strip_suffix('/').unwrap_or(&prefix).to_owned())
        }
        raw::Path::Regex(pattern) => {
            // By itself too, so that no parenthesis of its own can undo the anchors around it.
            let whole = Regex::new(&pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")));
            match whole {
                Ok(regex) => PathMatch::Regex(regex),
                Err(e) => return fail(format!("{field}.regex"), format!("must be a regex: {e}")),
            }
        }
    })
}

/// The index of the group of this name.
pub(super) fn group_index(field: &str, name: &str, groups: &[Name]) -> Checked<usize> {
    let position = groups.iter().position(|group| group.as_str() == name);
    position.ok_or_else(|| ConfigError::new(field, "must be the name of a route group"))
}
