//! Route groups and what matches a request.

use model::name::Name;
use model::violation::Violation;
use regex_lite::Regex;

use super::super::route::{Matcher, PathMatch, RouteGroup};
use super::super::{ROUTE_GROUPS_MAX, raw};
use super::{Checked, fail, name};
use crate::path::Paths;

pub(super) fn route_groups(raw: Vec<raw::RouteGroup>, paths: Paths) -> Checked<Vec<RouteGroup>> {
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
            matchers.push(matcher(&field, raw, paths)?);
        }
        groups.push(RouteGroup { name, matchers });
    }
    Ok(groups)
}

pub(super) fn matcher(field: &str, raw: raw::Matcher, paths: Paths) -> Checked<Matcher> {
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
    let path = raw.path.map(|raw| path(&format!("{field}.path"), raw, paths)).transpose()?;
    Ok(Matcher { methods, path })
}

fn path(field: &str, raw: raw::Path, paths: Paths) -> Checked<PathMatch> {
    Ok(match raw {
        raw::Path::Exact(whole) => {
            PathMatch::Exact(canonical(&format!("{field}.exact"), whole, paths)?)
        }
        raw::Path::Prefix(prefix) => {
            let prefix = canonical(&format!("{field}.prefix"), prefix, paths)?;
            PathMatch::Prefix(prefix.strip_suffix('/').unwrap_or(&prefix).to_owned())
        }
        raw::Path::Regex(pattern) => {
            let flags = if paths.ignores_case { "i" } else { "" };
            let whole = format!("^(?{flags}:{pattern})$");
            // By itself too, so that no parenthesis of its own can undo the anchors around it.
            match Regex::new(&pattern).and_then(|_| Regex::new(&whole)) {
                Ok(regex) => PathMatch::Regex(regex),
                Err(e) => return fail(format!("{field}.regex"), format!("must be a regex: {e}")),
            }
        }
    })
}

/// A path in the form in which those of requests are compared with it: another would never match.
fn canonical(field: &str, path: String, paths: Paths) -> Checked<String> {
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return fail(field, "must begin with \"/\", and have no query");
    }
    let path = if paths.ignores_case { path.to_ascii_lowercase() } else { path };
    let read = paths.canonical(path.as_bytes());
    if read.is_ambiguous || *read.path != *path.as_bytes() {
        let rule = "must be written as paths are compared: decoded, without parameters, \"//\", \
                    \"/./\" and \"/../\"";
        return fail(field, rule);
    }
    Ok(path)
}

/// The index of the group of this name.
pub(super) fn group_index(field: &str, name: &str, groups: &[Name]) -> Checked<usize> {
    let position = groups.iter().position(|group| group.as_str() == name);
    position.ok_or_else(|| Violation::new(field, "must be the name of a route group"))
}
