//! What the codec costs, beside the codec of engineioxide and a *floor*: the least work that leads to the same result.
//!
//! `benches/codec/run` prints the table. A program of its own counts the allocations, because counting takes time.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod contestants;

use bytes::Bytes;
use engineio_proto::wire::{Codec, Frame, Packet};
use engineio_proto::{Message, Text};
use engineioxide_core as oxide;

pub use contestants::{Contestant, Measure};
use contestants::{floor, ours, theirs};

/// A row of the table.
pub struct Row {
    pub name: String,
    /// First the floors, then engineioxide, then ours.
    pub contestants: Vec<Contestant>,
}

/// The rows of the table: of payloads, and of text frames.
pub fn rows() -> [Vec<Row>; 2] {
    let one = Load { name: "1 × 16 B text", is_binary: false, packets: 1, len: 16, repeats: 512 };
    let loads = [
        Load { name: "100 × 100 B text", is_binary: false, packets: 100, len: 100, repeats: 16 },
        Load { name: "10 × 10 KiB binary", is_binary: true, packets: 10, len: 10 << 10, repeats: 4 },
        one,
    ];
    [loads.iter().flat_map(payload).collect(), frame(&one).into()]
}

/// Packets of this kind and size.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    is_binary: bool,
    packets: usize,
    len: usize,
    /// How often in one round.
    repeats: usize,
}

impl Load {
    fn row(&self, what: &str, contestants: Vec<Contestant>) -> Row {
        Row { name: format!("{what} {}", self.name), contestants }
    }

    /// The data of the messages.
    fn data(&self) -> Vec<Bytes> {
        let byte = |n: usize| if self.is_binary { n as u8 } else { b'a' + (n % 26) as u8 };
        (0..self.packets).map(|packet| (0..self.len).map(|n| byte(n * 7 + packet)).collect()).collect()
    }

    fn packets(&self) -> Vec<Packet> {
        let packet = |data: Bytes| match self.is_binary {
            true => Packet::Binary(data),
            false => Message::from(Text::try_from(data).unwrap()).into(),
        };
        self.data().into_iter().map(packet).collect()
    }

    /// The same packets as engineioxide has them.
    fn theirs(&self) -> Vec<oxide::Packet> {
        let packet = |data: Bytes| match self.is_binary {
            true => oxide::Packet::Binary(data),
            false => oxide::Packet::Message(String::from_utf8(data.into()).unwrap().into()),
        };
        self.data().into_iter().map(packet).collect()
    }

    /// Makes the inputs of one round.
    fn inputs<T: 'static>(&self, input: impl Fn() -> T + 'static) -> impl Fn() -> Vec<T> + 'static {
        let repeats = self.repeats;
        move || (0..repeats).map(|_| input()).collect()
    }
}

fn payload(load: &Load) -> [Row; 2] {
    let packets = load.packets();
    let encoded = Codec::V4.encode_payload(&packets);
    // A body that arrives has memory of its own, to which nothing else refers.
    let bodies = || {
        let encoded = encoded.clone();
        load.inputs(move || Bytes::copy_from_slice(&encoded))
    };
    assert!(Codec::V4.decode_payload(encoded.clone()).map(Result::unwrap).eq(packets.iter().cloned()));
    let mut decode = match load.is_binary {
        true => vec![Contestant::new(bodies(), floor::decode_base64)],
        false => vec![Contestant::new(bodies(), floor::decode_copies), Contestant::new(bodies(), floor::decode_slices)],
    };
    decode.extend([Contestant::new(bodies(), theirs::decode), Contestant::new(bodies(), ours::decode)]);

    let (data, packets) = (load.data(), std::rc::Rc::new(packets));
    let floor = if load.is_binary { floor::encode_base64 } else { floor::encode_text };
    assert_eq!(floor(&data), encoded);
    let theirs = load.theirs();
    let encode = vec![
        Contestant::new(load.inputs(|| ()), move |()| floor(&data)),
        Contestant::new(load.inputs(move || theirs.clone()), theirs::encode),
        Contestant::new(load.inputs(|| ()), move |()| ours::encode(&packets)),
    ];
    [load.row("decode", decode), load.row("encode", encode)]
}

fn frame(load: &Load) -> [Row; 2] {
    let packet = load.packets().remove(0);
    let mut encoded = Vec::new();
    Codec::V4.encode_text(&packet, &mut encoded);
    let text = String::from_utf8(encoded).unwrap();
    let (bytes, theirs) = (text.clone(), text.clone());
    let decode = vec![
        Contestant::new(load.inputs(move || Bytes::copy_from_slice(bytes.as_bytes())), floor::decode_frame),
        Contestant::new(load.inputs(move || oxide::Str::from(theirs.clone())), theirs::decode_frame),
        Contestant::new(load.inputs(move || Frame::received(Text::from(&*text))), ours::decode_frame),
    ];
    let (data, theirs) = (load.data().remove(0), load.theirs().remove(0));
    let encode = vec![
        Contestant::new(load.inputs(|| ()), move |()| floor::encode_frame(&data)),
        Contestant::new(load.inputs(move || theirs.clone()), theirs::encode_frame),
        Contestant::new(load.inputs(move || packet.clone()), ours::encode_frame),
    ];
    [load.row("decode", decode), load.row("encode", encode)]
}
