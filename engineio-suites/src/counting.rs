//! A runtime that counts tasks and polls.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::rt::Executor;
use tokio::sync::watch;

use super::raw::within;
use crate::adapter::adapter;
use crate::adapter::rt::Runtime;
use crate::runtime;

/// Counts the tasks, and how often they are polled.
#[derive(Clone, Debug)]
pub struct Counting {
    tasks: watch::Sender<usize>,
    polls: Arc<AtomicUsize>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Executor<Task> for Counting {
    fn execute(&self, mut task: Task) {
        let Self { tasks, polls } = self.clone();
        tasks.send_modify(|tasks| *tasks += 1);
        runtime::spawn(async move {
            poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                task.as_mut().poll(cx)
            })
            .await;
            drop(task);
            tasks.send_modify(|tasks| *tasks -= 1);
        });
    }
}

impl Counting {
    pub(crate) fn new() -> Self {
        Self { tasks: watch::channel(0).0, polls: Arc::default() }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        adapter().runtime(self.clone())
    }

    /// Returns the number of tasks.
    pub(crate) fn tasks(&self) -> usize {
        *self.tasks.borrow()
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    pub(crate) async fn all_over(&self) {
        within(self.tasks.subscribe().wait_for(|tasks| *tasks == 0)).await.unwrap();
    }

    /// A task that wakes itself is detected here.
    pub(crate) async fn at_rest(&self) {
        let mut before = self.polls();
        // Work that is under way may finish first.
        within(async {
            loop {
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                let now = self.polls();
                if now == before {
                    return;
                }
                before = now;
            }
        })
        .await;
    }
}
