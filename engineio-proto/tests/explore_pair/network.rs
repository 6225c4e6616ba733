//! What is on its way between a client and a server.
//!
//! Every request and every answer travels on its own, and may overtake any other; the frames of a channel keep their
//! order in each direction.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use engineio_proto::wire::Frame;

/// Something about one exchange that has not arrived. Exchanges go by the client's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// To the server: a GET, or a POST with its body.
    Request { target: String, body: Option<Bytes> },
    /// To the client.
    Answer { status: u16, body: Bytes },
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
}

/// A channel: both directions, and what its ends do.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    pub id: u64,
    pub up: VecDeque<Up>,
    pub down: VecDeque<Down>,
    pub client: End,
    pub server: End,
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
}

impl Default for End {
    fn default() -> Self {
        Self { open: true, ready: false, reads: true }
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
        let answered = self.take(id, |item| matches!(item, Item::Answer { .. })).is_some();
        if answered || self.held.contains(&id) {
            self.put(id, Item::ServerLearns);
        }
    }

    /// The connection of a request is torn; both sides will learn of it, each in its time.
    pub fn tear(&mut self, id: u64) {
        self.torn.insert(id);
        self.put(id, Item::ClientLearns);
        if self.take(id, |item| matches!(item, Item::Request { .. })).is_none() {
            self.take(id, |item| matches!(item, Item::Answer { .. }));
            self.put(id, Item::ServerLearns);
        }
    }

    /// Forgets what makes no difference any more.
    pub fn tidy(&mut self) {
        let Self { items, held, torn, .. } = self;
        torn.retain(|id| held.contains(id) || items.iter().any(|(other, _)| other == id));
    }

    pub fn tear_channel(&mut self) {
        if let Some(wire) = &mut self.wire {
            let before = matches!(wire.up.front(), Some(Up::Open(_)));
            let heard = !matches!(wire.down.front(), Some(Down::Opened));
            wire.up.clear();
            wire.up.extend((wire.server.open && !before).then_some(Up::Closed));
            wire.down.clear();
            let down = if before || !heard { Down::Refused } else { Down::Closed };
            wire.down.extend(wire.client.open.then_some(down));
        }
    }

    /// The client has closed its end, behind what it wrote.
    pub fn client_closes(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.client = End { open: false, ready: false, ..wire.client };
            wire.down.clear();
            wire.up.push_back(Up::Closed);
        }
    }

    /// The same of the server.
    pub fn server_closes(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.server = End { open: false, ready: false, ..wire.server };
            wire.up.clear();
            if wire.client.open {
                wire.down.push_back(Down::Closed);
            }
        }
    }
}

/// A frame as it arrives: in one piece.
pub fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received(format!("{head}{data}").into()),
        binary @ Frame::Binary(_) => binary,
    }
}
