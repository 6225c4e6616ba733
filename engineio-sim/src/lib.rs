//! Deterministic simulation of Engine.IO: real servers and clients, virtual time, every fault of a network, from one
//! seed.
//!
//! The machines of [`engineio_proto`] run as they are; only what is around them is made up: network, clocks, and your own
//! applications. A world has a few servers and clients; hours pass in it within a millisecond. After every step
//! it is held against the laws of the protocol, and against yours. What breaks one is made small and printed as a test.
//!
//! # How to use it
//!
//! ```
//! use engineio_sim::{Application, CloseReason, Message, Peer, Simulation, Sockets};
//!
//! // 1. The applications, one for each server, one for each client. They know nothing of a simulation, and must be
//! //    deterministic: no clock but `Sockets::now`, no random numbers, no hash maps that are walked through. What they do
//! //    in their own time they do in `on_timeout`.
//! struct Echo;
//!
//! impl Application for Echo {
//!     fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
//!         if sockets.send(peer, message).is_err() {
//!             sockets.close(peer); // Whoever does not read its answers gets no more of them.
//!         }
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Asker {
//!     peer: Option<Peer>,
//!     asked: Vec<Message>,
//!     answers: Vec<Message>,
//! }
//!
//! impl Application for Asker {
//!     fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
//!         *self = Self { peer: Some(peer), ..Self::default() };
//!     }
//!
//!     fn on_message(&mut self, _: &mut dyn Sockets, _: Peer, message: Message) {
//!         self.answers.push(message);
//!     }
//!
//!     fn on_close(&mut self, _: &mut dyn Sockets, _: Peer, _: CloseReason) {
//!         self.peer = None;
//!     }
//!
//!     // 2. What an application does by itself begins with an impulse: any number, drawn by the simulation.
//!     fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
//!         let Some(peer) = self.peer else { return };
//!         let question = Message::from(impulse.to_string());
//!         if sockets.send(peer, question.clone()).is_ok() {
//!             self.asked.push(question);
//!         }
//!     }
//! }
//!
//! // 3. The laws: what must be true after every step, and what must be true when nothing is on its way any more.
//! fn echo() -> Simulation<Echo, Asker> {
//!     Simulation::with_applications(|_| Echo, |_| Asker::default())
//!         .named("echo()")
//!         .settings(|settings| settings.greeting = false)
//!         .law("answers come in order", |world| {
//!             let is_wrong = |asker: &&Asker| !asker.asked.starts_with(&asker.answers);
//!             world.clients().iter().find(is_wrong).map_or(Ok(()), |asker| Err(format!("{:?}", asker.answers)))
//!         })
//!         .law_at_rest("every question is answered", |world| {
//!             let is_wrong = |asker: &&Asker| asker.peer.is_some() && asker.asked != asker.answers;
//!             world.clients().iter().find(is_wrong).map_or(Ok(()), |asker| Err(format!("{:?}", asker.asked)))
//!         })
//! }
//!
//! // 4. Many worlds. What fails is shrunk: operations are left out for as long as the same law stays broken.
//! for seed in 0..50 {
//!     if let Err(failure) = echo().run(seed) {
//!         panic!("{}", echo().shrink(failure));
//!     }
//! }
//!
//! // 5. What is printed is a timeline, and a test such as this one to keep.
//! use engineio_sim::{Ending, Node::Client, Op::*, Settings, Start::*};
//! let ops = [Connect { client: 0, server: 0, start: Polling }, Wait(1_000_000), Impulse(Client(0), 7)];
//! let run = echo().replay(&Settings::default(), &ops, Ending::Clients);
//! assert!(run.is_ok(), "{}", run.unwrap_err());
//! ```
//!
//! `examples/chat` is a chat with rooms that is tested like this, with two mistakes to be found in it.
//!
//! # On real sockets
//!
//! What was simulated is what runs: a runtime crate has a `Host` for it, which calls it in the same way.
//!
//! ```
//! # use engineio_sim::{Application, Message, Peer, Sockets};
//! # struct Echo;
//! # impl Application for Echo {
//! #     fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
//! #         if sockets.send(peer, message).is_err() {
//! #             sockets.close(peer);
//! #         }
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = engineio_tokio::builder().build()?;
//! let addr = engineio_tokio::bind(&server, "127.0.0.1:0").await?;
//! let host = engineio_tokio::host(Echo); // as above
//! tokio::spawn(async move { host.serve(&server).await });
//! # let mut socket = engineio_tokio::client(&format!("http://{addr}"))?.build()?.connect().await?;
//! # socket.send("hello").await?;
//! # assert_eq!(socket.recv().await, Some("hello".into()));
//! # Ok(())
//! # }
//! ```
//!
//! # What happens in a world
//!
//! First chaos, for as many steps as [`Settings::steps`] says: at each, one of all the things that can happen is drawn (see
//! [`Op`]). Then everything is healed, and must come to rest within a computed time. Then all sessions are ended, in one of the
//! ways of [`Ending`], and nothing may be left of them. Every world draws its own [`Settings`] and its own likelihoods;
//! some faults do not occur in it at all, and one world in four has none.
//!
//! | what can go wrong | |
//! |---|---|
//! | connections | requests, answers and channels are torn, at one end or both, before, while or after they are written; half-open silence; slow links |
//! | embedders | hold what the network does not take; report what is written late, in parts, or as lost although it arrived |
//! | proxies | requests are held up or repeated; upgrades are refused, or lose their headers |
//! | bodies | too late, too large |
//! | strangers | a second GET, POST, or channel on a session; junk; probes that are given up or taken over |
//! | applications | do not read, read late, close or abort at any time, fill buffers, send what is too large |
//! | hosts | sleep; timers are late; calls come without need; clocks go backwards |
//! | servers | shut down; die, and begin anew without their sessions and with a new application |
//!
//! # The laws
//!
//! Those of the protocol hold whatever your applications do: [`Law`] lists them. Messages arrive in order, once, without a
//! gap; every request is answered; ends are announced once, last, and with the true reason; what counts as written was
//! reported as written; a silent peer is noticed in time, a live one is left alone; what is sent can be read by an
//! independent [`decoder`]; buffers keep their bounds; nothing panics. If one of them breaks, that is a bug of this
//! project: please report it with the test that was printed.
//!
//! Yours are functions of the [`World`]: it shows the applications, the clock, and the [`Settings`].
//!
//! # What is promised
//!
//! The same seed gives the same journal, to the byte, on every machine; [`Report::hash`] tells whether it did. With
//! another version of this crate a seed may become another world. Operations keep their meaning, so what is worth keeping
//! is the list of a shrunk [`Failure`], not its seed.
//!
//! # Features
//!
//! * `cli` (default): the command line, `engineio-sim`, and the module of the same name that gives a program with its own
//!   applications the same commands. A test needs none of it: `default-features = false`.

mod choose;
#[cfg(feature = "cli")]
pub mod cli;
mod coverage;
pub mod decoder;
mod diagram;
mod explore;
mod journal;
mod op;
mod oracle;
mod settings;
mod shrink;
mod simulation;
mod world;

pub use choose::{Chooser, Enumerated, FromBytes, Seeded};
pub use coverage::{Coverage, Kind, Situation, UNREACHED};
pub use diagram::{sequence_diagram, sequence_svg};
pub use explore::Scope;
pub use journal::{Entry, Journal, Place};
pub use op::{Intrusion, Line, Node, Op, Side};
pub use oracle::{Law, Violation};
pub use settings::{Settings, Start};
pub use simulation::{Failure, Report, Simulation};
pub use world::{Class, Ending, Totals, World};

/// What applications are written with.
pub use engineio_proto::app::{Application, Peer, Sockets};
pub use engineio_proto::{CloseReason, Instant, Message, SendError};
