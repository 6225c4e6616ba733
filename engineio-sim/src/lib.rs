//! Deterministic simulation of Engine.IO: real servers and clients, virtual time, and network faults of every kind,
//! from one seed.
//!
//! The machines of [`engineio_proto`] run unchanged. Their environment is simulated: network, clocks, and your own
//! applications. A world has a few servers and clients, and hours of its time pass within a millisecond. After every
//! step the world is checked against the laws of the protocol, and against yours. A failure is shrunk, and printed as a
//! test.
//!
//! # Usage
//!
//! ```
//! use engineio_sim::{Application, CloseReason, Message, Peer, Simulation, Sockets};
//!
//! // 1. The applications, one for each server and one for each client. They do not depend on the simulation, and
//! //    must be deterministic: no clock but `Sockets::now`, no random numbers, no iteration over hash maps. Work that
//! //    is due later is done in `on_timeout`.
//! struct Echo;
//!
//! impl Application for Echo {
//!     fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
//!         if sockets.send(peer, message).is_err() {
//!             sockets.close(peer); // The client does not read its answers.
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
//!     // 2. What an application does on its own starts with an impulse: a number that the simulation draws.
//!     fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
//!         let Some(peer) = self.peer else { return };
//!         let question = Message::from(impulse.to_string());
//!         if sockets.send(peer, question.clone()).is_ok() {
//!             self.asked.push(question);
//!         }
//!     }
//! }
//!
//! // 3. The laws: what must be true after every step, and what must be true when nothing is in transit any more.
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
//! // 4. Many worlds. A failure is shrunk: operations are left out as long as the same law stays broken.
//! for seed in 0..50 {
//!     if let Err(failure) = echo().run(seed) {
//!         panic!("{}", echo().shrink(failure));
//!     }
//! }
//!
//! // 5. The output is a timeline, and a test such as this one to keep.
//! use engineio_sim::{Ending, Node::Client, Op::*, Settings, Start::*};
//! let ops = [Connect { client: 0, server: 0, start: Polling }, Wait(1_000_000), Impulse(Client(0), 7)];
//! let run = echo().replay(&Settings::default(), &ops, Ending::Clients);
//! assert!(run.is_ok(), "{}", run.unwrap_err());
//! ```
//!
//! `examples/chat` is a chat with rooms that is tested like this, with two bugs to be found in it.
//!
//! # On real sockets
//!
//! The simulated application runs unchanged on real sockets: a runtime crate has a `Host`, which calls it in the same
//! way.
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
//! let listening = engineio_tokio::bind(&server, "127.0.0.1:0").await?;
//! let host = engineio_tokio::host(Echo); // as above
//! tokio::spawn(async move { host.serve(&server).await });
//! # let mut socket = engineio_tokio::client(&format!("http://{}", listening.addr()))?.build()?.connect().await?;
//! # socket.send("hello").await?;
//! # assert_eq!(socket.recv().await, Some("hello".into()));
//! # Ok(())
//! # }
//! ```
//!
//! # A world
//!
//! A world starts with as many random operations as [`Settings::steps`] says; each is drawn from everything that can
//! happen (see [`Op`]). Then all faults are healed, and the world must come to rest within a computed time. Then all
//! sessions are ended, in one of the ways of [`Ending`], and nothing may be left of them. Every world draws its own
//! [`Settings`] and its own probabilities; some faults do not occur in it at all, and one world in four has none.
//!
//! | faults of | |
//! |---|---|
//! | connections | requests, answers and channels are lost, at one end or both, before, while or after they are written; half-open silence; slow links |
//! | embedders | hold what the network does not take; report what is written late, in parts, or as lost although it arrived |
//! | proxies | requests are delayed or repeated; upgrades are refused, or lose their headers |
//! | bodies | too late, too large |
//! | foreign clients | habits of other implementations, and what no correct client does; requests that must be rejected |
//! | foreign servers | forged answers and frames |
//! | strangers | a second GET, POST, or channel on a session; invalid data; probes that are abandoned or taken over |
//! | applications | do not read, read late, close or abort at any time, fill buffers, send messages that are too large |
//! | hosts | sleep; timers are late; calls are redundant; clocks go backwards |
//! | servers | shut down; are killed, and restart without their sessions and with a new application |
//!
//! # The laws
//!
//! The laws of the protocol hold whatever your applications do; [`Law`] lists them. Messages arrive in order, once,
//! without a gap; every request is answered; ends are announced once, last, and with the true reason; what counts as
//! written was reported as written; a silent peer is closed in time, and a live one is not; an independent [`decoder`]
//! can read what is sent; buffers keep their limits; nothing panics; and every call does what a second formulation of
//! the rules expects. A broken law is a bug of this project: please
//! report it with the printed test.
//!
//! Your own laws are functions of the [`World`], which gives access to the applications, the clock, and the
//! [`Settings`].
//!
//! # Guarantees
//!
//! The same seed gives the same journal, to the byte, on every machine; compare [`Report::hash`]. With another version
//! of this crate a seed may give another world. Operations keep their meaning, so keep the operations of a shrunk
//! [`Failure`], not its seed.
//!
//! # Features
//!
//! * `cli` (default): the program `engineio-sim`, and the module `cli`, which gives the same commands to a program with
//!   its own applications. Tests do not need it: `default-features = false`.

mod choose;
#[cfg(feature = "cli")]
pub mod cli;
mod coverage;
pub mod decoder;
mod diagram;
mod encoder;
mod expected;
mod explore;
mod foreign;
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
pub use foreign::{Deed, Habit, Knock, Load};
pub use journal::{Entry, Journal, Place};
pub use op::{Intrusion, Line, Node, Op, Side};
pub use oracle::{Law, Violation};
pub use settings::{Settings, Start};
pub use simulation::{Failure, Report, Simulation};
pub use world::{Class, Ending, Totals, World};

/// The types for writing applications.
pub use engineio_proto::app::{Application, Peer, Sockets};
pub use engineio_proto::{CloseReason, Instant, Message, SendError};
