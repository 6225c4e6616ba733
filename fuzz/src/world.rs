//! A simulated world, with all choices read from the bytes.

use engineio_sim::Simulation;

/// After this many bytes every choice is the first one, and nothing new happens.
const ENOUGH: usize = 2000;

/// The world of these bytes breaks no law.
pub fn world(data: &[u8]) {
    let data = data.get(..ENOUGH).unwrap_or(data);
    if let Err(failure) = Simulation::new().run_bytes(data) {
        panic!("{}", Simulation::new().shrink(failure));
    }
}
