//! `engineio_fuzz::world` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(world);
