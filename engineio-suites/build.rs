//! Writes the macro `suites!`, which makes a `#[test]` from every case.
//!
//! A case is a function without arguments and result that is declared at the beginning of a line, `pub async fn name()
//! {` or `pub fn name() {`. It keeps its `#[cfg]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Modules whose cases belong to the feature of the runtime crate with the same name.
const FEATURES: [&str; 2] = ["tls", "tower"];

/// The cases of a module, each with its attributes and the function that runs it, and the submodules.
#[derive(Default)]
struct Module {
    cases: Vec<(String, Vec<String>, &'static str)>,
    modules: BTreeMap<String, Self>,
}

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=src");
    let mut root = Module::default();
    read_folder(&PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("src"), &mut root)?;
    let mut tests = String::new();
    root.write("", 1, &mut tests)?;
    let text = format!(
        "/// Makes a test of every case, for one runtime crate. The type of the argument, a constant, is its [`Adapter`].\n\
        #[macro_export]\n\
        macro_rules! suites {{\n    ($adapter:expr) => {{\n    \
        static ADAPTER: &dyn $crate::Adapter = &$adapter;\n{tests}    }};\n}}\n"
    );
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("suites.rs"), text)?;
    Ok(())
}

fn read_folder(folder: &Path, module: &mut Module) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            read_folder(&path, module.modules.entry(name.to_owned()).or_default())?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            let module = module.modules.entry(name.to_owned()).or_default();
            read_file(&fs::read_to_string(&path)?, module).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

fn read_file(text: &str, module: &mut Module) -> Result<()> {
    let mut attributes = Vec::new();
    for line in text.lines() {
        if line.starts_with("#[cfg(") {
            attributes.push(line.to_owned());
        } else if line.trim_start().starts_with("#[") && line.contains("test") {
            return Err(format!("{line}: it would not run; a case is `pub async fn name() {{`").into());
        } else if let Some((name, run)) = case(line)? {
            module.cases.push((name.to_owned(), std::mem::take(&mut attributes), run));
        } else {
            attributes.clear();
        }
    }
    Ok(())
}

/// The name of the case that begins in a line, and the function that runs it.
fn case(line: &str) -> Result<Option<(&str, &'static str)>> {
    let blocking = line.strip_prefix("pub fn ").map(|rest| (rest, "run_blocking"));
    let Some((rest, run)) = line.strip_prefix("pub async fn ").map(|rest| (rest, "run")).or(blocking) else {
        return Ok(None);
    };
    match rest.split_once("()") {
        Some((name, " {")) if !name.contains(['<', '(']) => Ok(Some((name, run))),
        Some((name, _)) if !name.contains(['<', '(']) => Err(format!("{line}: a case returns nothing").into()),
        _ => Ok(None),
    }
}

impl Module {
    fn is_empty(&self) -> bool {
        self.cases.is_empty() && self.modules.values().all(Self::is_empty)
    }

    /// Writes the tests of a module. Its path ends with `::` unless it is the root.
    fn write(&self, path: &str, depth: usize, out: &mut String) -> Result<()> {
        let indent = "    ".repeat(depth);
        for (name, attributes, run) in &self.cases {
            for attribute in attributes {
                writeln!(out, "{indent}{attribute}")?;
            }
            writeln!(out, "{indent}#[test]\n{indent}fn {name}() {{ $crate::{run}(ADAPTER, $crate::{path}{name}); }}")?;
        }
        for (name, module) in self.modules.iter().filter(|(_, module)| !module.is_empty()) {
            if FEATURES.contains(&name.as_str()) {
                writeln!(out, "{indent}#[cfg(feature = \"{name}\")]")?;
            }
            writeln!(out, "{indent}mod {name} {{\n{indent}    use super::ADAPTER;")?;
            module.write(&format!("{path}{name}::"), depth + 1, out)?;
            writeln!(out, "{indent}}}")?;
        }
        Ok(())
    }
}
