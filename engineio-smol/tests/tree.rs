//! The dependencies of this crate: of tokio only its channels, and no unknown ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Everything that is linked on Linux, or compiled for it, with all features.
const TREE: &str = "
    async-channel async-executor async-fs async-io async-lock async-net async-process async-signal async-task
    atomic-waker base64 base64-simd bitflags block-buffer blocking bytes bytestring cfg-if chacha20 concurrent-queue
    const-oid cpufeatures crossbeam-utils crypto-common data-encoding digest engineio-driver engineio-proto
    engineio-smol errno event-listener event-listener-strategy fastrand form_urlencoded futures-channel futures-core
    futures-io futures-lite futures-rustls futures-sink getrandom http http-body http-body-util httparse httpdate
    hybrid-array hyper hyper-util ipnet itoa libc linux-raw-sys log memchr once_cell openssl-probe outref parking
    percent-encoding pin-project-lite piper polling proc-macro2 quote rand rand_core ring rustix rustls
    rustls-native-certs rustls-pki-types rustls-platform-verifier rustls-webpki serde serde_core serde_derive
    serde_json sha1 signal-hook-registry simdutf8 slab smallvec smol smol-hyper subtle syn thiserror thiserror-impl
    tokio tower-layer tower-service tracing tracing-core try-lock tungstenite typenum unicode-ident untrusted vsimd
    want zeroize zmij
";

/// The crates of the tree, each with its features.
fn tree() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", "engineio-smol", "--edges", "normal", "--all-features", "--locked"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let mut tree = BTreeMap::new();
    for line in text.lines() {
        let (package, features) = line.split_once('|').expect("the format that was asked for");
        let name = package.split(' ').next().unwrap_or_default().to_owned();
        let features = features.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned);
        tree.entry(name).or_insert_with(BTreeSet::new).extend(features);
    }
    tree
}

/// hyper needs the channels. The feature `default` of tokio is empty.
#[test]
fn of_tokio_there_are_only_channels() {
    let features = tree().remove("tokio").expect("hyper uses it");
    assert_eq!(features, ["default", "sync"].map(str::to_owned).into());
}

#[test]
fn nothing_comes_in_unseen() {
    let tree: BTreeSet<String> = tree().into_keys().collect();
    let known: BTreeSet<String> = TREE.split_whitespace().map(str::to_owned).collect();
    let new: Vec<_> = tree.difference(&known).collect();
    let gone: Vec<_> = known.difference(&tree).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:?}, gone: {gone:?}");
}
