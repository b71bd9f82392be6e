//! Any bytes as a certificate, packed or not.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = scalecheck::certificate::parse(data, 1 << 24);
});
