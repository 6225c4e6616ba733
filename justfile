# The commands of this repository. `just` lists them.
_default:
    @just --list --unsorted

# The fast part of CI: format, lints, docs, tests
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features
    cargo test --workspace --all-features --lib --bins --tests --examples
    cargo test --workspace --all-features --doc

# Everything that must hold before a merge
ci:
    .ci/run

# The reference clients in Node.js, Python and a browser: all, or some of `node python browser client pairs embeddings`
interop *parts:
    interop/run {{ parts }}

# The benchmarks
bench *args:
    cargo bench --workspace {{ args }}

# CPU time and memory next to other servers, as Markdown tables: `just load --quick`, `just load --help`
load *args:
    benches/run {{ args }}

# What the codec costs, beside engineioxide's and the least work for the same result
codec-table *rounds:
    benches/codec/run {{ rounds }}

# Instructions of core and codec, compared with `benches/guard.txt`; `just guard --write` updates it (needs valgrind)
guard *args:
    benches/guard {{ args }}

# The chat example
chat *args:
    cargo run --release -p engineio-tokio --example chat -- {{ args }}

# Mutation testing of the core: reports small changes of its code that no test notices (needs cargo-mutants)
mutants *args:
    @# A mutant may ask for memory without end.
    ulimit -v 8000000 2>/dev/null; cargo mutants -p engineio-proto {{ args }}

# All sequences of events in a small scope: for a session, for a client, for both
explore:
    cargo test --release -p engineio-proto --test explore --test explore_client --test explore_pair -- --nocapture

# Simulated worlds: `just sim run --seeds 10000`, `just sim replay 7 --diagram`, `just sim --help`
sim *args:
    cargo run --release -p engineio-sim -- {{ args }}

# How many seeds it takes to find each planted bug
planted *args:
    engineio-sim/planted/run {{ args }}

# A short run of every fuzz target, or a run of this many seconds each
fuzz *seconds:
    fuzz/smoke {{ seconds }}
