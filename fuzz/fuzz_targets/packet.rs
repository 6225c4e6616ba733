//! `engineio_fuzz::packet` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(packet);
