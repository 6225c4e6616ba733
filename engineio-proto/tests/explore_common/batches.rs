//! Batches: one call with many frames or messages does the same as many calls with one.

use std::fmt::Debug;

use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, Instant, Machine};

/// Frames that arrive together: messages alone, with a heartbeat among them, with one that ends the session, and those
/// of an upgrade.
const BATCHES: [&[&str]; 4] =
    [&["4a", "4b", "4c"], &["4a", "3", "2", "4b"], &["4a", "1", "4b"], &["2probe", "5", "4a"]];

/// Everything that is tested in batches, with limits that end a batch before its end and with none.
pub fn equal_single_calls<M: Machine + Clone + PartialEq + Debug>(machine: &M, now: Instant, channel: ChannelId) {
    take(machine, now);
    pull(machine, now, channel);
    for batch in BATCHES {
        let frames = || batch.iter().map(|&text| Frame::received(text.into()));
        let (mut single, mut together) = (machine.clone(), machine.clone());
        frames().for_each(|frame| single.channel_frame(now, channel, frame));
        together.channel_frames(now, channel, &mut frames());
        assert!(single == together, "{batch:?} together: {together:#?}\none by one: {single:#?}");
    }
}

fn take<M: Machine + Clone + PartialEq + Debug>(machine: &M, now: Instant) {
    for (messages, bytes) in [(1, 0), (1, 9), (9, 2), (9, 99)] {
        let (mut single, mut together) = (machine.clone(), machine.clone());
        let (mut expected, mut taken, mut is_last) = (Vec::new(), Vec::new(), false);
        while expected.len() < messages && expected.iter().map(len).sum::<usize>() < bytes && !is_last {
            let message = single.recv(now);
            is_last = message.is_none();
            expected.extend(message);
        }
        assert_eq!(together.recv_many(now, messages, bytes, &mut |message| taken.push(message)), is_last);
        assert_eq!(taken, expected, "at most {messages} messages and {bytes} bytes");
        assert!(single == together, "taken together: {together:#?}\none by one: {single:#?}");
    }
}

fn len(message: &engineio_proto::Message) -> usize {
    message.len()
}

fn pull<M: Machine + Clone + PartialEq + Debug>(machine: &M, now: Instant, channel: ChannelId) {
    for room in [1, 999] {
        let (mut single, mut together) = (machine.clone(), machine.clone());
        let (mut expected, mut pulled, mut is_last) = (Vec::new(), Vec::new(), false);
        while expected.iter().map(|frame: &Frame| frame.len().max(1)).sum::<usize>() < room && !is_last {
            let frame = single.next_frame(now, channel);
            is_last = frame.is_none();
            expected.extend(frame);
        }
        assert_eq!(together.next_frames(now, channel, room, &mut |frame| pulled.push(frame)), is_last);
        assert_eq!(pulled, expected, "room for {room} bytes");
        assert!(single == together, "pulled together: {together:#?}\none by one: {single:#?}");
    }
}
