//! A small chat with rooms: its server and its clients.
//!
//! This file depends on neither a simulation nor sockets nor a runtime, only on [`Application`] and [`Sockets`].
//!
//! | a client sends | and the server answers |
//! |---|---|
//! | `join ROOM` | `joined ROOM AT NAME`: there were AT lines before, and others see the client as NAME |
//! | `say TEXT` | `said NAME TEXT`, to everyone in the room |
//! | `leave` | `left AT`: there were AT lines by then |
//! | anything else | `sorry REASON` |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engineio_sim::{Application, CloseReason, Message, Peer, SendError, Sockets};

/// The rooms.
pub(crate) const ROOMS: [&str; 2] = ["lobby", "attic"];

/// The maximum number of messages that wait for a guest who does not read. With one more, the server closes the guest's
/// session: otherwise memory would grow with the slowest guest.
const PATIENCE: usize = 32;

/// A bug that the server can be told to have, to test whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A message that is refused because a buffer is full is forgotten.
    ForgetsTheRefused,
    /// A guest that loses its connection, and so does not send `leave`, stays in its room.
    KeepsTheLost,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    guests: BTreeMap<Peer, Guest>,
    rooms: BTreeMap<&'static str, Room>,
    bug: Option<Bug>,
}

/// A connected guest.
#[derive(Debug, Default)]
struct Guest {
    room: Option<&'static str>,
    /// Messages to send once there is room in its buffer.
    waiting: VecDeque<Message>,
}

/// A room.
#[derive(Debug, Default)]
pub(crate) struct Room {
    members: BTreeSet<Peer>,
    /// All lines, each with its speaker in front.
    lines: Vec<String>,
}

impl Server {
    /// Creates a server with empty rooms.
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        let rooms = ROOMS.into_iter().map(|name| (name, Room::default())).collect();
        Self { guests: BTreeMap::new(), rooms, bug }
    }

    /// Returns the guests in a room, with their names.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        self.rooms.iter().flat_map(|(&room, Room { members, .. })| members.iter().map(move |&peer| (room, name(peer))))
    }

    /// Returns the connected guests.
    pub(crate) fn guests(&self) -> impl Iterator<Item = String> + '_ {
        self.guests.keys().map(|&peer| name(peer))
    }

    /// Returns the lines of a room.
    pub(crate) fn lines(&self, room: &str) -> &[String] {
        self.rooms.get(room).map_or(&[], |room| &room.lines)
    }

    fn join(&mut self, sockets: &mut dyn Sockets, peer: Peer, wanted: &str) {
        let Some((&name_of_room, _)) = self.rooms.get_key_value(wanted) else {
            return self.tell(sockets, peer, "sorry no such room".into());
        };
        self.leave(sockets, peer);
        let (Some(room), Some(guest)) = (self.rooms.get_mut(name_of_room), self.guests.get_mut(&peer)) else { return };
        room.members.insert(peer);
        guest.room = Some(name_of_room);
        let answer = format!("joined {name_of_room} {} {}", room.lines.len(), name(peer));
        self.tell(sockets, peer, answer);
    }

    /// A guest leaves its room.
    fn leave(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        let Some(left) = self.guests.get_mut(&peer).and_then(|guest| guest.room.take()) else { return };
        let Some(room) = self.rooms.get_mut(left) else { return };
        room.members.remove(&peer);
        let answer = format!("left {}", room.lines.len());
        self.tell(sockets, peer, answer);
    }

    fn say(&mut self, sockets: &mut dyn Sockets, peer: Peer, text: &str) {
        // Some text on a WebSocket cannot be sent on by polling, where a control character separates messages.
        if text.is_empty() || text.chars().any(char::is_control) {
            return self.tell(sockets, peer, "sorry plain text only".into());
        }
        let room = self.guests.get(&peer).and_then(|guest| guest.room);
        let Some(room) = room.and_then(|room| self.rooms.get_mut(room)) else {
            return self.tell(sockets, peer, "sorry you are nowhere".into());
        };
        let line = format!("{} {text}", name(peer));
        room.lines.push(line.clone());
        let members: Vec<_> = room.members.iter().copied().collect();
        for member in members {
            self.tell(sockets, member, format!("said {line}"));
        }
    }

    /// Sends a message to a guest, now or later, after those that wait.
    fn tell(&mut self, sockets: &mut dyn Sockets, peer: Peer, text: String) {
        let Some(guest) = self.guests.get_mut(&peer) else { return };
        guest.waiting.push_back(text.into());
        // A guest with messages that wait gets `on_writable`.
        if guest.waiting.len() == 1 {
            self.send(sockets, peer);
        } else if guest.waiting.len() > PATIENCE {
            guest.waiting.clear();
            sockets.close(peer);
        }
    }

    /// Sends a guest the messages that wait, as far as they are accepted.
    fn send(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        let Some(guest) = self.guests.get_mut(&peer) else { return };
        while let Some(message) = guest.waiting.pop_front() {
            match sockets.send(peer, message) {
                Ok(()) => (),
                Err(SendError::Full(_)) if self.bug == Some(Bug::ForgetsTheRefused) => return,
                Err(SendError::Full(message)) => return guest.waiting.push_front(message),
                // The session is about to end; `on_close` follows.
                Err(_) => return guest.waiting.clear(),
            }
        }
    }
}

impl Application for Server {
    fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.guests.insert(peer, Guest::default());
    }

    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
        let Message::Text(text) = message else {
            return self.tell(sockets, peer, "sorry plain text only".into());
        };
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("join", room) => self.join(sockets, peer, room),
            ("say", text) => self.say(sockets, peer, text),
            ("leave", "") => self.leave(sockets, peer),
            _ => self.tell(sockets, peer, "sorry what".into()),
        }
    }

    fn on_writable(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        self.send(sockets, peer);
    }

    fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, reason: CloseReason) {
        let room = self.guests.remove(&peer).and_then(|guest| guest.room);
        let in_order = matches!(reason, CloseReason::ForcedClose | CloseReason::TransportClose);
        if self.bug == Some(Bug::KeepsTheLost) && !in_order {
            return;
        }
        if let Some(room) = room.and_then(|room| self.rooms.get_mut(room)) {
            room.members.remove(&peer);
        }
    }
}

/// The name of a guest for others.
fn name(peer: Peer) -> String {
    format!("guest{}", peer.0)
}

/// A client. It does nothing by itself; [`Client::press`] defines the meaning of an impulse.
#[derive(Debug, Default)]
pub(crate) struct Client {
    peer: Option<Peer>,
    spoken: u32,
    /// Its room, as far as it knows.
    pub(crate) visit: Option<Visit>,
    /// Its earlier rooms.
    pub(crate) visits: Vec<Visit>,
}

/// A stay in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The room.
    pub(crate) room: String,
    /// The name of this client for others.
    pub(crate) name: String,
    /// The number of lines before it joined.
    pub(crate) from: usize,
    /// The lines since then.
    pub(crate) heard: Vec<String>,
    /// The number of lines when it left. `None` if it has not left, or if its connection ended before.
    pub(crate) until: Option<usize>,
}

impl Client {
    /// Returns the message for a key press: `join`, `leave`, or most often a new line.
    fn press(&mut self, key: u32) -> String {
        match key % 8 {
            0 => format!("join {}", ROOMS[0]),
            1 => format!("join {}", ROOMS[1]),
            2 => "leave".into(),
            _ => {
                self.spoken += 1;
                format!("say {}", self.spoken)
            }
        }
    }

    fn hear(&mut self, text: &str) -> Option<()> {
        let (what, rest) = text.split_once(' ')?;
        match what {
            "joined" => {
                let mut words = rest.split(' ');
                let (room, from, name) =
                    (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned());
                self.visit = Some(Visit { room, name, from, heard: Vec::new(), until: None });
            }
            "said" => self.visit.as_mut()?.heard.push(rest.to_owned()),
            "left" => {
                let visit = self.visit.take()?;
                self.visits.push(Visit { until: rest.parse().ok(), ..visit });
            }
            _ => (),
        }
        Some(())
    }
}

impl Application for Client {
    fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.peer = Some(peer);
    }

    fn on_message(&mut self, _: &mut dyn Sockets, _: Peer, message: Message) {
        if let Message::Text(text) = message {
            // Other messages are ignored.
            let _ = self.hear(&text);
        }
    }

    fn on_close(&mut self, _: &mut dyn Sockets, _: Peer, _: CloseReason) {
        self.peer = None;
        self.visits.extend(self.visit.take());
    }

    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
        let Some(peer) = self.peer else { return };
        let text = self.press(impulse);
        // A refused line was not said: the user sees that, and can type it again.
        drop(sockets.send(peer, text.into()));
    }
}
