//! Laws 7 and 10: a machine that gets the same calls, and is drained at the end.

use std::collections::VecDeque;
use std::fmt;

use super::core::Outcome;
use crate::oracle::{Law, broken};

/// The twin of a machine.
#[derive(Debug)]
pub(crate) struct Twin<M, O> {
    machine: M,
    poll_output: fn(&mut M) -> Option<O>,
    /// The outputs of the machine, which its twin must have as well.
    expected: VecDeque<O>,
}

impl<M, O: PartialEq + fmt::Debug> Twin<M, O> {
    pub(crate) fn new(machine: M, poll_output: fn(&mut M) -> Option<O>) -> Self {
        Self { machine, poll_output, expected: VecDeque::new() }
    }

    /// The machine was called with this result.
    pub(crate) fn call<R: PartialEq + fmt::Debug>(&mut self, result: &R, call: impl FnOnce(&mut M) -> R) -> Outcome {
        let again = call(&mut self.machine);
        if again == *result {
            return Ok(());
        }
        broken(
            Law::Determinism,
            format!("the same call gave {result:?}, and {again:?} to a machine that is not drained"),
        )
    }

    /// The machine had this output.
    pub(crate) fn expect(&mut self, output: O) {
        self.expected.push_back(output);
    }

    /// Compares the outputs at the end.
    pub(crate) fn compare(&mut self) -> Outcome {
        while let Some(expected) = self.expected.pop_front() {
            let output = (self.poll_output)(&mut self.machine);
            if output.as_ref() != Some(&expected) {
                return broken(Law::Drains, format!("drained late it says {output:?}, drained early {expected:?}"));
            }
        }
        match (self.poll_output)(&mut self.machine) {
            None => Ok(()),
            Some(more) => broken(Law::Drains, format!("drained late it says {more:?}, drained early nothing")),
        }
    }
}
