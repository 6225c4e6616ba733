//! Data in transit between a client and a server.
//!
//! Every request and every answer travels on its own, and may overtake any other; the frames of a channel keep their
//! order in each direction.
//!
//! What was handed over is written when its connection has taken it, and not when it arrives: it may be lost before and
//! after. Nobody can know of what is lost after it was written.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use engineio_proto::wire::Frame;

use crate::explore_common::wire;

/// Something about one exchange that has not arrived. Exchanges go by the client's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// To the server: a GET, or a POST with its body.
    Request { target: String, body: Option<Bytes> },
    /// To the client.
    Answer { status: u16, body: Bytes },
    /// The server will learn that the answer was written.
    Report,
    /// The client will learn that the connection is lost.
    ClientLearns,
    /// The server will learn that the connection is lost.
    ServerLearns,
}

/// On its way to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    Open(String),
    Frame(Frame),
    Closed,
}

/// On its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    Opened,
    Refused,
    Frame(Frame),
    Closed,
    Lost,
}

/// A channel: both directions, and what its ends do.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    pub id: u64,
    pub up: VecDeque<Up>,
    pub down: VecDeque<Down>,
    pub client: End,
    pub server: End,
    /// Its connection is torn. An end that has not learned of it still writes, and nothing arrives.
    pub torn: bool,
}

/// One end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// It was not closed, and did not hear that the other one was.
    pub open: bool,
    /// There are frames to pull.
    pub ready: bool,
    /// Frames are read from it.
    pub reads: bool,
    /// Frames were pulled and are not written: what is to be reported when they are.
    pub unwritten: Option<u64>,
}

impl Default for End {
    fn default() -> Self {
        Self { open: true, ready: false, reads: true, unwritten: None }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Network {
    pub items: Vec<(u64, Item)>,
    /// The requests that the server has and has not answered.
    pub held: BTreeSet<u64>,
    /// Those whose answer cannot arrive any more.
    pub torn: BTreeSet<u64>,
    pub wire: Option<Wire>,
    /// Messages were lost that were written.
    pub silent_loss: bool,
}

impl Network {
    pub fn put(&mut self, id: u64, item: Item) {
        self.items.push((id, item));
    }

    /// Takes an item of an exchange off the network.
    pub fn take(&mut self, id: u64, which: impl Fn(&Item) -> bool) -> Option<Item> {
        let position = self.items.iter().position(|(other, item)| *other == id && which(item))?;
        Some(self.items.remove(position).1)
    }

    /// The client has dropped a request.
    pub fn cancel(&mut self, id: u64) {
        self.torn.insert(id);
        self.take(id, |item| matches!(item, Item::ClientLearns));
        if self.lose_answer(id) || self.held.contains(&id) {
            self.put(id, Item::ServerLearns);
        }
    }

    /// An answer that has not arrived is lost, if there is one. It is not written any more, if it was not yet.
    fn lose_answer(&mut self, id: u64) -> bool {
        let Some(answer) = self.take(id, |item| matches!(item, Item::Answer { .. })) else { return false };
        let unwritten = self.take(id, |item| *item == Item::Report).is_some();
        self.silent_loss |= !unwritten && matches!(answer, Item::Answer { body, .. } if messages(&body) > 0);
        true
    }

    /// The connection of a request is torn; both sides will learn of it, each in its time.
    pub fn tear(&mut self, id: u64) {
        self.torn.insert(id);
        self.put(id, Item::ClientLearns);
        if self.take(id, |item| matches!(item, Item::Request { .. })).is_none() {
            self.lose_answer(id);
            self.put(id, Item::ServerLearns);
        }
    }

    /// Forgets what makes no difference any more.
    pub fn tidy(&mut self) {
        let Self { items, held, torn, .. } = self;
        torn.retain(|id| held.contains(id) || items.iter().any(|(other, _)| other == id));
    }

    /// So many messages on the channel are not written, up and down.
    pub fn tear_channel(&mut self, unwritten: (u64, u64)) {
        self.lose_frames(unwritten);
        if let Some(wire) = &mut self.wire {
            let before = matches!(wire.up.front(), Some(Up::Open(_)));
            let heard = !matches!(wire.down.front(), Some(Down::Opened));
            wire.up.clear();
            wire.up.extend((wire.server.open && !before).then_some(Up::Closed));
            wire.down.clear();
            let down = if before || !heard { Down::Refused } else { Down::Lost };
            wire.down.extend(wire.client.open.then_some(down));
            (wire.client.unwritten, wire.server.unwritten) = (None, None);
            wire.torn = true;
        }
    }

    /// The client has closed its end, behind what it wrote.
    pub fn client_closes(&mut self, unwritten: u64) {
        self.lose_frames((u64::MAX, unwritten));
        if let Some(wire) = &mut self.wire {
            wire.client = End { open: false, ready: false, unwritten: None, ..wire.client };
            wire.server.unwritten = None;
            wire.down.clear();
            wire.up.push_back(Up::Closed);
        }
    }

    /// The same of the server.
    pub fn server_closes(&mut self, unwritten: u64) {
        self.lose_frames((unwritten, u64::MAX));
        if let Some(wire) = &mut self.wire {
            wire.server = End { open: false, ready: false, unwritten: None, ..wire.server };
            wire.client.unwritten = None;
            wire.up.clear();
            if wire.client.open {
                wire.down.push_back(Down::Closed);
            }
        }
    }

    /// What is on the channel will not arrive; of each direction so many messages were not written.
    fn lose_frames(&mut self, unwritten: (u64, u64)) {
        let Some(wire) = &self.wire else { return };
        let up = wire.up.iter().filter(|up| matches!(up, Up::Frame(frame) if is_message(frame)));
        let down = wire.down.iter().filter(|down| matches!(down, Down::Frame(frame) if is_message(frame)));
        self.silent_loss |= up.count() as u64 > unwritten.0 || down.count() as u64 > unwritten.1;
    }
}

/// How many messages are in a body.
pub fn messages(body: &[u8]) -> usize {
    let packets = wire::payload(body).unwrap_or_default();
    packets.iter().filter(|packet| matches!(packet.kind, b'4' | b'b')).count()
}

pub fn is_message(frame: &Frame) -> bool {
    match frame {
        Frame::Text { head, data } => head.chars().chain(data.chars()).next() == Some('4'),
        Frame::Binary(_) => true,
    }
}

/// A frame as it arrives: in one piece.
pub fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received(format!("{head}{data}").into()),
        binary @ Frame::Binary(_) => binary,
    }
}
