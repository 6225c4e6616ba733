//! Messages that stream: a driver looks no further after calls that do not depend on the time and leave no output.

use engineio_proto::{ChannelId, CloseReason, Instant, Machine, Message, Phase};

/// What a driver looks at after other calls.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    phase: Phase,
    close_reason: Option<CloseReason>,
    next_timeout: Option<Instant>,
}

impl Look {
    fn at(machine: &dyn Machine) -> Self {
        let (phase, close_reason) = (machine.phase(), machine.close_reason());
        Self { phase, close_reason, next_timeout: machine.next_timeout() }
    }
}

type Call<'a, M> = &'a dyn Fn(&mut M);

/// The calls of [`Machine::needs_time`], if they do not need it.
pub fn change_nothing_else<M: Machine + Clone>(machine: &M, channel: ChannelId) {
    if machine.needs_time() || machine.has_output() {
        return;
    }
    let calls: [(&str, Call<'_, M>); 4] = [
        ("send", &|machine| drop(machine.send(Instant::ZERO, Message::from("a")))),
        ("recv", &|machine| _ = machine.recv_many(Instant::ZERO, 2, 99, &mut drop)),
        ("pull", &|machine| _ = machine.next_frames(Instant::ZERO, channel, 9, &mut drop)),
        ("written", &|machine| machine.channel_written(Instant::ZERO, channel, machine.messages_sent())),
    ];
    for (name, call) in calls {
        let mut after = machine.clone();
        call(&mut after);
        if !after.has_output() {
            assert_eq!(Look::at(machine), Look::at(&after), "{name}");
            // A channel that pulls, or reports what is written, asks by itself.
            if matches!(name, "send" | "recv") {
                assert_eq!(machine.wants_written(), after.wants_written(), "{name}");
            }
        }
    }
}
