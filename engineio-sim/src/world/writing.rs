//! The embedders on the writing side: frames are pulled, held, and written when the network takes them; answers and
//! bodies leave, at once or in parts; what is written is reported, early or late.

use std::time::Duration;

use engineio_proto::server::Input;
use engineio_proto::wire::{Frame, PacketKind, Payload};
use engineio_proto::{
    ChannelEnd, ChannelId, CloseReason, ExchangeId, Instant, Machine, Message, Phase, TransportError,
};

use super::apps::End;
use super::core::{Core, Outcome, Task};
use super::net::{Answer, Channel, Exchange, Held, PARTS, Parts, Piece, Stage, Way, received};
use crate::coverage::{Kind, Situation};
use crate::decoder::{Decoded, decode_frame};
use crate::expected::Expected;
use crate::journal::Place;
use crate::op::{Line, Side};
use crate::oracle::{Asked, Incidents, Law, MAX_ANSWERS, broken, check_frame, is_true_end};

/// Pulls one frame. Half of the calls are batches of one.
fn next_frame(machine: &mut dyn Machine, now: Instant, channel: ChannelId) -> Option<Frame> {
    if !is_batch(now) {
        return machine.next_frame(now, channel);
    }
    let mut pulled = None;
    machine.next_frames(now, channel, 1, &mut |frame| pulled = Some(frame));
    pulled
}

/// Takes one message. Half of the calls are batches of one.
pub(crate) fn recv(machine: &mut dyn Machine, now: Instant) -> Option<Message> {
    if !is_batch(now) {
        return machine.recv(now);
    }
    let mut taken = None;
    machine.recv_many(now, 1, usize::MAX, &mut |message| taken = Some(message));
    taken
}

/// Returns whether a machine is called with a batch at this time.
fn is_batch(now: Instant) -> bool {
    (now.as_micros() / 1000 + now.as_micros()) % 2 == 1
}

impl Core {
    /// Returns the machine that writes to a channel, and the channel's number there.
    pub(crate) fn writer(&self, channel: &Channel, way: Way) -> Option<(End, ChannelId)> {
        match way {
            Way::Up => channel.opener.map(|(attempt, number)| (End::Attempt(attempt), number)),
            Way::Down => channel.at_server.map(|(number, slot)| (End::Slot(slot), number)),
        }
    }

    /// Returns when an embedder reports what it knows, unless an operation delays that.
    fn report_at(&self) -> Instant {
        self.later(self.settings.report_time)
    }

    // Channels.

    /// An embedder pulls the next frame for a channel, and writes as much as the network takes.
    pub(crate) fn pull(&mut self, way: Way, index: usize) -> Outcome {
        let again = if self.settings.lazy_writes { self.lag() } else { self.now };
        let writer = self.writer(&self.channels[index], way);
        let pipe = self.channels[index].pipe_mut(way);
        let first = !std::mem::replace(&mut pipe.used, true);
        pipe.ready = writer.map(|_| again);
        let Some((end, number)) = writer else { return Ok(()) };
        let pull = |machine: &mut dyn Machine, now| next_frame(machine, now, number).map(received);
        let pulled = self.call(end, Kind::Pull, pull, |expected, now| expected.pull(now, number))?;
        let messages = self.machine(end).map_or(0, |machine| machine.stats().messages_sent);
        let Some(frame) = pulled.flatten() else {
            self.channels[index].pipe_mut(way).ready = None;
            return Ok(());
        };
        check_frame(&frame, way == Way::Down, first)?;
        if let (End::Slot(slot), Some(Decoded::Text('2', _))) = (end, decode_frame(&frame)) {
            self.pings(slot)?;
        }
        self.frame_leaves(end, &frame);
        self.channels[index].pipe_mut(way).held.push_back(Held { frame, messages });
        self.write(way, index)
    }

    fn frame_leaves(&mut self, end: End, frame: &Frame) {
        if !matches!(decode_frame(frame), Some(Decoded::Binary(_) | Decoded::Text('4', _))) {
            return;
        }
        let app = self.app(end);
        // The initial message is not a message of the application.
        if !std::mem::take(&mut app.greets) {
            app.written.leave_by_channel();
        }
    }

    /// The network takes as many of an embedder's frames as it has room for.
    pub(crate) fn write(&mut self, way: Way, index: usize) -> Outcome {
        let (at, window) = (self.arrival(), self.settings.window);
        let has_reader = self.channels[index].has_reader(way);
        let pipe = self.channels[index].pipe_mut(way);
        let was_blocked = std::mem::take(&mut pipe.blocked) && pipe.has_room(window);
        while pipe.has_room(window) {
            let Some(held) = pipe.held.pop_front() else { break };
            pipe.written = Some(held.messages);
            if has_reader {
                pipe.pieces.push_back((at, Piece::Frame(received(held.frame))));
            } else {
                pipe.sunk += 1;
            }
        }
        let is_part = pipe.written.is_some() && !pipe.held.is_empty();
        pipe.blocked = !pipe.held.is_empty();
        if !pipe.blocked && std::mem::take(&mut pipe.closing) && has_reader {
            pipe.end(at, ChannelEnd::Closed);
        }
        self.coverage.situation_if(Situation::WrittenInParts, is_part);
        if let Some((end, _)) = self.writer(&self.channels[index], way) {
            if was_blocked {
                let situation = if way == Way::Up { Situation::UpUnblocked } else { Situation::DownUnblocked };
                self.coverage.situation(situation);
                self.unblock(end)?;
            }
            self.plan_reports(end);
        }
        Ok(())
    }

    /// A blocked connection takes bytes again.
    fn unblock(&mut self, end: End) -> Outcome {
        self.journal.note(self.now, self.place_of(end), "can write again", 0, b"");
        let expect = |expected: &mut dyn Expected, now| expected.unblocked(now);
        self.call(end, Kind::Unblocked, |machine, now| machine.unblocked(now), expect).map(drop)
    }

    /// Reports that a machine wants promptly are made as soon as its embedder can.
    pub(crate) fn plan_reports(&mut self, end: End) {
        if !self.machine(end).is_some_and(Machine::wants_written) {
            return;
        }
        let at = self.report_at();
        for index in 0..self.channels.len() {
            for way in [Way::Up, Way::Down] {
                let is_own = self.writer(&self.channels[index], way).is_some_and(|(writer, _)| writer == end);
                let pipe = self.channels[index].pipe_mut(way);
                if is_own && pipe.written.is_some() {
                    pipe.report.get_or_insert(at);
                }
            }
        }
    }

    /// An embedder reports what it has written to a channel. It does so before any input of that channel.
    pub(crate) fn report(&mut self, way: Way, index: usize) -> Outcome {
        let writer = self.writer(&self.channels[index], way);
        let pipe = self.channels[index].pipe_mut(way);
        pipe.report = None;
        let (Some(messages), Some((end, number))) = (pipe.written.take(), writer) else { return Ok(()) };
        self.app(end).written.channel_written(messages);
        let expect = |expected: &mut dyn Expected, now| expected.channel_written(now, number, messages);
        self.call(end, Kind::Written, |machine, now| machine.channel_written(now, number, messages), expect)?;
        self.compare(end)
    }

    /// The embedder closes a channel after what it holds.
    pub(crate) fn finish_channel(&mut self, way: Way, index: usize) -> Outcome {
        let pipe = self.channels[index].pipe_mut(way);
        pipe.ready = None;
        pipe.closing = true;
        if pipe.held.is_empty() { self.write(way, index) } else { Ok(()) }
    }

    // Answers.

    /// A session hands over an answer. Records its contents, if they must not be lost.
    pub(crate) fn answer_leaves(&mut self, slot: usize, exchange: ExchangeId, payload: &Payload) -> Outcome {
        if !carries(payload) {
            return Ok(());
        }
        let of = |kind| payload.packets().iter().filter(move |packet| packet.kind() == kind).count() as u64;
        // Only the initial message comes with the open packet.
        let messages = if of(PacketKind::Open) > 0 { 0 } else { of(PacketKind::Message) };
        let written = &mut self.sessions[slot].app.written;
        let under_way = written.exchanges();
        if under_way >= MAX_ANSWERS {
            return broken(Law::Exchanges, format!("session {slot} has {} answers under way", under_way + 1));
        }
        written.leave_by_http(exchange, messages);
        self.coverage.situation_if(Situation::SeveralAnswers, under_way > 0);
        Ok(())
    }

    /// An embedder starts to write an answer.
    pub(crate) fn begin_answer(&mut self, index: usize, payload: &Payload) -> Outcome {
        let Some((_, slot)) = self.exchanges[index].at_server else { return Ok(()) };
        let at = self.later(self.settings.write_time.min(self.settings.latency));
        let paced = self.later(self.exchanges[index].pace);
        let exchange = &mut self.exchanges[index];
        exchange.carries = carries(payload);
        exchange.answer = Answer::Writing(match exchange.pace {
            0 => Parts { left: 0, at },
            _ => Parts { left: PARTS, at: paced },
        });
        let pings = payload.packets().iter().any(|packet| packet.kind() == PacketKind::Ping);
        if pings { self.pings(slot) } else { Ok(()) }
    }

    /// The network takes the next part of an answer, or the last one.
    pub(crate) fn write_answer(&mut self, index: usize) -> Outcome {
        let (now, arrival, report) = (self.now, self.arrival(), self.report_at());
        let exchange = &mut self.exchanges[index];
        let Answer::Writing(Parts { left, .. }) = exchange.answer else { return Ok(()) };
        let was_stuck = left > 0;
        if left > 1 {
            let at = now + Duration::from_micros(exchange.pace);
            exchange.answer = Answer::Writing(Parts { left: left - 1, at });
        } else {
            exchange.answer = Answer::Written(report);
            if was_stuck {
                exchange.due = arrival;
            }
        }
        match exchange.at_server {
            Some((_, slot)) if was_stuck => {
                self.coverage.situation(Situation::AnswerUnblocked);
                self.unblock(End::Slot(slot))
            }
            _ => Ok(()),
        }
    }

    /// A server detects that an answer was written.
    pub(crate) fn report_answer(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        exchange.answer = Answer::Idle;
        // It does not count as lost after this, whatever happens.
        exchange.server_learns = None;
        let (server, carries) = (exchange.server, exchange.carries);
        let Some((number, slot)) = exchange.at_server else { return Ok(()) };
        self.journal.note(self.now, Place::Server(server), "has written", number.0, b"");
        let written = &mut self.sessions[slot].app.written;
        let is_first = written.first_exchange() == Some(number);
        written.exchange_written(number);
        self.coverage.situation_if(Situation::ReportedOutOfOrder, carries && !is_first);
        self.tell_session(slot, Kind::Written, Input::AnswerWritten { exchange: number })?;
        self.compare(End::Slot(slot))
    }

    /// Records whether a poll waits although there are messages, because too many answers are under way.
    pub(crate) fn note_held_poll(&mut self, slot: usize) {
        let many = self.sessions[slot].app.written.exchanges() >= MAX_ANSWERS;
        let has_messages = self.session(slot).is_some_and(|session| session.send_buffered() > 0);
        if many && has_messages {
            let is_poll = |exchange: &Exchange| exchange.body.is_none() && exchange.is_open_at(slot);
            let is_held = self.exchanges.iter().any(is_poll);
            self.coverage.situation_if(Situation::HeldPoll, is_held);
        }
    }

    /// Returns the answers of a session that were not reported, oldest first.
    pub(crate) fn unreported(&self, slot: usize) -> Vec<usize> {
        let is_it = |index: &usize| {
            let exchange = &self.exchanges[*index];
            exchange.answer != Answer::Idle && exchange.at_server.is_some_and(|(_, own)| own == slot)
        };
        let mut all: Vec<_> = (0..self.exchanges.len()).filter(is_it).collect();
        all.sort_by_key(|&index| self.exchanges[index].at_server);
        all
    }

    /// Returns what one side has written and not reported, oldest first.
    pub(crate) fn reports(&self, side: Side) -> Vec<Task> {
        let mut all = Vec::new();
        let Some(end) = self.end_of(side) else { return all };
        if let End::Slot(slot) = end {
            let is_written = |index: &usize| matches!(self.exchanges[*index].answer, Answer::Written(_));
            all.extend(self.unreported(slot).into_iter().filter(is_written).map(Task::ReportAnswer));
        }
        for (index, channel) in self.channels.iter().enumerate() {
            for way in [Way::Up, Way::Down] {
                let is_own = self.writer(channel, way).is_some_and(|(writer, _)| writer == end);
                if is_own && channel.pipe(way).written.is_some() {
                    all.push(Task::Report(way, index));
                }
            }
        }
        all
    }

    // Bodies.

    /// Another part of a body leaves.
    pub(crate) fn upload(&mut self, index: usize) -> Outcome {
        let (now, arrival) = (self.now, self.arrival());
        let exchange = &mut self.exchanges[index];
        let Some(Parts { left, .. }) = exchange.upload.take() else { return Ok(()) };
        if left > 1 {
            let at = now + Duration::from_micros(exchange.pace);
            exchange.upload = Some(Parts { left: left - 1, at });
        } else {
            exchange.due = arrival;
        }
        match exchange.sender {
            Some((attempt, _)) if !exchange.dropped => {
                self.coverage.situation(Situation::UploadUnblocked);
                self.unblock(End::Attempt(attempt))
            }
            _ => Ok(()),
        }
    }

    /// From now on data leaves slowly.
    pub(crate) fn throttle(&mut self, line: Line, pace: u64) {
        let Some(task) = self.carrier(line) else { return };
        let at = self.later(pace);
        match task {
            Task::Exchange(index) => {
                let is_slow = pace > 0;
                let exchange = &mut self.exchanges[index];
                match (line, &exchange.stage, exchange.answer) {
                    (_, Stage::Travelling, _) | (Line::Get(_), Stage::Held, _) => exchange.pace = pace,
                    (Line::Get(_), Stage::Answered { .. }, Answer::Writing(_)) => {
                        exchange.pace = pace;
                        exchange.answer = Answer::Writing(Parts { left: if is_slow { PARTS } else { 0 }, at });
                        exchange.due = exchange.due.max(at);
                    }
                    (_, Stage::Body, _) if exchange.is_receiving() => {
                        exchange.pace = pace;
                        exchange.upload = is_slow.then_some(Parts { left: PARTS, at });
                        exchange.due = exchange.due.max(at);
                    }
                    _ => return,
                }
            }
            Task::Opening(index) | Task::Frame(_, index) => {
                let way = if matches!(line, Line::Up(_)) { Way::Up } else { Way::Down };
                let pipe = self.channels[index].pipe_mut(way);
                (pipe.pace, pipe.next_at) = (pace, at);
            }
            _ => return,
        }
        let incident = match line {
            Line::Get(_) | Line::Down(_) => Incidents::SLOW_DOWN,
            Line::Post(_) => Incidents::UPLOAD,
            Line::Up(_) => Incidents::SLOW_UP,
        };
        self.incident(line.client(), incident);
        self.blame("slows down something of", line.client());
        let lasts = pace * u64::from(PARTS).max((self.settings.window + self.settings.batch) as u64);
        self.trouble(line.client(), self.later(lasts));
    }

    // The oracle.

    /// After a call: the machine may want prompt reports; and it may have ended: the reason of an orderly close says
    /// whether everything was written (law 3). `was` and `pending` are its phase, and whether it had outputs, before.
    pub(crate) fn watch(&mut self, end: End, was: Phase, pending: bool) -> Outcome {
        self.plan_reports(end);
        let Some(machine) = self.machine(end) else { return Ok(()) };
        let (stats, reason) = (machine.stats(), machine.close_reason());
        let counts = [stats.messages_written, stats.messages_sent, stats.messages_accepted];
        if !counts.is_sorted() {
            return broken(Law::Written, format!("{} counts {counts:?}, which are no prefixes", self.name_of(end)));
        }
        let Some(reason) = reason.filter(|_| was != Phase::Closed) else { return Ok(()) };
        let late = CloseReason::TransportError(TransportError::PostTimeout);
        self.coverage.situation_if(Situation::BodyTimeout, reason == late);
        let app = self.app_of(end);
        if app.asked != Some(Asked::Close) {
            return Ok(());
        }
        let is_complete = if pending { counts[0] == counts[2] } else { app.written.is_complete() };
        self.coverage.situation_if(Situation::ClosedWithLoss, !is_complete);
        if is_true_end(reason, is_complete) {
            return Ok(());
        }
        let what = if is_complete { "everything" } else { "not everything" };
        broken(Law::End, format!("{} closed in order, {what} was written, and it says {reason}", self.name_of(end)))
    }

    /// Law 14, when all outputs of a machine were carried out: its counters equal the oracle's, and the application was
    /// told if it waited.
    pub(crate) fn compare(&mut self, end: End) -> Outcome {
        let Some(machine) = self.machine(end) else { return Ok(()) };
        if self.has_output(end) {
            return Ok(());
        }
        let (stats, is_over) = (machine.stats(), machine.phase() == Phase::Closed);
        let app = self.app_of(end);
        app.written.compare(|| self.name_of(end), stats)?;
        if !is_over && app.written.is_silent() {
            return broken(Law::Written, format!("{} was not told that its messages are written", self.name_of(end)));
        }
        Ok(())
    }

    /// The application waits until all but this many messages are written.
    pub(crate) fn wait_for_written(&mut self, end: End, behind: u64) -> Outcome {
        let messages = self.app_of(end).written.accepted().saturating_sub(behind);
        self.ask_whether_written(end, messages)
    }

    pub(crate) fn ask_whether_written(&mut self, end: End, messages: u64) -> Outcome {
        let has_output = self.has_output(end);
        let expect = |expected: &mut dyn Expected, _| expected.poll_written(messages);
        let asked = self.call(end, Kind::Await, |machine, _| machine.poll_written(messages), expect)?;
        let Some(is_written) = asked else { return Ok(()) };
        // After the end there is no waiting.
        let waits = !is_written && self.machine(end).is_some_and(|machine| machine.phase() != Phase::Closed);
        let name = self.name_of(end);
        let written = &mut self.app(end).written;
        if waits {
            written.wait(messages);
        }
        // Outputs that were not carried out yet were not observed.
        if has_output { Ok(()) } else { written.compare_answer(&name, messages, is_written) }
    }

    /// The application is told that something is written.
    pub(crate) fn hear_written(&mut self, end: End) -> Outcome {
        let (name, late) = (self.name_of(end), self.settings.lazy_outputs);
        let waiting = self.app(end).written.hear(&name, late)?;
        waiting.into_iter().try_for_each(|messages| self.ask_whether_written(end, messages))
    }
}

/// Returns whether an answer has packets that must not be lost. A noop or a close packet may be lost.
fn carries(payload: &Payload) -> bool {
    payload.packets().iter().any(|packet| !matches!(packet.kind(), PacketKind::Noop | PacketKind::Close))
}
