//! The number of cases of a property, and how failures are stored.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

pub(crate) const SEED: u64 = 4;

/// The same cases in every run, unless `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for others. One that fails is written
/// to a file beside the test, `*.proptest-regressions`, which is committed: from then on every run begins with it.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        max_shrink_iters: 100_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config
}
