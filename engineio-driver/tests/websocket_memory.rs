//! What the WebSocket codec allocates: one allocation for each message, which is the message.
#![cfg(feature = "__fuzz")]
#![allow(clippy::unwrap_used)]

use allocation_counter::{AllocationInfo, measure};
use engineio_driver::fuzz::Codec;
use engineio_proto::wire::{self, Frame};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A frame of a client, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = match payload.len() {
        len @ ..126 => vec![first, 0x80 | len as u8],
        len @ ..0x1_0000 => [&[first, 0x80 | 126][..], &(len as u16).to_be_bytes()].concat(),
        len => [&[first, 0x80 | 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    [&header, &[0; 4][..], payload].concat()
}

/// Decodes what arrives in pieces, up to packets of the core, and sends it back.
fn echo(mut stream: Vec<u8>, size: usize) -> (usize, AllocationInfo) {
    let (mut codec, mut output) = (Codec::server(1 << 20), Vec::with_capacity(1 << 20));
    let mut packets = Vec::with_capacity(100);
    let allocated = measure(|| {
        for mut input in stream.chunks_mut(size) {
            while let Some(next) = codec.decode(&mut input, &mut output) {
                packets.push(wire::Codec::V4.decode_frame(next.unwrap()).unwrap());
            }
        }
    });
    let count = packets.len();
    let sent = measure(|| {
        for packet in packets.drain(..) {
            let frame: Frame = wire::Codec::V4.encode_frame(packet);
            codec.send(frame, &mut output);
        }
    });
    assert_eq!(sent.count_total, 0, "what is sent is only copied");
    (count, allocated)
}

#[test]
fn a_message_is_one_allocation() {
    for payload in ["4hello".to_owned(), format!("4{}", "x".repeat(64)), format!("4{}", "\u{20ac}".repeat(1000))] {
        for first in [TEXT, BINARY] {
            let stream = frame(first, payload.as_bytes()).repeat(16);
            let (count, allocated) = echo(stream, usize::MAX);
            assert_eq!((count, allocated.count_total), (16, 16), "{} bytes", payload.len());
            let len = if first == TEXT { payload.len() - 1 } else { payload.len() };
            assert_eq!(allocated.bytes_total, 16 * len as u64, "exactly the message");
        }
    }
    // Without data there is nothing to allocate.
    let (count, allocated) = echo(frame(TEXT, b"4").repeat(16), usize::MAX);
    assert_eq!((count, allocated.count_total), (16, 0));
}

/// It is collected in memory that grows at most to the double, and is not larger than the message in the end.
#[test]
fn a_message_in_many_pieces_is_few_allocations() {
    let payload = vec![b'x'; 300_000];
    let (count, allocated) = echo(frame(BINARY, &payload), 16 * 1024);
    assert_eq!(count, 1);
    assert!(allocated.count_total <= 7, "{}", allocated.count_total);
    assert_eq!(allocated.bytes_current, 300_000);
}
