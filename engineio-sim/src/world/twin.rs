//! Laws 7 and 10: a machine that is told the same, and drained when everything is over.

use std::collections::VecDeque;
use std::fmt;

use engineio_proto::client;
use engineio_proto::server::Output;
use engineio_proto::{Client, Session};

use super::core::Outcome;
use crate::oracle::{Law, broken};

/// A machine with outputs.
pub(crate) trait Machine {
    type Output;

    fn poll_output(&mut self) -> Option<Self::Output>;
}

impl Machine for Client {
    type Output = client::Output;

    fn poll_output(&mut self) -> Option<client::Output> {
        self.poll_output()
    }
}

impl Machine for Session {
    type Output = Output;

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }
}

/// The twin of a machine.
#[derive(Debug)]
pub(crate) struct Twin<M, O> {
    machine: M,
    /// What the machine itself has said, and its twin will have to say.
    expected: VecDeque<O>,
}

impl<M: Machine<Output = O>, O: PartialEq + fmt::Debug> Twin<M, O> {
    pub(crate) fn new(machine: M) -> Self {
        Self { machine, expected: VecDeque::new() }
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

    /// The machine said this.
    pub(crate) fn expect(&mut self, output: O) {
        self.expected.push_back(output);
    }

    /// Everything is over.
    pub(crate) fn compare(&mut self) -> Outcome {
        while let Some(expected) = self.expected.pop_front() {
            let output = self.machine.poll_output();
            if output.as_ref() != Some(&expected) {
                return broken(Law::Drains, format!("drained late it says {output:?}, drained early {expected:?}"));
            }
        }
        match self.machine.poll_output() {
            None => Ok(()),
            Some(more) => broken(Law::Drains, format!("drained late it says {more:?}, drained early nothing")),
        }
    }
}
