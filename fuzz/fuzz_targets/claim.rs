//! Any text as a claim; the files that it names are not there.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = scalecheck::claim::parse("nowhere/claim.toml", text, &mut Default::default());
});
