//! Which relations a statement names, found on tokens in one pass.
//!
//! A stack of brackets, not recursion. It errs to one side only: a name that could be a gateway relation counts as
//! one. A missed catalog relation costs an honest 42P01; a missed gateway relation would be caught by the guard.

use std::collections::HashSet;

use super::RelationNames;
use crate::pg::statement::lex::{self, Kind, Token};

/// What a statement names.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// A relation of the gateway, or of one of its schemas.
    pub(super) gateway: bool,
    /// A relation of PostgreSQL's catalogs.
    pub(super) catalog: bool,
    /// Any other relation that is no CTE.
    pub(super) unknown: bool,
    /// A set-returning function that the engine has too, as a relation.
    pub(super) engine_rows: bool,
    /// A function that only PostgreSQL has.
    pub(super) postgres_only: bool,
    /// A function that only the engine has.
    pub(super) engine_only: bool,
}

/// One level of brackets.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// Inside a FROM clause.
    from: bool,
    /// The next name is a relation.
    expects: bool,
    /// The bracket of a function call.
    call: bool,
}

/// Functions in FROM that the engine streams.
const ENGINE_ROWS: [&str; 3] = ["generate_series", "range", "unnest"];

/// Words that end a FROM clause.
const ENDS: [&str; 14] = [
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
    "select",
    "values",
];

pub(super) fn find(sql: &str, tokens: &[Token], search_path: &[String], names: &dyn RelationNames) -> Found {
    let mut found = Found::default();
    let ctes = common_tables(sql, tokens);
    let mut stack = vec![Level::default()];
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let level = stack.last_mut();
        match token.kind {
            Kind::Symbol(b'(') => {
                let previous = at.checked_sub(1).and_then(|index| tokens.get(index));
                let call = previous.is_some_and(|token| {
                    matches!(token.kind, Kind::Quoted)
                        || (token.kind == Kind::Word && !is_keyword(&lex::value(sql, token)))
                });
                // `FROM (a JOIN b)`: the bracket continues the list; `FROM (SELECT` ends it by itself.
                let expects = level.is_some_and(|level| level.expects && !call);
                stack.push(Level { from: expects, expects, call });
            }
            Kind::Symbol(b')') => {
                if stack.len() > 1 {
                    stack.pop();
                }
                if let Some(level) = stack.last_mut() {
                    level.expects = false;
                }
            }
            Kind::Symbol(b',') => {
                if let Some(level) = level {
                    level.expects = level.from;
                }
            }
            Kind::Word | Kind::Quoted => {
                let (parts, end) = chain(sql, tokens, at);
                let called = tokens.get(end).is_some_and(|token| token.kind == Kind::Symbol(b'('));
                let Some(level) = level else { break };
                if token.kind == Kind::Word && parts.len() == 1 {
                    let word = parts.first().map_or("", String::as_str);
                    if step(level, word, sql, tokens, at) {
                        at = end;
                        continue;
                    }
                }
                if called {
                    function(&parts, level.expects, names, &mut found);
                    level.expects = false;
                } else if level.expects {
                    level.expects = false;
                    relation(&parts, search_path, names, &ctes, &mut found);
                } else if let [.., schema, name, _] | [schema, name] = parts.as_slice()
                    && names.has_relation(schema, name)
                {
                    // A qualified column, or a name in a place this pass does not know.
                    found.gateway = true;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows a keyword; `true` when the word was one.
fn step(level: &mut Level, word: &str, sql: &str, tokens: &[Token], at: usize) -> bool {
    match word {
        "from" => {
            // `extract(x FROM y)`, `IS DISTINCT FROM y`
            let distinct =
                at > 0 && tokens.get(at - 1).is_some_and(|token| lex::value(sql, token) == "distinct");
            if !level.call && !distinct {
                *level = Level { from: true, expects: true, call: false };
            }
            true
        }
        "join" => {
            *level = Level { from: true, expects: true, ..*level };
            true
        }
        "table" => {
            level.expects = true;
            true
        }
        "only" | "lateral" | "rows" => level.expects,
        "on" | "using" => {
            level.expects = false;
            true
        }
        word if ENDS.contains(&word) => {
            *level = Level { from: false, expects: false, ..*level };
            true
        }
        _ => false,
    }
}

fn is_keyword(word: &str) -> bool {
    ENDS.contains(&word)
        || matches!(
            word,
            "from"
                | "join"
                | "on"
                | "using"
                | "as"
                | "in"
                | "and"
                | "or"
                | "not"
                | "any"
                | "all"
                | "some"
                | "exists"
                | "lateral"
                | "only"
                | "when"
                | "then"
                | "else"
                | "case"
                | "with"
                | "array"
                | "materialized"
                | "by"
                | "filter"
                | "over"
                | "between"
                | "like"
                | "ilike"
                | "is"
                | "distinct"
                | "explain"
                | "table"
        )
}

/// A dotted name: its parts and the token after it.
fn chain(sql: &str, tokens: &[Token], at: usize) -> (Vec<String>, usize) {
    let mut parts = Vec::new();
    let mut next = at;
    while let Some(token) = tokens.get(next).filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted)) {
        parts.push(lex::value(sql, token));
        next += 1;
        let dotted = tokens.get(next).is_some_and(|token| token.kind == Kind::Symbol(b'.'))
            && tokens.get(next + 1).is_some_and(|token| matches!(token.kind, Kind::Word | Kind::Quoted));
        if !dotted {
            break;
        }
        next += 1;
    }
    (parts, next)
}

/// Names defined by WITH anywhere: `name [(columns)] AS [NOT] [MATERIALIZED] (`.
fn common_tables(sql: &str, tokens: &[Token]) -> HashSet<String> {
    let mut names = HashSet::new();
    let word = |index: usize| tokens.get(index).map(|token| (token.kind, lex::value(sql, token)));
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Word = token.kind else {
            if token.kind != Kind::Symbol(b',') {
                continue;
            }
            named(sql, tokens, at + 1, &mut names);
            continue;
        };
        if lex::value(sql, token) == "with" {
            let recursive = word(at + 1).is_some_and(|(_, word)| word == "recursive");
            named(sql, tokens, at + 1 + usize::from(recursive), &mut names);
        }
    }
    names
}

fn named(sql: &str, tokens: &[Token], at: usize, names: &mut HashSet<String>) {
    let Some(token) = tokens.get(at).filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted)) else {
        return;
    };
    let mut next = at + 1;
    if tokens.get(next).is_some_and(|token| token.kind == Kind::Symbol(b'(')) {
        while tokens.get(next).is_some_and(|token| token.kind != Kind::Symbol(b')')) {
            next += 1;
        }
        next += 1;
    }
    let mut expected = ["as", "not", "materialized"].into_iter();
    let mut seen_as = false;
    while let Some(token) = tokens.get(next) {
        let value = lex::value(sql, token);
        if token.kind == Kind::Word && expected.by_ref().any(|word| word == value) {
            seen_as = true;
            next += 1;
            continue;
        }
        if token.kind == Kind::Symbol(b'(') && seen_as {
            names.insert(lex::value(sql, tokens.get(at).unwrap_or(token)));
        }
        break;
    }
    let _ = token;
}

fn relation(
    parts: &[String],
    search_path: &[String],
    names: &dyn RelationNames,
    ctes: &HashSet<String>,
    found: &mut Found,
) {
    match parts {
        [name] => {
            if ctes.contains(name) {
                return;
            }
            // PostgreSQL looks into pg_catalog first unless the path names it.
            if name.starts_with("pg_") {
                found.catalog = true;
                return;
            }
            for schema in search_path {
                if schema == "information_schema" {
                    found.catalog = true;
                    return;
                }
                if names.has_relation(schema, name) {
                    found.gateway = true;
                    return;
                }
            }
            found.unknown = true;
        }
        [.., schema, name] => {
            if matches!(schema.as_str(), "pg_catalog" | "information_schema" | "pg_toast") {
                found.catalog = true;
            } else if names.has_schema(schema) || names.has_relation(schema, name) {
                found.gateway = true;
            } else {
                found.unknown = true;
            }
        }
        [] => {}
    }
}

fn function(parts: &[String], in_from: bool, names: &dyn RelationNames, found: &mut Found) {
    let Some(name) = parts.last() else { return };
    let catalog = parts.len() > 1
        && parts.first().is_some_and(|schema| matches!(schema.as_str(), "pg_catalog" | "information_schema"));
    if names.is_engine_function(name) && !catalog {
        found.engine_only = true;
    } else if in_from && ENGINE_ROWS.contains(&name.as_str()) && !catalog {
        found.engine_rows = true;
    } else if catalog && parts.first().is_some_and(|schema| schema == "information_schema")
        || name.starts_with("pg_")
        || name.starts_with("has_")
        || name.starts_with("to_reg")
        || matches!(
            name.as_str(),
            "format_type"
                | "col_description"
                | "obj_description"
                | "shobj_description"
                | "current_setting"
                | "set_config"
                | "current_schemas"
                | "generate_subscripts"
                | "json_to_recordset"
                | "quote_ident"
        )
    {
        found.postgres_only = true;
    }
}
