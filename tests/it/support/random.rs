//! Random inputs that can be repeated.

use std::sync::OnceLock;

use proptest::test_runner::{Config, RngSeed, TestRunner, contextualize_config};

/// The seed of this process's random inputs: `PROPTEST_RNG_SEED`, or a random one. The test prints it in case it fails.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    let named = || std::env::var("PROPTEST_RNG_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = *SEED.get_or_init(|| named().unwrap_or_else(rand::random));
    println!("PROPTEST_RNG_SEED={seed}");
    seed
}

/// Runs a property with this many cases, or as many as `PROPTEST_CASES` says.
pub fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed()), ..contextualize_config(config) })
}
