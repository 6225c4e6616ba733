//! Law 15: the work of a machine is bounded by its calls and by the bytes that it takes.
//!
//! Time cannot be measured in a world. What can be counted is how often a machine wants to be called, and how much it
//! says.

use super::{Law, Violation, broken};

/// What was asked of a machine, and what it said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    calls: u64,
    bytes: u64,
    outputs: u64,
}

/// The maximum number of outputs for each call. An end during an upgrade has the most.
const OUTPUTS: u64 = 10;

impl Default for Cost {
    /// It was made, which is a call.
    fn default() -> Self {
        Self { calls: 1, bytes: 0, outputs: 0 }
    }
}

impl Cost {
    /// A machine was called.
    pub(crate) fn call(&mut self) {
        self.calls += 1;
    }

    /// It was given data.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// It had an output.
    pub(crate) fn say(&mut self) {
        self.outputs += 1;
    }

    /// Returns a violation if it had more outputs than its calls and its data allow.
    pub(crate) fn check(&self, name: &str) -> Result<(), Violation> {
        if self.outputs <= OUTPUTS * self.calls + self.bytes {
            return Ok(());
        }
        broken(Law::Cost, format!("{name} had {} outputs in {} calls", self.outputs, self.calls))
    }
}

/// Returns a violation if a server wants to be called for its timers more often than its sessions explain: every call of
/// a session, also for what is due, moves a deadline; each deadline needs one call when it is due, and one when it was put
/// off.
pub(crate) fn check_timers(server: usize, timers: u64, calls: u64) -> Result<(), Violation> {
    if timers <= 2 * calls + 8 {
        return Ok(());
    }
    broken(
        Law::Cost,
        format!("server {server} wants {timers} calls for its timers, and its sessions had {calls} calls"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_need_calls() {
        let mut cost = Cost::default();
        cost.call();
        (0..2 * OUTPUTS).for_each(|_| cost.say());
        assert_eq!(cost.check("it"), Ok(()));
        cost.say();
        assert!(cost.check("it").is_err());
        cost.take(1);
        assert_eq!(cost.check("it"), Ok(()));
    }

    #[test]
    fn timers_need_calls() {
        assert!(check_timers(0, 28, 10).is_ok() && check_timers(0, 29, 10).is_err());
    }
}
