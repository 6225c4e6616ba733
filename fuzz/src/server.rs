//! The sessions of a server are independent: whatever happens to the others, and whenever outputs are drained, a
//! session in the server does what the same session does alone. All sessions are found, woken and forgotten.

use std::sync::Arc;

use engineio_proto::http::{Method, Operation, Rejection, Request, SessionRequest};
use engineio_proto::server::{Admission, Entry, Input, NotAdmitted, Output, SessionKey};
use engineio_proto::{ChannelId, Event, Instant, Message, Phase, Server, Session, Sid, TransportKind};

use crate::calls::{Call, Numbers, Step, apply};
use crate::reader::Reader;
use crate::session::{Start, World, config};

/// The maximum number of sessions; one more is rejected.
const SESSIONS: usize = 3;

/// `data` is the number of a configuration, and then letters: `o` opens a session (see `session` for its beginning),
/// `O` one with an id that is in use, `p` pulls an output, `P` all; a digit makes a call of the session with this
/// number, see `calls.rs`. All sessions share the time.
pub fn server(data: &[u8]) {
    let mut reader = Reader(data);
    let mut crowd = Crowd::new(reader.below(8));
    while !reader.is_empty() {
        match reader.letter(b"0120120120120120120120120120oOpP") {
            b'o' => crowd.open(Start::read(&mut reader)),
            b'O' => crowd.open_again(),
            b'p' => _ = crowd.pull(),
            b'P' => while crowd.pull() {},
            digit => crowd.step(usize::from(digit - b'0'), &mut reader),
        }
        crowd.check();
    }
    crowd.end();
}

/// A session in the server, and the same one alone.
#[derive(Debug)]
struct Member {
    key: SessionKey,
    sid: Sid,
    world: World,
    /// The number of its outputs that were pulled from the server.
    pulled: usize,
    gone: bool,
    opened_at: Instant,
    /// It had to make room, and no longer counts.
    is_evicted: bool,
}

#[derive(Debug)]
struct Crowd {
    server: Server,
    now: Instant,
    members: Vec<Member>,
}

impl Crowd {
    fn new(number: u8) -> Self {
        let mut config = config(number);
        config.max_sessions = SESSIONS;
        let server = Server::new(config).expect("the options make sense");
        Self { server, now: Instant::ZERO, members: Vec::new() }
    }

    fn open(&mut self, start: Start) {
        let sid = Sid::from_entropy([self.members.len() as u8; 15]);
        let (channel, base64) = match start {
            Start::Polling => (None, false),
            Start::Channel { base64 } => (Some(Numbers::FIRST_CHANNEL), base64),
        };
        // A session whose last output was pulled leaves with the next pull.
        let is_there = |member: &&Member| self.server.session(member.key).is_some() && !member.is_evicted;
        let there = self.members.iter().filter(is_there).count();
        if self.members.len() >= usize::from(u8::MAX) {
            return;
        }
        let makes_room = if there < SESSIONS { None } else { self.oldest_unconfirmed() };
        let opened = self.admit(&sid, channel, base64);
        match opened {
            Ok(key) => {
                assert!(there < SESSIONS || makes_room.is_some());
                if let Some(who) = makes_room {
                    let member = &mut self.members[who];
                    member.is_evicted = true;
                    member.world.now = self.now;
                    member.world.play(&Call::Evict);
                }
                assert!(self.members.iter().all(|member| member.key != key), "a key is never used again");
                let mut world = World::new(self.now, sid.clone(), Arc::clone(self.server.config()), start);
                if channel.is_none() {
                    // A server's session begins with the GET that opened it.
                    world.play(&Call::Input(Input::Poll { exchange: Numbers::FIRST_EXCHANGE }));
                }
                let (opened_at, gone) = (self.now, false);
                self.members.push(Member { key, sid, world, pulled: 0, gone, opened_at, is_evicted: false });
            }
            Err(refused) => {
                assert_eq!((refused, there, makes_room), (Rejection::Full.into(), SESSIONS, None));
            }
        }
    }

    /// Returns the session that makes room for another one: the oldest of those that have shown nothing but their handshake
    /// for some time.
    fn oldest_unconfirmed(&self) -> Option<usize> {
        let grace = self.server.config().evict_after();
        let may_go = |&who: &usize| {
            let member = &self.members[who];
            member.world.session.is_unconfirmed() && member.opened_at + grace <= self.now
        };
        (0..self.members.len()).filter(may_go).min_by_key(|&who| (self.members[who].opened_at, self.members[who].key))
    }

    /// An id in use is not given twice.
    fn open_again(&mut self) {
        let Some(member) = self.members.iter().find(|member| member.is_open()) else { return };
        let sid = member.sid.clone();
        assert_eq!(self.admit(&sid, None, false), Err(NotAdmitted::Rejected(Rejection::NoSid)));
    }

    fn admit(&mut self, sid: &Sid, channel: Option<ChannelId>, base64: bool) -> Result<SessionKey, NotAdmitted> {
        let transport = if channel.is_some() { "websocket" } else { "polling" };
        let query = format!("EIO=4&transport={transport}&b64={}", u8::from(base64));
        let request = Request { method: Method::Get, query: &query, origin: None, upgrade: channel.is_some() };
        let admission = Admission::begin(&request, self.server.config())?;
        let entry = match channel {
            Some(channel) => Entry::Channel { channel, head: None },
            None => Entry::Exchange { exchange: Numbers::FIRST_EXCHANGE, octet_stream: false },
        };
        self.server.admit(self.now, admission, entry, Some(sid.clone()))
    }

    /// Makes a call of an existing session.
    fn step(&mut self, who: usize, reader: &mut Reader<'_>) {
        let present: Vec<_> = (0..self.members.len()).filter(|&index| !self.members[index].gone).collect();
        let Some(&who) = present.get(who) else { return };
        match self.members[who].world.numbers.step(reader) {
            Step::Call(Call::Wake) => self.wake(),
            Step::Call(call) => self.play(who, &call),
            Step::Pass(time) => self.now += time,
            Step::Sleep(late) => {
                if let Some(next) = self.server.next_timeout() {
                    self.now = self.now.max(next) + late;
                    self.wake();
                }
            }
        }
    }

    fn play(&mut self, who: usize, call: &Call) {
        let member = &mut self.members[who];
        member.world.now = self.now;
        let Some(mut session) = self.server.session_mut(member.key) else {
            assert!(member.gone, "law 3: a session vanished");
            return;
        };
        let answer = apply(&mut session, self.now, call);
        drop(session);
        assert_eq!(member.world.play(call), answer, "law 7");
    }

    /// Every session is woken that has asked for it.
    fn wake(&mut self) {
        self.server.handle_timeout(self.now);
        let next = self.server.next_timeout();
        assert!(next.is_none_or(|next| next > self.now), "law 5: {next:?} at {:?}", self.now);
        for member in &mut self.members {
            member.world.now = self.now;
            if member.world.session.next_timeout().is_some_and(|next| next <= self.now) {
                member.world.play(&Call::Wake);
            }
        }
    }

    fn pull(&mut self) -> bool {
        let Some((key, output)) = self.server.poll_output() else { return false };
        let member = self.members.iter_mut().find(|member| member.key == key).expect("a session that was opened");
        assert_eq!(Some(&output), member.world.outputs().get(member.pulled), "law 7");
        member.pulled += 1;
        assert!(!member.gone || !matches!(output, Output::Event(_)), "law 3: {output:?} behind the end");
        member.gone |= matches!(output, Output::Event(Event::Closed(_)));
        true
    }

    fn check(&self) {
        self.server.check().expect("the laws that are seen from inside");
        let open = self.members.iter().filter(|member| member.is_open());
        assert_eq!(self.server.len(), open.clone().count());
        let mut keys: Vec<_> = open.map(|member| member.key).collect();
        keys.sort();
        let mut known: Vec<_> = self.server.keys().collect();
        known.sort();
        assert_eq!(known, keys);
        for member in &self.members {
            self.check_member(member);
        }
    }

    fn check_member(&self, member: &Member) {
        let alone = &member.world.session;
        let is_open = member.is_open();
        assert_eq!(self.server.find(&member.sid), is_open.then_some(member.key));
        let request = |transport, operation| SessionRequest {
            sid: member.sid.as_str().to_owned(),
            operation,
            transport,
            protocol: 4,
            base64: false,
        };
        let admit = |request: &SessionRequest| {
            let key = self.server.find(&request.sid)?;
            let session = self.server.session(key).expect("what is found is there");
            request.fits(session, self.server.config()).ok().map(|()| key)
        };
        let polls = admit(&request(TransportKind::Polling, Operation::Poll));
        let on_polling = is_open && alone.transport() == TransportKind::Polling;
        assert_eq!(polls, on_polling.then_some(member.key));
        let upgrades = admit(&request(TransportKind::WebSocket, Operation::Upgrade));
        let may_upgrade = is_open && self.server.config().allow_upgrades;
        assert_eq!(upgrades, may_upgrade.then_some(member.key));

        let Some(session) = self.server.session(member.key) else {
            assert!(member.gone, "law 3: a session vanished");
            return;
        };
        assert_eq!(view(session), view(alone));
        assert!(session.unsent().eq(alone.unsent()));
        if let Some(next) = session.next_timeout() {
            assert!(self.server.next_timeout().is_some_and(|first| first <= next), "somebody sleeps too long");
        }
    }

    /// All sessions leave, and nothing is left.
    fn end(&mut self) {
        for _ in 0..50 {
            for who in 0..self.members.len() {
                let alone = &self.members[who].world.session;
                if alone.receive_buffered() > 0 {
                    self.play(who, &Call::Recv);
                }
            }
            let waiting = self.members.iter().any(|member| member.world.session.receive_buffered() > 0);
            match self.server.next_timeout() {
                _ if waiting => continue,
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
            self.wake();
        }
        while self.pull() {}
        self.check();
        for member in &mut self.members {
            assert!(member.gone && member.pulled == member.world.outputs().len(), "law 3: {member:#?}");
            assert!(self.server.session(member.key).is_none(), "law 3: a session leaked");
            member.world.now = self.now;
            member.world.end();
        }
        assert!(self.server.is_empty() && self.server.next_timeout().is_none(), "law 12");
    }
}

impl Member {
    fn is_open(&self) -> bool {
        self.world.session.phase() != Phase::Closed
    }
}

/// The visible state of a session.
fn view(session: &Session) -> impl PartialEq + std::fmt::Debug {
    let (sent, received) = (session.send_buffered(), session.receive_buffered());
    let channel: Option<ChannelId> = session.current_channel();
    let unsent = session.unsent().map(Message::len).sum::<usize>();
    let place = (session.state(), session.phase(), session.transport(), session.upgraded(), channel);
    (place, session.next_timeout(), session.close_reason(), session.stats(), sent, received, unsent)
}
