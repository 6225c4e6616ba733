//! The driver's imports have one direction: a file imports from layers below it, never from above, and never between
//! server and client.
//!
//! The test reads the text of each file: `use` items, and paths that begin with `crate::`, `self::` or `super::`.
//! Comments and unit tests do not count; unit tests may use the whole crate.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All parts of the crate, with their layers. A part may use lower layers, and itself. Parts of the same layer are
/// independent.
const LAYERS: &[(&str, u32)] = &[
    // The ground: it does not know sessions.
    ("runtime", 0),
    ("tasks", 0),
    ("body", 0),
    ("net", 1),
    // A session with its lock. It does not distinguish server and client.
    ("session", 2),
    ("websocket", 3),
    ("socket", 3),
    ("handler", 4),
    ("server", 5),
    ("client", 5),
    ("builder", 6),
    ("host", 6),
    ("mount", 6),
    // These name everything again.
    ("fuzz", 7),
    ("lib", 7),
];

fn height(part: &str) -> Result<u32, String> {
    let found = LAYERS.iter().find(|layer| layer.0 == part);
    found.map(|layer| layer.1).ok_or_else(|| format!("`{part}` is in no layer"))
}

/// A file of the crate: the path of its module, and its text.
struct Source {
    module: Vec<String>,
    text: String,
}

impl Source {
    fn new(module: &str, text: &str) -> Self {
        Self { module: module.split("::").map(Into::into).collect(), text: text.into() }
    }

    fn part(&self) -> &str {
        &self.module[0]
    }

    /// Returns the forbidden imports of this file.
    fn faults(&self) -> Vec<String> {
        let own = match height(self.part()) {
            Ok(own) => own,
            Err(error) => return vec![error],
        };
        let mut faults = Vec::new();
        for path in paths(&code(&self.text)) {
            let fault = match self.target(&path) {
                Ok(None) => None,
                Ok(Some(part)) if part == self.part() => None,
                Ok(Some(part)) => match height(&part) {
                    Ok(other) if other < own => None,
                    Ok(other) if other == own => Some(format!("`{part}` is beside it")),
                    Ok(_) => Some(format!("`{part}` is above it")),
                    Err(error) => Some(error),
                },
                Err(error) => Some(error),
            };
            faults.extend(fault.map(|fault| format!("{}: `{}`: {fault}", self.module.join("::"), path.join("::"))));
        }
        faults
    }

    /// Returns the part of the crate that a path leads to, unless it leads out of the crate.
    fn target(&self, path: &[String]) -> Result<Option<String>, String> {
        let mut rest = path.iter().map(String::as_str);
        let mut here: Vec<&str> = match rest.next() {
            Some("crate") => Vec::new(),
            Some("self") => self.module.iter().map(String::as_str).collect(),
            Some("super") => self.module[..self.module.len() - 1].iter().map(String::as_str).collect(),
            _ => return Ok(None),
        };
        for name in rest {
            match name {
                "super" if here.pop().is_none() => return Err("it leads out of the crate".into()),
                "super" | "self" => (),
                name => here.push(name),
            }
        }
        match here.first() {
            // What `lib.rs` declares belongs to itself.
            _ if self.part() == "lib" => Ok(None),
            Some(first) => Ok(Some((*first).into())),
            None => Err("it names the whole crate".into()),
        }
    }
}

/// Removes comments, strings and unit tests.
fn code(text: &str) -> String {
    let (text, _) = text.split_once("\n#[cfg(test)]\nmod tests").unwrap_or((text, ""));
    let mut code = String::new();
    for line in text.lines() {
        let mut in_string = false;
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if in_string => _ = characters.next(),
                '"' => in_string = !in_string,
                '/' if !in_string && characters.peek() == Some(&'/') => break,
                _ if in_string => (),
                other => code.push(other),
            }
        }
        code.push('\n');
    }
    code
}

/// Returns all paths that begin with `crate`, `self` or `super`. A `use` with braces is expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let starts = ["crate::", "self::", "super::"].iter().any(|start| rest.starts_with(start));
        if starts && !before.is_alphanumeric() && before != '_' && before != ':' {
            let mut tokens = tokens(rest);
            tree(&mut tokens, &[], &mut paths);
        }
        before = first;
        rest = &rest[first.len_utf8()..];
    }
    paths
}

/// Names, `::`, braces, commas, `*`; ends at anything else.
fn tokens(text: &str) -> std::vec::IntoIter<String> {
    let mut tokens = Vec::new();
    let mut depth = 0_i32;
    let mut rest = text;
    loop {
        let trimmed = if depth > 0 { rest.trim_start() } else { rest };
        let name = trimmed.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(trimmed.len());
        let len = match trimmed.chars().next() {
            _ if name > 0 => name,
            Some(':') if trimmed.starts_with("::") => 2,
            Some('{') => 1,
            Some('}' | ',' | '*') if depth > 0 => 1,
            _ => break,
        };
        let token = &trimmed[..len];
        depth += i32::from(token == "{") - i32::from(token == "}");
        if token != "as" {
            tokens.push(token.to_owned());
        }
        rest = &trimmed[len..];
        if token == "}" && depth == 0 {
            break;
        }
    }
    tokens.into_iter()
}

/// One branch of a tree of imports: names up to a comma or a closing brace, or braces with more branches.
fn tree(tokens: &mut std::vec::IntoIter<String>, prefix: &[String], paths: &mut Vec<Vec<String>>) -> bool {
    let mut path = prefix.to_vec();
    loop {
        match tokens.next().as_deref() {
            Some("::") => (),
            Some("{") => {
                while tree(tokens, &path, paths) {}
                return matches!(tokens.clone().next().as_deref(), Some(",")) && tokens.next().is_some();
            }
            Some(",") => {
                paths.push(path);
                return true;
            }
            Some("}") | None => {
                if path.len() > prefix.len() {
                    paths.push(path);
                }
                return false;
            }
            Some("self") if !path.is_empty() => (),
            Some(name) => path.push(name.to_owned()),
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let module = |file: &PathBuf| {
        let path = file.strip_prefix(&root).unwrap().with_extension("");
        path.iter().map(|part| part.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let sources =
        files.iter().map(|file| Source { module: module(file), text: std::fs::read_to_string(file).unwrap() });
    // A file `tests.rs` is a unit test.
    sources.filter(|source| source.module.last().is_none_or(|name| name != "tests")).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

#[test]
fn nothing_imports_from_above_or_across() {
    let sources = sources();
    assert!(sources.len() > 40, "only {} files were found", sources.len());
    let faults: Vec<_> = sources.iter().flat_map(Source::faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_layer_has_files_and_every_file_is_read() {
    let mut files = BTreeMap::<&str, usize>::new();
    let sources = sources();
    for source in &sources {
        *files.entry(source.part()).or_default() += 1;
    }
    for (part, _) in LAYERS {
        assert!(files.contains_key(part), "{part} has no file");
    }
    let imports = sources.iter().map(|source| paths(&code(&source.text)).len()).sum::<usize>();
    assert!(imports > 150, "only {imports} imports were found");
}

#[test]
fn every_file_is_in_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let map = architecture.split("\n## The driver\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for source in sources() {
        let file = format!("`{}.rs`", source.module.join("/"));
        assert!(map.contains(&file), "{file} is not in the map of ARCHITECTURE.md");
    }
}

#[track_caller]
fn is_refused(module: &str, text: &str, fault: &str) {
    let faults = Source::new(module, text).faults();
    assert!(faults.iter().any(|found| found.contains(fault)), "{faults:?}");
}

#[test]
fn an_import_from_above_is_found_however_it_is_written() {
    is_refused("session::cell", "use crate::server::Server;", "`server` is above it");
    is_refused("session::cell", "use crate::{\n    runtime::Clock,\n    client,\n};", "`client` is above it");
    is_refused("session::cell", "use crate::{runtime::{self, Clock}, server::{self, Server}};", "`server` is above it");
    is_refused("session::cell", "use super::super::socket::Handle as Other;", "`socket` is above it");
    is_refused("session", "pub(crate) use super::server::state::Inner;", "`server` is above it");
    is_refused("session::cell", "fn f() -> crate::mount::serve::Listener {}", "`mount` is above it");
    is_refused("runtime", "impl crate::session::Side for Runtime {}", "`session` is above it");
    is_refused("server::state", "use crate::client::Client;", "`client` is beside it");
    is_refused("client::task", "let _ = crate::server::Server::new;", "`server` is beside it");
    is_refused("socket::handle", "use crate::websocket::ChannelTask;", "`websocket` is beside it");
}

#[test]
fn what_cannot_be_placed_is_a_fault() {
    is_refused("session::cell", "use crate::Builder;", "`Builder` is in no layer");
    is_refused("session::cell", "use crate::*;", "it names the whole crate");
    is_refused("session::cell", "use super::super::super::x;", "it leads out of the crate");
    is_refused("other", "", "`other` is in no layer");
}

#[test]
fn what_points_downwards_or_out_of_the_crate_is_allowed() {
    let text = r#"
        //! Seen from `crate::server::Server`.
        use std::sync::Arc;
        use super::deferred::{Deferred, Owner};
        use crate::runtime::{self, Clock};
        use engineio_proto::server::{Input, Output}; // not crate::server
        const NAME: &str = "crate::server::Server";
        fn f(cell: &super::super::tasks::Tasks) -> self::Inner {}
        pub(crate) fn g() {}

#[cfg(test)]
mod tests {
    use crate::server::Server;
}
"#;
    assert_eq!(Source::new("session::cell", text).faults(), Vec::<String>::new());
    assert!(paths(&code(text)).len() >= 5);
}
