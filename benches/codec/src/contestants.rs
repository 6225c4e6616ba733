//! What is compared. Every contestant drops what it makes, and that counts too.

use std::hint::black_box;

/// Does some work, and returns what it takes.
pub type Measure = dyn Fn(&mut dyn FnMut()) -> f64;

/// Work that is repeated on inputs, which are made before anything is measured.
pub struct Contestant(Box<dyn FnMut(&Measure) -> f64>);

impl Contestant {
    pub(crate) fn new<T, R>(inputs: impl Fn() -> Vec<T> + 'static, work: impl Fn(T) -> R + 'static) -> Self {
        Self(Box::new(move |measure| {
            let mut inputs = inputs();
            let repeats = inputs.len() as f64;
            let mut work = || inputs.drain(..).for_each(|input| drop(black_box(work(black_box(input)))));
            measure(&mut work) / repeats
        }))
    }

    /// Measures one round of the work. Returns what it takes each time that it is repeated.
    pub fn run(&mut self, measure: &Measure) -> f64 {
        (self.0)(measure)
    }
}

/// The least work for the same result.
pub(crate) mod floor {
    use super::black_box;
    use base64_simd::STANDARD;
    use bytes::Bytes;
    use memchr::memchr_iter;

    const SEPARATOR: u8 = 0x1e;

    /// Calls `piece` with the range of each packet, without its type.
    fn pieces(body: &[u8], mut piece: impl FnMut(std::ops::Range<usize>)) {
        let mut start = 0;
        for end in memchr_iter(SEPARATOR, body).chain([body.len()]) {
            piece(start + 1..end);
            start = end + 1;
        }
    }

    pub(crate) fn decode_copies(body: Bytes) {
        pieces(&body, |range| {
            let text = std::str::from_utf8(&body[range]).unwrap();
            black_box(&Bytes::copy_from_slice(text.as_bytes()));
        });
    }

    pub(crate) fn decode_slices(body: Bytes) {
        pieces(&body, |range| {
            black_box(std::str::from_utf8(&body[range.clone()]).unwrap());
            black_box(&body.slice(range));
        });
    }

    pub(crate) fn decode_base64(body: Bytes) {
        pieces(&body, |range| {
            black_box(&Bytes::from(STANDARD.decode_type::<Box<[u8]>>(&body[range]).unwrap()));
        });
    }

    pub(crate) fn encode_text(packets: &[Bytes]) -> Bytes {
        let len: usize = packets.iter().map(|data| data.len() + 2).sum();
        let mut out = Vec::with_capacity(len - 1);
        for (index, data) in packets.iter().enumerate() {
            if index > 0 {
                out.push(SEPARATOR);
            }
            out.push(b'4');
            out.extend_from_slice(data);
        }
        out.into()
    }

    pub(crate) fn encode_base64(packets: &[Bytes]) -> Bytes {
        let len: usize = packets.iter().map(|data| STANDARD.encoded_length(data.len()) + 2).sum();
        let mut out = Vec::with_capacity(len - 1);
        for (index, data) in packets.iter().enumerate() {
            if index > 0 {
                out.push(SEPARATOR);
            }
            out.push(b'b');
            STANDARD.encode_append(data, &mut out);
        }
        out.into()
    }

    pub(crate) fn decode_frame(frame: Bytes) -> Bytes {
        black_box(std::str::from_utf8(&frame).unwrap());
        frame.slice(1..)
    }

    pub(crate) fn encode_frame(data: &Bytes) -> Bytes {
        let mut out = Vec::with_capacity(data.len() + 1);
        out.push(b'4');
        out.extend_from_slice(data);
        out.into()
    }
}

/// engineioxide-core. Nothing in it waits here, so each future is ready at once.
pub(crate) mod theirs {
    use super::black_box;
    use bytes::Bytes;
    use engineioxide_core::{Packet, PacketBuf, ProtocolVersion, Str, payload};
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::Full;

    const V4: ProtocolVersion = ProtocolVersion::V4;
    const MAX: u64 = 1 << 30;

    pub(crate) fn decode(body: Bytes) {
        let packets = payload::decoder(Full::new(body), None, V4, MAX);
        packets
            .for_each(|packet| {
                black_box(&packet);
                std::future::ready(())
            })
            .now_or_never()
            .unwrap();
    }

    pub(crate) fn encode(packets: Vec<Packet>) -> Bytes {
        let packets = stream::iter(packets.into_iter().map(|packet| PacketBuf::from_iter([packet])));
        payload::encoder(packets, V4, true, MAX).now_or_never().unwrap().data
    }

    pub(crate) fn decode_frame(text: Str) -> Packet {
        Packet::parse(V4, text).unwrap()
    }

    pub(crate) fn encode_frame(packet: Packet) -> String {
        packet.into()
    }
}

pub(crate) mod ours {
    use super::black_box;
    use bytes::Bytes;
    use engineio_proto::wire::{Codec, Frame, Packet};

    pub(crate) fn decode(body: Bytes) {
        let mut packets = Codec::V4.decode_payload(body);
        // Packets stay where they are made: moving them is not decoding.
        while black_box(&packets.next()).is_some() {}
    }

    pub(crate) fn encode(packets: &[Packet]) -> Bytes {
        Codec::V4.encode_payload(packets)
    }

    pub(crate) fn decode_frame(frame: Frame) -> Packet {
        Codec::V4.decode_frame(frame).unwrap()
    }

    pub(crate) fn encode_frame(packet: Packet) -> Frame {
        Codec::V4.encode_frame(packet)
    }
}
