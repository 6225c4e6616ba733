//! Checks `docs/conformance.md`, which lists the tests that prove each rule.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const TABLES: &str = include_str!("../../docs/conformance.md");

/// How many ids there are of each group of behaviours. All begin at 1.
const GROUPS: [(&str, usize); 7] = [("S", 195), ("C", 79), ("P", 51), ("T", 32), ("M", 59), ("E", 15), ("Y", 41)];

struct Row {
    id: &'static str,
    cell: &'static str,
}

impl Row {
    /// What the cell names between backticks. A reason may have backticks of its own.
    fn tests(&self) -> impl Iterator<Item = &'static str> {
        self.cell.strip_prefix('✔').unwrap_or_default().split('`').skip(1).step_by(2)
    }
}

fn rows() -> Vec<Row> {
    let lines = TABLES.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|line| {
        let cells: Vec<_> = line.split(" | ").collect();
        let [id, what, cell] = cells[..] else { panic!("not three cells: {line}") };
        assert!(!what.is_empty(), "{id} says nothing");
        Row { id, cell }
    });
    rows.filter(|row| row.id != "Id").collect()
}

#[test]
fn every_id_is_listed_once() {
    let mut count = BTreeMap::new();
    for row in rows() {
        *count.entry(row.id.to_owned()).or_insert(0) += 1;
    }
    let expected = GROUPS.iter().flat_map(|&(group, last)| (1..=last).map(move |n| format!("{group}-{n:03}")));
    let missing: Vec<_> = expected.filter(|id| !count.contains_key(id)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    count.retain(|_, times| *times > 1);
    assert!(count.is_empty(), "listed more than once: {count:?}");
}

#[test]
fn every_line_has_a_test_or_a_reason() {
    for Row { id, cell } in rows() {
        let reason = |word| cell.strip_prefix(word).is_some_and(|rest| rest.starts_with(" (") && rest.ends_with(')'));
        let tested = cell.starts_with("✔ `") && cell.ends_with('`');
        assert!(
            tested || reason("**later**") || reason("**not here**") || cell.contains("TODO"),
            "{id}: neither a test nor a reason: {cell}",
        );
    }
}

#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace");
    let sources = sources(root);
    let mut wrong = Vec::new();
    for row in rows() {
        wrong.extend(row.tests().filter(|name| !exists(root, &sources, name)).map(|name| (row.id, name)));
    }
    assert!(wrong.is_empty(), "no such tests: {wrong:#?}");
}

#[test]
fn nothing_is_left_open() {
    let open: Vec<_> = rows().into_iter().filter(|row| row.cell.contains("TODO")).map(|row| row.id).collect();
    assert!(open.is_empty(), "{} lines have no test yet: {open:?}", open.len());
}

/// `interop::file::"title"` is a title in a file of the interop suites; `crate::module::test` is a Rust test.
fn exists(root: &Path, sources: &[(PathBuf, String)], name: &str) -> bool {
    if let Some((file, title)) = name.strip_prefix("interop::").and_then(|rest| rest.split_once("::")) {
        let text = fs::read_to_string(root.join("interop").join(file)).unwrap_or_default();
        return title.len() > 2 && text.contains(title.trim_matches('"'));
    }
    let parts: Vec<_> = name.split("::").collect();
    let [krate, modules @ .., test] = &parts[..] else { return false };
    let is_in = |path: &Path, part: &str| path.iter().any(|step| step == part || step == format!("{part}.rs").as_str());
    sources.iter().any(|(path, text)| {
        path.starts_with(krate)
            // A module of unit tests may stand in the file itself.
            && modules.iter().all(|module| *module == "tests" || is_in(path, module))
            && if *krate == "engineio-suites" { is_case(text, test) } else { is_test(text, test) }
    })
}

/// Whether a function of this name is there, and is marked as a test.
fn is_test(text: &str, name: &str) -> bool {
    let Some(at) = text.find(&format!("fn {name}(")) else { return false };
    let paragraph = text[..at].rsplit("\n\n").next().unwrap_or_default();
    paragraph.contains("#[") && paragraph.contains("test")
}

/// Whether a case of this name is in the suites. `engineio-suites/build.rs` says what one is.
fn is_case(text: &str, name: &str) -> bool {
    ["async fn", "fn"].iter().any(|kind| text.contains(&format!("\npub {kind} {name}() {{\n")))
}

/// All Rust files of the workspace, by their path from its root.
fn sources(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found
}
