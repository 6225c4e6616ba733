//! `engineio_fuzz::session` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(session);
