//! The committed corpora, and what was ever found, given to the targets as any other test: no fuzzer is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use engineio_fuzz::TARGETS;

fn directory(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)
}

/// The files of a directory, in order; none if it is missing.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn what_was_committed_holds() {
    for (name, target) in TARGETS {
        let corpus = files(&directory("corpus").join(name));
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for path in corpus.iter().chain(&files(&directory("regressions").join(name))) {
            // Shown only when it panics.
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
        }
    }
}

/// A target that is forgotten somewhere would never run.
#[test]
fn every_target_is_complete() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&directory("fuzz_targets")), targets);
    assert_eq!(names(&directory("corpus")), targets);
    assert!(names(&directory("regressions")).is_subset(&targets));
    let manifest = fs::read_to_string(directory("Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has no program");
    }
}
