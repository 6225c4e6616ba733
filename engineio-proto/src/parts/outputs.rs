//! The queue of a machine's outputs.

use alloc::collections::VecDeque;
use core::fmt;

use crate::parts::buffer::pop_and_shrink;
use crate::parts::event::{ChannelId, Event};
use crate::parts::flow::Output;

/// Outputs in order.
///
/// While messages stream through a channel whose writes are not observed, there is at most one output at a time, and it is
/// a small one. So the first one is kept here: it needs no other memory.
#[derive(Clone)]
pub(crate) struct Outputs<O> {
    /// The first output, if the queue was empty when it came, and if it is small.
    first: Option<Small>,
    /// The outputs after it.
    rest: VecDeque<O>,
}

/// An output that is small.
#[derive(Clone, Copy)]
enum Small {
    Event(Event),
    ChannelReady(ChannelId),
}

/// A queue that has grown beyond this releases its memory when it is empty.
const KEEP: usize = 8;

impl<O: Output> Outputs<O> {
    pub(crate) const fn new() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }

    #[inline]
    pub(crate) fn event(&mut self, event: Event) {
        self.push_small(Small::Event(event));
    }

    #[inline]
    pub(crate) fn channel_ready(&mut self, channel: ChannelId) {
        self.push_small(Small::ChannelReady(channel));
    }

    #[inline]
    fn push_small(&mut self, output: Small) {
        if self.is_empty() {
            self.first = Some(output);
        } else {
            self.push(output.into_output());
        }
    }

    pub(crate) fn push(&mut self, output: O) {
        if self.rest.capacity() == 0 {
            // There are hardly ever more at a time, and an idle session keeps the memory.
            self.rest.reserve_exact(2);
        }
        self.rest.push_back(output);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<O> {
        match self.first.take() {
            Some(first) => Some(first.into_output()),
            None => pop_and_shrink(&mut self.rest, KEEP),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    /// Returns the capacity of the queue, for tests of memory.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.rest.capacity()
    }
}

impl Small {
    #[inline]
    fn into_output<O: Output>(self) -> O {
        match self {
            Self::Event(event) => O::event(event),
            Self::ChannelReady(channel) => O::channel_ready(channel),
        }
    }
}

/// Where the outputs are does not count.
impl<O: Output + PartialEq> PartialEq for Outputs<O> {
    fn eq(&self, other: &Self) -> bool {
        let all = |outputs: &Self| {
            let mut outputs = outputs.clone();
            core::iter::from_fn(move || outputs.pop())
        };
        all(self).eq(all(other))
    }
}

impl<O: Output + Eq> Eq for Outputs<O> {}

impl<O: fmt::Debug + Output> fmt::Debug for Outputs<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Option<O> = self.first.map(Small::into_output);
        f.debug_list().entries(&first).entries(&self.rest).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::event::Output as SessionOutput;
    use alloc::vec::Vec;

    #[test]
    fn outputs_come_in_order_wherever_they_are() {
        let ready = SessionOutput::ChannelReady { channel: ChannelId(1) };
        let close = SessionOutput::ChannelClose { channel: ChannelId(2) };
        let drain = SessionOutput::Event(Event::Drain);
        let mut outputs = Outputs::new();
        outputs.channel_ready(ChannelId(1));
        assert_eq!(outputs.capacity(), 0, "one small output needs no memory");
        outputs.event(Event::Drain);
        outputs.push(close.clone());
        let mut late = Outputs::new();
        late.push(ready.clone());
        late.push(drain.clone());
        late.push(close.clone());
        assert_eq!(outputs, late);
        assert_eq!(outputs.pop(), Some(ready));
        assert_ne!(outputs, late);
        // What comes now is behind what is left.
        outputs.event(Event::Drain);
        let rest: Vec<_> = core::iter::from_fn(|| outputs.pop()).collect();
        assert_eq!(rest, [drain.clone(), close, drain]);
        assert!(outputs.is_empty());
    }
}
