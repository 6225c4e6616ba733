//! A listener in the background.

use std::fmt;
use std::sync::Arc;

use super::serve::{Listener, race};
use crate::server::Server;
use crate::tasks::{Guard, Phase, Tasks};

/// A listener that is served in the background, until this is dropped or the server is shut down.
///
/// [`Server::listen`], and `bind` and `listen` of the runtime crates return it. `A` is the address at which the server
/// listens, as far as it is known.
///
/// After it has stopped, connections that are already open continue.
#[must_use = "the server stops listening when this is dropped"]
pub struct Listening<A = ()> {
    addr: A,
    stop: Stop,
}

/// Stops a listener when it is dropped, if there is one.
struct Stop(Option<Arc<Tasks>>);

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(tasks) = &self.0 {
            tasks.begin_phase(Phase::Ending);
        }
    }
}

impl Server {
    /// Serves the connections of a listener in a background task, as [`Server::serve`] does. Drop the result to stop
    /// listening.
    pub fn listen(&self, listener: impl Listener + 'static) -> Listening {
        let tasks = Arc::<Tasks>::default();
        let guard = Guard::new(&tasks);
        let server = self.clone();
        self.runtime().spawn(async move {
            {
                let serving = std::pin::pin!(server.serve(listener));
                race(serving, guard.ending()).await;
            }
            // The listener was dropped before the guard.
            drop(guard);
        });
        Listening { addr: (), stop: Stop(Some(tasks)) }
    }
}

impl<A> Listening<A> {
    /// Returns the address at which the server listens.
    pub const fn addr(&self) -> &A {
        &self.addr
    }

    /// Sets the address.
    pub fn with_addr<B>(self, addr: B) -> Listening<B> {
        Listening { addr, stop: self.stop }
    }

    /// Stops listening, and waits until the listener was dropped: its address is free again.
    ///
    /// To stop a server and its sessions, call [`Server::shutdown`] instead, which stops listening at the right time.
    pub async fn stop(self) {
        if let Some(tasks) = &self.stop.0 {
            tasks.end(Phase::Ending).await;
        }
    }

    /// Listens for as long as the runtime lives, or until the server is shut down. Returns the address.
    pub fn detach(mut self) -> A {
        self.stop.0 = None;
        self.addr
    }
}

impl<A: fmt::Debug> fmt::Debug for Listening<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("addr", &self.addr).finish_non_exhaustive()
    }
}
