#[test]
fn found() {
    #[allow(unused_imports)]
    use engineio_sim::{Deed, Ending, Habit, Intrusion, Knock, Load, Line::*, Node, Op::*, Settings, Side::*, Simulation, Start::*};
    let settings = Settings { latency: 100, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: Upgrade },
        Wait(1000000),
        Send { side: Client(0), size: 1, binary: false },
        Intrude(0, Intrusion::Get),
        Intrude(0, Intrusion::Overtake),
        Tear { line: Up(0), client: 0, server: Some(1) },
        Reset { line: Get(0), arrives: 1, client: 0, server: None },
        Throttle(Post(0), 1000),
        Lose(0, 1),
        Await(Client(0), 0),
        Report(Server(0), 1),
        Withhold(Server(0), 1000),
        Impulse(Node::Client(0), 7),
        Foreign(1000, Deed::Open(Habit::Java)),
        Foreign(1000, Deed::OpenChannel { habit: Habit::Mute, base64: true }),
        Foreign(1000, Deed::Post(Load::Lines)),
        Foreign(1000, Deed::Leave { closes: false }),
        Foreign(1000, Deed::Knock(Knock::Bare)),
        Forge(Down(0), Load::Noop),
        Ready(Client(0)),
        Late(Node::Server(0), 1),
        Spurious(Node::Client(0)),
        Backwards(Node::Server(0), 1),
    ];
    let run = Simulation::new().replay(&settings, &ops, Ending::Bursts);
    assert!(run.is_ok(), "{}", run.unwrap_err());
}
