//! Any text as a VNN-LIB property.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = scalecheck::vnnlib::parse("property.vnnlib", "the property", text);
});
