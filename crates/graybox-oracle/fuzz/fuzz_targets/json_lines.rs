#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| graybox_oracle::fuzz::json_lines(input));
