//! Outputs that must follow, in order within each kind.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

use engineio_proto::{ChannelId, Event, ExchangeId};

/// How an exchange must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reply { status: u16, body: Vec<u8> },
    Dropped,
}

/// What must become of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnChannel {
    Ready(ChannelId),
    Read(ChannelId, bool),
    Close(ChannelId),
}

/// What a client must ask its embedder for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Get(ExchangeId),
    Post(ExchangeId, Vec<u8>),
    Cancel(ExchangeId),
    Open(ChannelId),
}

/// The outputs of a machine that were not seen yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) answers: BTreeMap<ExchangeId, Answer>,
    pub(super) channels: VecDeque<OnChannel>,
    pub(super) events: VecDeque<Event>,
    pub(super) asks: VecDeque<Ask>,
    /// The channel was announced to have frames, and not all were pulled since.
    pub(super) ready: bool,
    /// The embedder was asked not to read.
    pub(super) deaf: bool,
    /// A heartbeat was announced during this call.
    pub(super) heartbeat: bool,
}

impl Said {
    pub(super) fn see<T: PartialEq + Debug>(expected: Option<T>, seen: &T) -> Result<(), String> {
        match expected {
            Some(expected) if expected == *seen => Ok(()),
            Some(expected) => Err(format!("says {seen:?}, expected {expected:?}")),
            None => Err(format!("says {seen:?}, expected nothing of the kind")),
        }
    }

    /// Returns what was not said, if anything.
    pub(super) fn missing(&self) -> Option<String> {
        if let Some((exchange, answer)) = self.answers.first_key_value() {
            return Some(format!("{exchange:?} {answer:?}"));
        }
        let event = self.events.front().map(|event| format!("{event:?}"));
        let channel = || self.channels.front().map(|channel| format!("{channel:?}"));
        let ask = || self.asks.front().map(|ask| format!("{ask:?}"));
        event.or_else(channel).or_else(ask)
    }

    pub(super) fn heartbeat(&mut self) {
        if !std::mem::replace(&mut self.heartbeat, true) {
            self.events.push_back(Event::Heartbeat);
        }
    }
}
