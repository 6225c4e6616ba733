//! The core does no I/O and asks nobody for the time or for random numbers: shown on what the compiler makes of it.
//!
//! `freestanding/` is a library that plays whole sessions of both sides on the core without its default features. It is
//! built here for a place where there is nothing: no C library, no standard library, no start files, no unwinding. All
//! of the core and of its dependencies is linked, also what the sessions do not use, and whatever is missing then is an
//! error. So the list of what has to be imported says what the core can do to the world, and it is empty.
//!
//! What `core` expects of every platform is in the library itself (`memcpy` and the like), see its front page. An
//! instruction can do what a function cannot be seen to do, so those are looked through too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate alloc;

#[path = "freestanding/sessions.rs"]
mod sessions;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CORE: &str = env!("CARGO_MANIFEST_DIR");

/// The library's manifest. It is written when it is built, so that it can be given the lock file of the workspace: what
/// is looked at is what is shipped, to the version.
const MANIFEST: &str = r#"
[workspace]

[package]
name = "freestanding"
version = "0.0.0"
edition = "2024"
publish = false

[lib]
path = '{core}/tests/freestanding/lib.rs'
crate-type = ["cdylib"]

[dependencies]
engineio-proto = { path = '{core}', default-features = false }

[profile.release]
panic = "abort"
opt-level = 1
# One piece for each crate: who needs anything of it gets it whole.
codegen-units = 1

[lints.rust]
unexpected_cfgs = { level = "deny", check-cfg = ['cfg(asks_for_the_time)'] }
"#;

#[test]
fn the_sessions_are_whole() {
    assert_eq!((sessions::server(), sessions::client()), (25_001, 25_001));
}

/// Whoever adds a dependency to the core passes here. Those that only run in the compiler could do no harm in a program,
/// but are listed as well.
#[test]
fn dependencies_are_known() {
    let tree = |edges: &str| {
        let manifest = format!("{CORE}/Cargo.toml");
        let args = ["tree", "--locked", "--no-default-features", "--target=all", "--prefix=none", "--format={p}"];
        let output = online_if_needed(|| {
            let mut command = cargo(Path::new(CORE));
            command.args(args).args(["--manifest-path", &manifest, "--edges", edges]);
            command
        });
        let stdout = String::from_utf8(output.stdout).unwrap();
        stdout.lines().filter_map(|line| line.split(' ').next()).map(String::from).collect::<BTreeSet<_>>()
    };
    let linked = tree("normal,no-proc-macro");
    let expected = [
        "base64",
        "bytes",
        "bytestring",
        "engineio-proto",
        "form_urlencoded",
        "itoa",
        "memchr",
        "percent-encoding",
        "serde",
        "serde_core",
        "serde_json",
        "slab",
        "thiserror",
        "zmij",
    ];
    assert_eq!(linked.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let in_the_compiler = ["proc-macro2", "quote", "serde_derive", "syn", "thiserror-impl", "unicode-ident"];
    let all = tree("normal");
    assert_eq!(all.difference(&linked).map(String::as_str).collect::<Vec<_>>(), in_the_compiler);
}

/// Runs on the platform where it was seen to tell the one from the other.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod native {
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};
    use object::elf::DT_NEEDED;
    use object::read::elf::{Dyn as _, ElfFile64};
    use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

    use super::*;

    const TARGET: &str = "x86_64-unknown-linux-gnu";
    /// Nothing is linked that was not named, and nothing may be left open.
    const BARE: [&str; 3] = ["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles", "-Clink-arg=-Wl,-z,defs"];

    /// All that the library shows to the world: what it is called by, and what it brings for want of a platform.
    const EXPORTS: [&str; 10] = [
        "_Unwind_Resume",
        "bcmp",
        "engineio_client",
        "engineio_server",
        "memcmp",
        "memcpy",
        "memmove",
        "memset",
        "rust_eh_personality",
        "strlen",
    ];

    /// Names, or the beginnings of names, of what has no business here, whoever brings it.
    const TELLTALES: [&str; 17] = [
        "accept4",
        "arc4random",
        "clock_gettime",
        "connect",
        "epoll_",
        "futex",
        "getentropy",
        "getrandom",
        "gettimeofday",
        "io_uring",
        "mmap",
        "nanosleep",
        "pthread_",
        "recvmsg",
        "sendmsg",
        "syscall",
        "sysconf",
    ];
    /// These are words of ours as well, but not as bare names of C.
    const TELLTALES_IN_C: [&str; 9] = ["accept", "close", "malloc", "open", "poll", "read", "send", "socket", "write"];

    #[test]
    fn nothing_is_imported() {
        let package = Package::new(TARGET);
        let library = fs::read(package.build(&BARE).join("libfreestanding.so")).unwrap();
        let file = ElfFile64::<Endianness>::parse(&*library).unwrap();

        let names = |undefined| {
            let symbols = file.dynamic_symbols().filter(move |symbol| symbol.is_undefined() == undefined);
            symbols.map(|symbol| symbol.name().unwrap()).filter(|name| !name.is_empty()).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(true), BTreeSet::new(), "what has to be imported");
        assert_eq!(names(false), BTreeSet::from(EXPORTS), "what is exported");
        let (dynamic, _) = file.elf_section_table().dynamic(file.endian(), file.data()).unwrap().unwrap();
        let libraries = dynamic.iter().filter(|entry| entry.d_tag(file.endian()) == DT_NEEDED);
        assert_eq!(libraries.count(), 0, "libraries that have to be there");

        look_at_names(&file);
        look_at_instructions(&file);

        // And it would have been noticed.
        let output = package.cargo(&[&BARE[..], &["--cfg=asks_for_the_time"]].concat()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains("clock_gettime"), "{stderr}");
    }

    fn look_at_names(file: &ElfFile64<'_>) {
        let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
        let mangled: BTreeSet<_> = functions.map(|symbol| symbol.name().unwrap()).collect();
        let mut names = BTreeSet::new();
        for mangled in mangled {
            let demangled = rustc_demangle::demangle(mangled);
            let name = format!("{demangled:#}");
            let mut words = name.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let is_telltale = |word: &str| TELLTALES.iter().any(|telltale| word.starts_with(telltale));
            assert!(!words.any(|word| word == "std" || is_telltale(word)), "{name}");
            assert!(!TELLTALES_IN_C.contains(&mangled), "{name}");
            names.insert(name);
        }
        // Nothing was left out because nobody calls it.
        for (whose, uncalled) in [("Session", "discard_incoming"), ("Client", "abort"), ("Reconnect", "new")] {
            let is_it = |name: &&String| name.contains(whose) && name.ends_with(&format!("::{uncalled}"));
            assert!(names.iter().any(|name| is_it(&name)), "{whose}::{uncalled} in {names:#?}");
        }
    }

    /// None that enters a kernel, reads a clock, makes random numbers, asks what machine this is, or talks to a device.
    fn look_at_instructions(file: &ElfFile64<'_>) {
        use Mnemonic::*;
        let forbidden = [
            Syscall, Sysenter, Int, Rdtsc, Rdtscp, Rdpmc, Rdpid, Rdrand, Rdseed, Cpuid, Xgetbv, In, Insb, Insd, Insw,
            Out, Outsb, Outsd, Outsw,
        ];
        let text = file.section_by_name(".text").unwrap();
        let (start, code) = (text.address(), text.data().unwrap());
        let mut looked_at = 0;
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
            let from = usize::try_from(symbol.address() - start).unwrap();
            let body = &code[from..from + usize::try_from(symbol.size()).unwrap()];
            let mut decoder = Decoder::with_ip(64, body, symbol.address(), DecoderOptions::NONE);
            for instruction in &mut decoder {
                let place = (symbol.name().unwrap(), instruction.ip());
                assert!(!instruction.is_invalid(), "not an instruction: {place:?}");
                assert!(!forbidden.contains(&instruction.mnemonic()), "{:?}: {place:?}", instruction.mnemonic());
                looked_at += 1;
            }
        }
        assert!(looked_at > 100_000, "{looked_at} instructions");
    }
}

/// Where the target is installed (`rustup target add wasm32-unknown-unknown`).
#[test]
fn a_wasm_module_imports_nothing() {
    const TARGET: &str = "wasm32-unknown-unknown";
    #[allow(clippy::disallowed_methods)] // It is the core that may not.
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).args(["--print=target-libdir", "--target", TARGET]).output().unwrap();
    let libraries = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());
    if !libraries.is_dir() {
        println!("{TARGET} is not installed: not looked at");
        return;
    }
    let module = fs::read(Package::new(TARGET).build(&[]).join("freestanding.wasm")).unwrap();
    let sections = wasm_sections(&module);
    assert!(sections.iter().any(|&(id, len)| id == WASM_CODE && len > 100_000), "{sections:?}");
    assert!(!sections.iter().any(|&(id, _)| id == WASM_IMPORTS), "{sections:?}");
}

#[test]
fn imports_of_a_wasm_module_are_seen() {
    let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x87\0\x01\x01e\x01f\0\0";
    assert_eq!(wasm_sections(module), [(1, 4), (WASM_IMPORTS, 7)]);
}

const WASM_IMPORTS: u8 = 2;
const WASM_CODE: u8 = 10;

/// Number and length of each section of a module. One without imports has no section for them.
fn wasm_sections(module: &[u8]) -> Vec<(u8, usize)> {
    let mut rest = module.strip_prefix(b"\0asm\x01\0\0\0").expect("a wasm module");
    let mut sections = Vec::new();
    while let [id, tail @ ..] = rest {
        // The length, seven bits in each byte, the lowest first.
        let bytes = 1 + tail.iter().position(|byte| byte & 0x80 == 0).expect("the end of a number");
        let len = tail[..bytes].iter().rev().fold(0, |len, byte| len << 7 | usize::from(byte & 0x7f));
        sections.push((*id, len));
        rest = &tail[bytes + len..];
    }
    sections
}

/// The library of `freestanding/` as a package of its own.
struct Package {
    dir: PathBuf,
    target: &'static str,
}

impl Package {
    fn new(target: &'static str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("freestanding").join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("Cargo.toml"), MANIFEST.replace("{core}", CORE)).unwrap();
        fs::copy(Path::new(CORE).join("../Cargo.lock"), dir.join("Cargo.lock")).unwrap();
        Self { dir, target }
    }

    /// Builds it. Gives the directory in which the result is.
    fn build(&self, flags: &[&str]) -> PathBuf {
        online_if_needed(|| self.cargo(flags));
        self.has_the_versions_of_the_workspace();
        self.dir.with_file_name("target").join(self.target).join("release")
    }

    fn cargo(&self, flags: &[&str]) -> Command {
        let mut command = cargo(&self.dir);
        command.args(["rustc", "--release", "--lib", "--target", self.target, "--target-dir", "../target", "--"]);
        command.args(flags);
        // Whether somebody calls it or not.
        command.env("RUSTFLAGS", "-Clink-dead-code");
        command
    }

    fn has_the_versions_of_the_workspace(&self) {
        let workspace = fs::read_to_string(Path::new(CORE).join("../Cargo.lock")).unwrap();
        let own = fs::read_to_string(self.dir.join("Cargo.lock")).unwrap();
        for package in own.split("[[package]]").skip(1).filter(|package| !package.contains("\"freestanding\"")) {
            let mut lines = package.trim_start().split_inclusive('\n');
            let version: String = lines.by_ref().take(2).collect();
            assert!(workspace.contains(&version), "{version}is not what the workspace has");
        }
    }
}

/// A cargo that has heard nothing of the one that runs this test.
fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(dir);
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command of cargo, if that can be without the network.
fn online_if_needed(command: impl Fn() -> Command) -> Output {
    let offline = command().env("CARGO_NET_OFFLINE", "true").output().unwrap();
    if offline.status.success() {
        return offline;
    }
    let output = command().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
