//! An Engine.IO server on io_uring, which echoes every message: one thread, buffers that belong to the system while it
//! works with them, and for each connection one task that reads and one that writes.
//!
//! A read that is given up may take bytes with it. So each task sees to its end what it has begun, and is dropped only
//! with its connection. Where the system has no io_uring, or with `--driver poll`, `compio` does the same by readiness.
//! What is read and written, and why, is in `connection/`, which does no I/O.
//!
//! `cargo run -p engineio-proto --example completion -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::cell::RefCell;
use std::error::Error;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use compio::BufResult;
use compio::driver::{DriverType, ProactorBuilder};
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{PollFd, TcpListener, TcpStream};
use compio::runtime::{JoinHandle, RuntimeBuilder, spawn};
use compio::time::{sleep, timeout};
use engineio_proto::{Instant, Output};
use slab::Slab;

use connection::{Connection, Core, Flags};

mod connection;

/// Read at once. A read that waits owns so much.
const CHUNK: usize = 4096;
/// How long to wait when the system has no resources for another connection.
const BREATHER: Duration = Duration::from_millis(50);
/// When the timer looks if nobody has asked for it.
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    flags: Flags,
    /// How the system is asked. What it does best, if not given.
    #[arg(long)]
    driver: Option<Driver>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Driver {
    IoUring,
    Poll,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Args { flags, driver } = Args::parse();
    let mut proactor = ProactorBuilder::new();
    if let Some(driver) = driver {
        proactor.driver_type(match driver {
            Driver::IoUring => DriverType::IoUring,
            Driver::Poll => DriverType::Poll,
        });
    }
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
    let driver = if runtime.driver_type() == DriverType::IoUring { "io_uring" } else { "poll" };
    let core = Core::new(flags.config())?;
    let world = Rc::new(RefCell::new(World { core, places: Slab::new(), timer: None }));
    runtime.block_on(async {
        let listener = PollFd::new(TcpListener::bind((Ipv4Addr::LOCALHOST, flags.port)).await?)?;
        println!(r#"{{"event":"listening","port":{},"driver":"{driver}"}}"#, listener.local_addr()?.port());
        io::stdout().flush()?;
        spawn(run_timer(Rc::clone(&world))).detach();
        loop {
            // By readiness, compio 0.16 loses the connection for which its `accept` has waited. So it never waits there.
            listener.accept_ready().await?;
            match listener.accept().await {
                Ok((stream, _)) => World::add(&world, stream),
                Err(_) => sleep(BREATHER).await, // Too many connections. Some of them will end.
            }
        }
    })
}

/// What the tasks share. They visit it between two waits, and never keep it while they wait.
struct World {
    core: Core,
    places: Slab<Place>,
    /// When the timer looks, and how to make it look earlier.
    timer: Option<(Instant, Waker)>,
}

/// A connection with its tasks.
struct Place {
    connection: Connection,
    /// Of the tasks that wait for what happens here.
    wakers: Vec<Waker>,
    /// Dropped with the connection, and with them what they have begun: nobody has a use for it any more.
    _tasks: [JoinHandle<()>; 2],
}

impl World {
    fn add(world: &Rc<RefCell<Self>>, stream: TcpStream) {
        let mut this = world.borrow_mut();
        let Self { core, places, .. } = &mut *this;
        let entry = places.vacant_entry();
        let index = entry.key();
        let connection = Connection::new(core, index);
        let _ = stream.set_nodelay(true); // What is refused is only haste.
        let reader = spawn(read(Rc::clone(world), index, stream.clone()));
        let writer = spawn(write(Rc::clone(world), index, stream));
        entry.insert(Place { connection, wakers: Vec::new(), _tasks: [reader, writer] });
        this.carry_out();
    }

    /// Works with a connection, then does what the sessions ask for. To be called between two waits.
    fn visit(&mut self, index: usize, work: impl FnOnce(&mut Connection, &mut Core)) {
        self.with(Some(index), work);
        self.carry_out();
    }

    /// Works with a connection, whose tasks then look what has become of it.
    fn with(&mut self, index: Option<usize>, work: impl FnOnce(&mut Connection, &mut Core)) {
        if let Some(place) = index.and_then(|index| self.places.get_mut(index)) {
            work(&mut place.connection, &mut self.core);
            place.wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// The connection of an exchange or a channel, unless that is over.
    fn find(&self, number: u64) -> Option<usize> {
        let index = Connection::index_of(number);
        self.places.get(index).filter(|place| place.connection.serves(number)).map(|_| index)
    }

    /// Does what the sessions ask for, and sees that the timer looks in time.
    fn carry_out(&mut self) {
        while let Some((key, output)) = self.core.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    let reply = response.into_reply();
                    self.with(self.find(exchange.0), |connection, core| connection.answer(core, &reply));
                }
                Output::Abort { exchange } => {
                    if let Some(index) = self.find(exchange.0) {
                        self.remove(index);
                    }
                }
                // Then there are frames to pull, or to hand over.
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => {
                    self.with(self.find(channel.0), Connection::advance);
                }
                Output::ChannelClose { channel } => self.with(self.find(channel.0), Connection::say_goodbye),
                Output::Event(event) => self.core.handle_event(key, event),
            }
        }
        let next = self.core.next_timeout();
        if let Some((_, timer)) = self.timer.take_if(|(at, _)| next.is_some_and(|next| next < *at)) {
            timer.wake();
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(mut place) = self.places.try_remove(index) {
            place.connection.lose(&mut self.core);
        }
    }
}

/// Waits until a look at the connection brings something.
async fn until<T>(world: &RefCell<World>, index: usize, look: impl Fn(&mut Connection) -> Option<T>) -> T {
    poll_fn(|cx| {
        let mut world = world.borrow_mut();
        // The tasks of a connection that was removed are about to be dropped.
        let Some(place) = world.places.get_mut(index) else { return Poll::Pending };
        let found = look(&mut place.connection);
        if found.is_none() {
            place.wakers.push(cx.waker().clone());
        }
        found.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Reads as long as there is use for it, and notices when the client is gone.
async fn read(world: Rc<RefCell<World>>, index: usize, mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        until(&world, index, |connection| connection.wants_input().then_some(())).await;
        let BufResult(len, filled) = stream.read(buffer).await;
        let mut world = world.borrow_mut();
        if !matches!(len, Ok(1..)) {
            world.remove(index);
            return world.carry_out();
        }
        world.visit(index, |connection, core| connection.receive(core, &filled));
        buffer = filled;
        buffer.clear();
    }
}

/// Writes what there is; when that was the last, says so.
async fn write(world: Rc<RefCell<World>>, index: usize, mut stream: TcpStream) {
    let next = |connection: &mut Connection| match connection.output.is_empty() {
        false => Some(Some(connection.output.split())),
        true => connection.is_lingering().then_some(None),
    };
    while let Some(output) = until(&world, index, next).await {
        let BufResult(written, _) = stream.write_all(output).await;
        let mut world = world.borrow_mut();
        if written.is_err() {
            world.remove(index);
            return world.carry_out();
        }
        world.visit(index, |connection, core| {
            if connection.output.is_empty() {
                connection.written(core);
            }
        });
    }
    // The reader waits for the client to do the same.
    let _ = stream.shutdown().await;
}

/// Tells sessions and connections what time it is.
async fn run_timer(world: Rc<RefCell<World>>) {
    loop {
        let now = world.borrow().core.now();
        let armed = world.borrow().core.next_timeout().unwrap_or(now + HOUR);
        let earlier = poll_fn(|cx| {
            let mut world = world.borrow_mut();
            if world.core.next_timeout().is_some_and(|next| next < armed) {
                return Poll::Ready(());
            }
            world.timer = Some((armed, cx.waker().clone()));
            Poll::Pending
        });
        let _ = timeout(armed - now, earlier).await;
        let mut world = world.borrow_mut();
        let now = world.core.now();
        world.core.server.handle_timeout(now);
        while let Some(index) = world.core.pop_expired() {
            let World { core, places, .. } = &mut *world;
            if places.get_mut(index).is_some_and(|place| !place.connection.expire(core)) {
                world.remove(index);
            }
        }
        world.carry_out();
    }
}
