//! `engineio_fuzz::websocket` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(websocket);
