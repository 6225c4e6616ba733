//! The services that the driver needs from a runtime: starting tasks, and timers.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant as StdInstant};

use engineio_proto::Instant;
use hyper::rt::{Executor, Sleep, Timer};

/// A task that the driver starts.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An executor and a timer, by the traits of hyper. Any runtime that can run hyper can run the driver.
#[derive(Clone)]
pub struct Runtime {
    executor: Arc<dyn Executor<Task> + Send + Sync>,
    timer: Arc<dyn Timer + Send + Sync>,
}

impl Runtime {
    /// Combines an executor and a timer.
    pub fn new(
        executor: impl Executor<Task> + Send + Sync + 'static,
        timer: impl Timer + Send + Sync + 'static,
    ) -> Self {
        Self { executor: Arc::new(executor), timer: Arc::new(timer) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.execute(Box::pin(task));
    }

    /// Returns the current time by the runtime's clock.
    pub(crate) fn now(&self) -> StdInstant {
        self.timer.now()
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.timer.sleep(duration)
    }

    /// Returns the output of a future, or `None` if it takes longer than `duration`.
    pub(crate) async fn within<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = self.sleep(duration);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

/// hyper takes a timer by value.
impl Timer for Runtime {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.timer.sleep(duration)
    }

    fn sleep_until(&self, deadline: StdInstant) -> Pin<Box<dyn Sleep>> {
        self.timer.sleep_until(deadline)
    }

    fn now(&self) -> StdInstant {
        self.timer.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: StdInstant) {
        self.timer.reset(sleep, deadline);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// The core's time: the time since this clock was created, by the runtime's clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    runtime: Runtime,
    epoch: StdInstant,
}

impl Clock {
    pub(crate) fn new(runtime: Runtime) -> Self {
        let epoch = runtime.timer.now();
        Self { runtime, epoch }
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn now(&self) -> Instant {
        let elapsed = self.runtime.timer.now().saturating_duration_since(self.epoch);
        Instant::ZERO + elapsed
    }

    /// Arms a sleep for a time of the core, or rearms it.
    pub(crate) fn arm(&self, sleep: &mut Option<Pin<Box<dyn Sleep>>>, at: Instant) {
        // Rounded up: a sleep that ended early would have to be armed again.
        let at = self.epoch + Duration::from_micros(at.as_micros().saturating_add(1));
        match sleep {
            Some(sleep) => self.runtime.timer.reset(sleep, at),
            None => *sleep = Some(self.runtime.timer.sleep_until(at)),
        }
    }
}
