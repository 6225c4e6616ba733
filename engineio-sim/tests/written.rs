//! Scenes with data that is handed over, written, reported and lost. Each scene reaches its subject, and no law is
//! broken.
#![allow(clippy::unwrap_used, clippy::panic)]

use engineio_sim::{Ending, Intrusion, Line::*, Op::*, Report, Settings, Side::*, Simulation, Situation, Start::*};

/// Runs a scene to its end, and checks that it has reached its subject.
#[track_caller]
fn play(settings: &Settings, ops: &[engineio_sim::Op], ending: Ending, situations: &[Situation]) -> Report {
    let run = Simulation::new().replay(settings, ops, ending);
    let report = run.unwrap_or_else(|failure| panic!("{failure}"));
    for &situation in situations {
        assert!(report.coverage.reached(situation), "{situation:?} was not reached");
    }
    report
}

/// A second poll is answered while the answer to the first was not reported, and so on: the ninth poll waits.
#[test]
fn answers_under_way_are_bounded() {
    let settings = Settings { latency: 100, ..Settings::default() };
    let connect = Connect { client: 0, server: 0, start: Polling };
    let mut ops = vec![connect, Wait(1000), Withhold(Server(0), 1_000_000)];
    for _ in 0..12 {
        ops.extend([Send { side: Server(0), size: 1, binary: false }, Wait(1000)]);
    }
    play(&settings, &ops, Ending::Servers, &[Situation::SeveralAnswers, Situation::HeldPoll]);
}

/// Two answers are under way. The later one is reported first, and the earlier one is lost: the session ends.
#[test]
fn a_lost_answer_ends_the_session_although_a_later_one_was_written() {
    let settings = Settings { report_time: 1_000_000, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: Polling },
        Wait(100_000),
        Report(Server(0), 0),
        Send { side: Server(0), size: 1, binary: false },
        Wait(100_000),
        Send { side: Server(0), size: 1, binary: false },
        Report(Server(0), 1),
        Lose(0, 0),
    ];
    let reached = [Situation::ReportedOutOfOrder, Situation::LostBehindWritten, Situation::LostWithMessages];
    play(&settings, &ops, Ending::Clients, &reached);
}

/// An answer with only a ping is lost while it is being written.
#[test]
fn a_lost_ping_ends_the_session() {
    let settings = Settings { report_time: 1_000_000, ..Settings::default() };
    let ops =
        [Connect { client: 0, server: 0, start: Polling }, Wait(1_100_000), Wait(23_920_000), Next, Next, Lose(0, 0)];
    play(&settings, &ops, Ending::Clients, &[Situation::LostWithoutMessages]);
}

/// Frames are written in parts. The connection is reset in the middle: a prefix arrives, and the close reason says that
/// messages were lost.
#[test]
fn what_was_not_written_is_lost_with_its_channel() {
    let settings = Settings { window: 2, batch: 16, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: WebSocket },
        Wait(100_000),
        SendTogether { side: Server(0), count: 4 },
        SendTogether { side: Server(0), count: 4 },
        Close(Server(0)),
        Reset { line: Up(0), arrives: 1, client: 0, server: Some(0) },
    ];
    play(&settings, &ops, Ending::Clients, &[Situation::WrittenInParts, Situation::ClosedWithLoss]);
}

/// The network takes data for a client that is gone, up to a limit, and then takes no more.
#[test]
fn a_silent_client_is_closed_in_time_although_its_application_sends() {
    for window in [1, 8, 1000] {
        for start in [Polling, WebSocket] {
            let settings = Settings { window, ping_interval: 5000, ping_timeout: 2000, ..Settings::default() };
            let ops = [Connect { client: 0, server: 0, start }, Wait(100_000)];
            play(&settings, &ops, Ending::Bursts, &[]);
        }
    }
}

/// Frames arrive so late that those before the ping take longer than a pong may.
#[test]
fn a_live_client_behind_a_slow_link_is_not_closed() {
    let settings = Settings { window: 1, batch: 16, ping_timeout: 2000, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: WebSocket },
        Wait(24_900_000),
        Throttle(Down(0), 1_300_000),
        Flood(Server(0)),
        Wait(30_000_000),
    ];
    let report = play(&settings, &ops, Ending::Clients, &[Situation::DownUnblocked]);
    assert_eq!((report.totals.attempts, report.totals.messages_received), (1, report.totals.messages_sent));
}

/// An answer takes longer than a pong may, and has the ping in it.
#[test]
fn a_live_client_behind_a_slow_answer_is_not_closed() {
    let settings = Settings { ping_timeout: 2000, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: Polling },
        Wait(20_000_000),
        Send { side: Server(0), size: 1, binary: false },
        Wait(1_000_000),
        Throttle(Get(0), 1_000_000),
        Wait(10_000_000),
    ];
    let report = play(&settings, &ops, Ending::Clients, &[Situation::AnswerUnblocked]);
    assert_eq!(report.totals.attempts, 1);
}

/// The pong is sent after a POST that takes longer than a pong may.
#[test]
fn a_live_client_with_a_slow_upload_is_not_closed() {
    let settings = Settings { ping_timeout: 2000, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: Polling },
        Wait(24_990_000),
        Send { side: Client(0), size: 500, binary: false },
        Throttle(Post(0), 1_500_000),
        Wait(40_000_000),
    ];
    let report = play(&settings, &ops, Ending::Clients, &[Situation::UploadUnblocked]);
    assert_eq!(report.totals.messages_received, 1);
}

/// The pong is sent after a slow POST that ends just before the pong's deadline. The extension for another packet is
/// already used.
#[test]
fn a_pong_behind_a_slow_upload_has_its_time() {
    let settings = Settings { ping_timeout: 2000, ..Settings::default() };
    let send = Send { side: Client(0), size: 1, binary: false };
    let ops = [
        Connect { client: 0, server: 0, start: Polling },
        Wait(24_990_000),
        send,
        Wait(10_000),
        send,
        Wait(35_000),
        Arrive(Post(0)),
        Throttle(Post(0), 485_000),
        Wait(40_000_000),
    ];
    let report = play(&settings, &ops, Ending::Clients, &[Situation::UploadUnblocked]);
    assert_eq!((report.totals.attempts, report.totals.messages_received), (1, 2));
}

/// A body extends the deadline, but no longer than the body may take.
#[test]
fn a_body_whose_end_never_comes_ends_the_session() {
    let settings = Settings { body_timeout: 60_000, ..Settings::default() };
    let ops = [
        Connect { client: 0, server: 0, start: Polling },
        Wait(100_000),
        Send { side: Client(0), size: 1, binary: false },
        SlowBody(0),
        Wait(100_000_000),
    ];
    play(&settings, &ops, Ending::Clients, &[Situation::BodyTimeout]);
}

/// A stranger takes the session over while the body of a POST is in transit, and the body is too large: the stranger's
/// message after it is not delivered.
#[test]
fn nothing_passes_over_a_body_that_is_refused() {
    for (fault, name) in [(LargeBody(0), "large"), (SlowBody(0), "slow")] {
        // The frame was read before the server was asked not to read.
        let settings = Settings { body_timeout: 1000, lazy_outputs: true, ..Settings::default() };
        let ops = [
            Connect { client: 0, server: 0, start: Polling },
            Wait(100_000),
            Send { side: Client(0), size: 1, binary: false },
            Next,
            Arrive(Post(0)),
            fault,
            Intrude(0, Intrusion::Overtake),
            Wait(5_000_000),
        ];
        let report = play(&settings, &ops, Ending::Clients, &[Situation::FrameBehindBody]);
        assert_eq!(report.totals.messages_received, 0, "{name}");
    }
}
