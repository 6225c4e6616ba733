//! Many sessions to an echo server for a long time, each of which checks its echoes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use engineio_driver::{Client, CloseReason, Message, Socket, TransportKind};
use futures_util::future::{Either, select};
use serde_json::json;

use super::{Args, Connect, Error, print_line, sample};

/// How long an echo may take. The longest standstill of the tests is much shorter.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that are sent before their echoes are waited for.
const BURST: usize = 4;
/// The largest message, in bytes.
const LIMIT: usize = 20_000;

/// What has happened in all sessions.
#[derive(Default)]
struct Totals {
    running: AtomicUsize,
    stop: AtomicBool,
    opened: AtomicUsize,
    echoes: AtomicUsize,
    /// Echoes that were wrong, doubled, out of order or missing; sessions that did not open, or ended by themselves.
    faults: AtomicUsize,
}

impl Totals {
    fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn fault(&self, number: usize, what: &str) {
        Self::count(&self.faults);
        print_line(&json!({ "event": "fault", "session": number, "what": what }));
    }
}

/// Returns whether every echo was right, and every session stayed open until it was closed here.
pub(super) async fn run<P: Connect>(args: &Args, sessions: usize) -> Result<bool, Error> {
    let polling = Args { transports: vec![TransportKind::Polling], ..args.clone() }.client::<P>()?;
    let websocket = Args { transports: vec![TransportKind::WebSocket], ..args.clone() }.client::<P>()?;
    let upgrading = args.client::<P>()?;
    let clients = [polling, websocket, upgrading];
    let period = Duration::from_millis(args.period);
    let totals = Arc::new(Totals::default());
    totals.running.store(sessions, Ordering::Relaxed);
    for (number, client) in (0..sessions).zip(clients.iter().cycle()) {
        let (client, totals) = (client.clone(), Arc::clone(&totals));
        P::spawn(async move {
            // The sessions do not all begin at the same moment.
            P::sleep(period * u32::try_from(number % 64).unwrap_or_default() / 64).await;
            let mut life = 0;
            while !totals.stops() {
                live::<P>(&client, number, life, period, &totals).await;
                life += 1;
            }
            totals.running.fetch_sub(1, Ordering::Relaxed);
        });
    }
    print_line(&json!({ "event": "soaking", "sessions": sessions }));
    let mut lines = P::lines();
    while P::next_line(&mut lines).await.is_some() {}
    totals.stop.store(true, Ordering::Relaxed);
    while totals.running.load(Ordering::Relaxed) > 0 {
        P::sleep(Duration::from_millis(10)).await;
    }
    let faults = totals.faults.load(Ordering::Relaxed);
    print_line(&json!({
        "event": "soaked",
        "sessions": totals.opened.load(Ordering::Relaxed),
        "echoes": totals.echoes.load(Ordering::Relaxed),
        "faults": faults,
    }));
    Ok(faults == 0)
}

/// One session, from its handshake to its end.
async fn live<P: Connect>(client: &Client, number: usize, life: usize, period: Duration, totals: &Totals) {
    let mut socket = match client.connect().await {
        Ok(socket) => socket,
        Err(error) => {
            totals.fault(number, &format!("not opened: {error}"));
            return P::sleep(period).await;
        }
    };
    Totals::count(&totals.opened);
    // Lives of different lengths, with different messages.
    let exchanges = 10 + (number * 7 + life * 13) % 50;
    for exchange in 0..exchanges {
        let numbers = (exchange * BURST..(exchange + 1) * BURST).map(|index| number + index);
        for index in numbers.clone() {
            if socket.send(sample(index, LIMIT)).await.is_err() {
                return totals.fault(number, &ended(&socket));
            }
        }
        for index in numbers {
            match within::<P, _>(socket.recv()).await {
                Some(Some(echo)) if echo == sample(index, LIMIT) => Totals::count(&totals.echoes),
                Some(Some(other)) => totals.fault(number, &format!("message {index} came back as {}", brief(&other))),
                Some(None) => return totals.fault(number, &ended(&socket)),
                None => return totals.fault(number, &format!("message {index} did not come back")),
            }
        }
        if totals.stops() {
            break;
        }
        P::sleep(period).await;
    }
    socket.close();
    while let Some(message) = socket.recv().await {
        totals.fault(number, &format!("one message too many: {}", brief(&message)));
    }
    let reason = socket.closed().await;
    if reason != CloseReason::ForcedClose {
        totals.fault(number, &ended(&socket));
    }
}

async fn within<P: Connect, T>(work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(P::sleep(PATIENCE))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

fn ended(socket: &Socket) -> String {
    let reason = socket.close_reason().map_or_else(|| "no reason".to_owned(), |reason| reason.to_string());
    format!("ended on {}: {reason}", socket.transport().name())
}

fn brief(message: &Message) -> String {
    format!("{message:?}").chars().take(40).collect()
}
