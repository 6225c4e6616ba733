//! Packets, payloads and frames, to bytes and back.
#![allow(missing_docs, clippy::unwrap_used)] // The macro of criterion makes a function without documentation.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engineio_proto::wire::{Codec, Packet, Payload};
use engineio_proto::{Message, Text};

fn text(len: usize) -> Packet {
    Message::from("x".repeat(len)).into()
}

fn binary(len: usize) -> Packet {
    Packet::Binary((0..len).map(|n| n as u8).collect::<Vec<_>>().into())
}

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet");
    for (name, packet) in [("text 100 B", text(100)), ("base64 100 B", binary(100)), ("base64 64 KiB", binary(1 << 16))]
    {
        let mut encoded = Vec::new();
        Codec::V4.encode_text(&packet, &mut encoded);
        group.throughput(Throughput::Bytes(encoded.len() as u64));
        let mut out = Vec::with_capacity(encoded.len());
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| {
                out.clear();
                Codec::V4.encode_text(black_box(&packet), &mut out);
            });
        });
        let encoded = Text::try_from(Bytes::from(encoded)).unwrap();
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| Codec::V4.decode_text(black_box(&encoded).clone()));
        });
    }
    group.finish();
}

fn payloads(c: &mut Criterion) {
    let mut group = c.benchmark_group("payload");
    for (name, packet) in [("16 × text 100 B", text(100)), ("16 × base64 100 B", binary(100))] {
        let payload = Payload::from_packets(Codec::V4, std::iter::repeat_n(packet, 16));
        let body = payload.clone().into_bytes();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("encode {name}"), |b| b.iter(|| black_box(&payload).clone().into_bytes()));
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| Codec::V4.decode_payload(black_box(&body).clone()).map(Result::unwrap).map(black_box).count());
        });
    }
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for (name, packet) in [("text 100 B", text(100)), ("binary 100 B", binary(100))] {
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| Codec::V4.encode_frame(black_box(&packet).clone()));
        });
        let frame = Codec::V4.encode_frame(packet);
        group
            .bench_function(format!("decode {name}"), |b| b.iter(|| Codec::V4.decode_frame(black_box(&frame).clone())));
    }
    group.finish();
}

criterion_group!(benches, packets, payloads, frames);
criterion_main!(benches);
