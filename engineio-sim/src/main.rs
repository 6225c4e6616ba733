//! Simulated worlds whose applications send, read and close at random: `engineio-sim --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    engineio_sim::cli::main(&engineio_sim::Simulation::new())
}
