//! Configurations: any text is accepted or refused with problems, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(rejected) = keygate::config::load_str("fuzz.yaml", text) {
        assert!(!rejected.problems.is_empty());
        rejected.problems.iter().for_each(|problem| drop(problem.to_string()));
    }
});
