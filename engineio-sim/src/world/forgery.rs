//! A server that is not ours, as far as a client can tell: something forges what arrives at a client.
//!
//! What the client must make of it is in `expected::client`.

use bytes::Bytes;

use super::core::{Core, Outcome, Task};
use super::net::{Opening, Piece, Stage, Way};
use crate::decoder::Decoded;
use crate::encoder::{self, Base64};
use crate::foreign::Load;
use crate::op::Line;
use crate::oracle::Incidents;

/// The number of polls that are answered without a message, one after the other: more than a client tolerates.
const STORM: u32 = 14;

impl Core {
    /// Adds packets to what is in transit to a client: to the answer to its GET, or to its channel. The answer to its
    /// POST becomes an error. A GET that has not arrived is answered instead of the server.
    pub(crate) fn forge(&mut self, line: Line, load: Load) {
        let client = line.client();
        let Some(attempt) = self.attempt_of(client) else { return };
        let Some(task) = self.carrier(line) else { return };
        let packets = self.packets_of(attempt as u32 + 1, load);
        self.note_size(&packets);
        let mut body = encoder::body(&packets, load.form());
        load.spoil(&mut body);
        let at = self.arrival();
        match task {
            Task::Exchange(index) => {
                let exchange = &mut self.exchanges[index];
                let is_poll = exchange.body.is_none();
                exchange.stage = match exchange.stage.clone() {
                    Stage::Travelling if is_poll => {
                        exchange.due = at;
                        self.clients[client].storm = if load == Load::Noop { STORM } else { 0 };
                        Stage::Answered { status: 200, body: body.into() }
                    }
                    Stage::Answered { status: 200, body: before } if is_poll => {
                        let all = [&before[..], b"\x1e", &body].concat();
                        Stage::Answered { status: 200, body: all.into() }
                    }
                    Stage::Answered { status: 200, .. } => {
                        let status = if load == Load::Large { 413 } else { 502 };
                        Stage::Answered { status, body: Bytes::new() }
                    }
                    _ => return,
                };
            }
            Task::Frame(Way::Down, index) if self.channels[index].client_open => {
                let frames = packets.iter().map(|packet| encoder::frame(packet, true, Base64::Plain));
                let pipe = &mut self.channels[index].down;
                if pipe.pieces.iter().any(|(_, piece)| matches!(piece, Piece::End(_))) {
                    return;
                }
                let at = pipe.pieces.back().map_or(at, |&(last, _)| last.max(at));
                pipe.pieces.extend(frames.map(|frame| (at, Piece::Frame(frame))));
            }
            Task::Opening(index) if matches!(self.channels[index].opening, Opening::Accepted(_)) => {
                let frames = packets.iter().map(|packet| encoder::frame(packet, true, Base64::Plain));
                let frames = frames.map(|frame| (at, Piece::Frame(frame))).collect::<Vec<_>>();
                self.channels[index].down.pieces.extend(frames);
            }
            _ => return,
        }
        self.blame("forges what arrives at", client);
        self.incident_for_all(client, Incidents::FOREIGN);
    }

    /// A client sends a GET. While polls are answered without messages, so is this one.
    pub(crate) fn answer_in_a_storm(&mut self, client: usize) -> Outcome {
        let at = self.arrival();
        let storm = &mut self.clients[client].storm;
        if let (Some(left), Some(exchange)) = (storm.checked_sub(1), self.exchanges.last_mut()) {
            *storm = left;
            exchange.due = at;
            exchange.stage = Stage::Answered {
                status: 200,
                body: encoder::body(&[Decoded::Text('6', String::new())], Base64::Plain).into(),
            };
        }
        Ok(())
    }
}
