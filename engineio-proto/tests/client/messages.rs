//! Properties of a client and a server of ours, whatever is sent, and in whatever order the network delivers.

use engineio_proto::client;
use engineio_proto::server::Config;
use engineio_proto::{Event, Message, Phase, TransportKind};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::cases;
use crate::pair::Pair;

#[derive(Clone, Debug)]
enum Op {
    ClientSend(Message),
    ServerSend(Message),
    ClientTakes,
    ServerTakes,
    /// So many things are delivered, chosen by these numbers.
    Deliver(Vec<usize>),
    Hold(bool),
    Pass(u64),
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => "[a-z]{0,30}".prop_map(Message::from),
        1 => "[^\u{1e}]{0,9}".prop_map(Message::from),
        3 => vec(any::<u8>(), 0..30).prop_map(Message::from),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => message().prop_map(Op::ClientSend),
        8 => message().prop_map(Op::ServerSend),
        2 => Just(Op::ClientTakes),
        2 => Just(Op::ServerTakes),
        12 => vec(any::<usize>(), 1..9).prop_map(Op::Deliver),
        1 => any::<bool>().prop_map(Op::Hold),
        4 => (0_u64..60).prop_map(Op::Pass),
    ]
}

fn transports() -> impl Strategy<Value = Vec<TransportKind>> {
    use TransportKind::{Polling, WebSocket};
    prop_oneof![
        4 => Just(vec![Polling, WebSocket]),
        1 => Just(vec![Polling]),
        1 => Just(vec![WebSocket]),
    ]
}

/// What both sides took from and gave to a pair.
struct Talk {
    pair: Pair,
    client_sent: Vec<Message>,
    server_sent: Vec<Message>,
    client_took: Vec<Message>,
    server_took: Vec<Message>,
}

impl Talk {
    fn new(transports: Vec<TransportKind>, base64: bool, max_payload: usize, buffer: usize) -> Self {
        let mut client = client::Config::default();
        client.transports = transports;
        client.base64 = base64;
        client.receive_limit = buffer;
        client.send_limit = buffer;
        client.send_low = 0;
        let mut server = Config::default();
        server.max_payload = max_payload;
        server.receive_limit = buffer;
        let pair = Pair::waiting(client, server);
        Self { pair, client_sent: vec![], server_sent: vec![], client_took: vec![], server_took: vec![] }
    }

    fn play(&mut self, op: &Op) {
        match op {
            Op::ClientSend(message) => {
                // Before the client knows the limit it takes what would end the session; that has its own test.
                let limit = self.pair.server.config().max_payload;
                let known = self.pair.client.phase() != Phase::Opening;
                let fits = message.len().div_ceil(3) * 4 < limit;
                if (known || fits) && self.pair.client_send(message.clone()).is_ok() {
                    self.client_sent.push(message.clone());
                }
            }
            Op::ServerSend(message) => {
                if self.pair.server_send(message.clone()) {
                    self.server_sent.push(message.clone());
                }
            }
            Op::ClientTakes => self.client_took.extend(self.pair.client_received()),
            Op::ServerTakes => self.server_took.extend(self.pair.server_received()),
            Op::Deliver(choices) => {
                for &choice in choices {
                    self.pair.step(choice);
                }
            }
            Op::Hold(hold) => self.pair.hold = *hold,
            Op::Pass(millis) => self.pair.pass(*millis),
        }
    }

    fn take(&mut self) {
        self.client_took.extend(self.pair.client_received());
        self.server_took.extend(self.pair.server_received());
    }

    /// Everything that is on its way arrives, in whatever order, and a little time passes.
    fn settle(&mut self, choices: &[usize]) {
        self.pair.hold = false;
        let mut choices = choices.iter().copied().chain(std::iter::repeat(0));
        for _ in 0..30 {
            while self.pair.step(choices.next().unwrap_or_default()) {}
            self.take();
            while self.pair.step(choices.next().unwrap_or_default()) {}
            self.take();
            self.pair.pass(50);
        }
    }

    fn ends(&self) -> [Option<&Event>; 2] {
        [self.pair.client_events.last(), self.pair.server_events.last()]
    }
}

proptest! {
    #![proptest_config(cases(96))]

    /// Law 2: everything arrives, in order, whatever the transports do. (The pair asserts that every POST is within the
    /// server's limit, unless it is one packet.)
    #[test]
    fn everything_arrives_in_order(
        transports in transports(),
        base64: bool,
        max_payload in 16_usize..100,
        buffer in prop_oneof![1_usize..200, Just(1 << 20)],
        ops in vec(op(), 1..120),
        choices in vec(any::<usize>(), 0..200),
    ) {
        let mut talk = Talk::new(transports, base64, max_payload, buffer);
        for op in &ops {
            talk.play(op);
            prop_assert!(talk.server_sent.starts_with(&talk.client_took) && talk.client_sent.starts_with(&talk.server_took));
        }
        talk.settle(&choices);
        prop_assert_eq!(talk.pair.client.close_reason(), None);
        prop_assert_eq!((&talk.client_took, &talk.server_took), (&talk.server_sent, &talk.client_sent));
        prop_assert_eq!((talk.pair.client.send_buffered(), talk.pair.client.receive_buffered()), (0, 0));
        let expected = talk.pair.client.config().transports.last();
        let transport = talk.pair.client.transport();
        prop_assert_eq!(Some(&transport), expected, "it is where it wanted to be");
    }

    /// Law 12, and R-09: whoever closes, at whatever moment, both are over in the end; and what a client sent before it
    /// closed has arrived.
    #[test]
    fn whoever_closes_both_are_over(
        transports in transports(),
        by_client: bool,
        max_payload in 16_usize..100,
        ops in vec(op(), 1..80),
        later in vec(op(), 0..40),
        choices in vec(any::<usize>(), 0..200),
    ) {
        let mut talk = Talk::new(transports, false, max_payload, 1 << 20);
        for op in &ops {
            talk.play(op);
        }
        // Before the handshake there is no session that a server could close.
        let by_client = by_client || talk.pair.key.is_none();
        if by_client {
            talk.pair.client.close(talk.pair.now);
        } else {
            talk.pair.server_close();
        }
        for op in &later {
            talk.play(op);
        }
        talk.settle(&choices);
        prop_assert!(talk.pair.client.is_finished() && talk.pair.server.is_empty());
        prop_assert!(talk.server_sent.starts_with(&talk.client_took) && talk.client_sent.starts_with(&talk.server_took));
        let told = talk.ends().map(|event| matches!(event, Some(Event::Closed(_)) | None));
        prop_assert_eq!(told, [true, true]);
        if by_client {
            prop_assert_eq!(&talk.server_took, &talk.client_sent);
            prop_assert_eq!(talk.pair.client.close_reason(), Some(engineio_proto::CloseReason::ForcedClose));
        }
    }
}
