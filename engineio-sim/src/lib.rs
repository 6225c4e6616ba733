//! Deterministic simulation of Engine.IO.

pub mod decoder;
