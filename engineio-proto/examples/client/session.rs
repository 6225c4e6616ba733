//! A session: the machine, how its outputs are carried out, and the loop.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use engineio_proto::client::{Config, Input, Output, Reconnect};
use engineio_proto::{ChannelId, Client, CloseReason, Event, ExchangeId, Instant};

use crate::application::Application;
use crate::channel::{Channel, Opening};
use crate::request::{Connection, Host, Job};

/// How long the last request and the WebSocket may take to end after the session.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a thread reports to the main thread.
pub(crate) enum Report {
    /// A transport did something.
    Input(Input),
    /// A request has finished, and its connection can be used again.
    Idle(Connection),
    /// A line of the standard input, or `None` at its end.
    Line(Option<String>),
}

/// The reports of all threads. Reports of earlier sessions are dropped.
pub(crate) struct Reports {
    sender: SyncSender<(u64, Report)>,
    receiver: Receiver<(u64, Report)>,
    session: u64,
}

/// The reports of one thread.
#[derive(Clone)]
pub(crate) struct Reporter {
    sender: SyncSender<(u64, Report)>,
    session: u64,
}

impl Reports {
    pub(crate) fn new() -> Self {
        // A thread waits if the main thread is behind.
        let (sender, receiver) = sync_channel(16);
        Self { sender, receiver, session: 0 }
    }

    pub(crate) fn sender(&self) -> Reporter {
        Reporter { sender: self.sender.clone(), session: self.session }
    }

    pub(crate) fn next_session(&mut self) {
        self.session += 1;
    }

    /// Waits for the next report, for at most `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Report, RecvTimeoutError> {
        loop {
            let (session, report) = match timeout {
                Some(timeout) => self.receiver.recv_timeout(timeout)?,
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
            };
            if session == self.session || matches!(report, Report::Line(_)) {
                return Ok(report);
            }
        }
    }
}

impl Reporter {
    /// Sends a report. If the main thread has ended, the report is dropped.
    pub(crate) fn send(&self, report: Report) {
        let _ = self.sender.send((self.session, report));
    }

    pub(crate) fn input(&self, input: Input) {
        self.send(Report::Input(input));
    }
}

pub(crate) struct Session<'a> {
    client: Client,
    host: Host,
    reports: &'a Reports,
    /// The start of the core's time.
    start: std::time::Instant,
    /// The requests under way, each with a flag that cancels it.
    requests: BTreeMap<ExchangeId, Arc<AtomicBool>>,
    /// Connections that can be used again.
    idle: Vec<Connection>,
    channel: Option<Channel>,
}

impl<'a> Session<'a> {
    pub(crate) fn open(
        host: Host,
        config: Arc<Config>,
        reports: &'a Reports,
        start: std::time::Instant,
    ) -> Result<Self, Box<dyn Error>> {
        let now = Instant::ZERO + start.elapsed();
        let client = Client::new(now, config, getrandom::u64()?)?;
        Ok(Self { client, host, reports, start, requests: BTreeMap::new(), idle: Vec::new(), channel: None })
    }

    pub(crate) fn websocket_worked(&self) -> bool {
        self.client.websocket_worked()
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Runs the session until it has ended.
    pub(crate) fn run(&mut self, application: &mut dyn Application, reconnect: &mut Reconnect) -> CloseReason {
        loop {
            let now = self.now();
            self.client.handle_timeout(now);
            application.drive(&mut self.client, now);
            while self.client.has_output() {
                if let Some(reason) = self.obey(now, application, reconnect) {
                    return reason;
                }
                application.drive(&mut self.client, now);
            }
            let timeout = self.client.next_timeout().map(|at| at - self.now());
            match self.reports.wait(timeout) {
                Ok(Report::Input(input)) => self.input(input),
                Ok(Report::Idle(connection)) => self.idle.push(connection),
                Ok(Report::Line(line)) => application.line(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => (),
            }
        }
    }

    /// Passes an input to the machine.
    fn input(&mut self, input: Input) {
        let now = self.now();
        let (mut written, mut closed) = (None, None);
        match &input {
            Input::Answered { exchange, .. } | Input::Failed { exchange, .. } => drop(self.requests.remove(exchange)),
            Input::ChannelWritten { channel, .. } => written = Some(*channel),
            Input::ChannelClosed { channel, .. } => closed = Some(*channel),
            Input::ChannelOpened { .. } | Input::ChannelFrame { .. } | Input::Unblocked => (),
        }
        self.client.handle_input(now, input);
        if let Some(channel) = written {
            self.pull(now, channel); // There is room again.
        }
        self.channel.take_if(|own| Some(own.id()) == closed);
    }

    /// Carries out the outputs of the machine. Returns the close reason at the end.
    fn obey(
        &mut self,
        now: Instant,
        application: &mut dyn Application,
        reconnect: &mut Reconnect,
    ) -> Option<CloseReason> {
        let mut end = None;
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Request { exchange, request } => {
                    let cancelled = Arc::new(AtomicBool::new(false));
                    self.requests.insert(exchange, Arc::clone(&cancelled));
                    let job = Job {
                        exchange,
                        request,
                        host: self.host.clone(),
                        connection: self.idle.pop().filter(Connection::is_fresh),
                        cancelled,
                        max_payload: self.client.config().max_payload,
                        reporter: self.reports.sender(),
                    };
                    thread::spawn(move || job.run());
                }
                Output::Cancel { exchange } => {
                    if let Some(cancelled) = self.requests.remove(&exchange) {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
                Output::ChannelOpen { channel, target } => {
                    let opening = Opening {
                        channel,
                        target,
                        host: self.host.clone(),
                        max_payload: self.client.config().max_payload,
                        reporter: self.reports.sender(),
                    };
                    // A WebSocket that is still closing continues by itself.
                    self.channel = Some(Channel::open(opening));
                }
                Output::ChannelReady { channel } => self.pull(now, channel),
                Output::ChannelRead { channel, enabled } => {
                    if let Some(own) = self.channel_with(channel) {
                        own.set_reading(enabled);
                    }
                }
                Output::ChannelClose { channel } => {
                    if let Some(own) = self.channel_with(channel) {
                        own.close();
                    }
                }
                Output::Event(event) => {
                    match event {
                        Event::Opened => reconnect.opened(now),
                        Event::Closed(reason) => end = Some(reason),
                        _ => (),
                    }
                    application.event(&mut self.client, now, event);
                }
            }
        }
        end
    }

    fn channel_with(&mut self, channel: ChannelId) -> Option<&mut Channel> {
        self.channel.as_mut().filter(|own| own.id() == channel)
    }

    /// Pulls frames while there is room.
    fn pull(&mut self, now: Instant, channel: ChannelId) {
        let Some(own) = self.channel.as_mut().filter(|own| own.id() == channel) else { return };
        while own.has_room() {
            let Some(frame) = self.client.next_frame(now, channel) else { break };
            own.write(frame, self.client.stats().messages_sent);
        }
    }

    /// Waits for what is under way to finish: the last request may have the client's close packet, and the WebSocket a
    /// close frame.
    pub(crate) fn finish(mut self, application: &mut dyn Application) {
        let deadline = self.now() + FAREWELL;
        while !self.requests.is_empty() || self.channel.is_some() {
            match self.reports.wait(Some(deadline - self.now())) {
                Ok(Report::Input(input)) => self.input(input),
                Ok(Report::Line(line)) => application.line(line),
                Ok(Report::Idle(_)) => (),
                Err(_) => break,
            }
        }
        for cancelled in self.requests.values() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}
