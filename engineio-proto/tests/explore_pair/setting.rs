//! The participants, and what may happen.

use std::time::Duration;

use engineio_proto::Instant;
use engineio_proto::client;
use engineio_proto::server::Config;

pub const START: Instant = Instant::from_millis(1000);
/// So short that pings come in the middle of everything else.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Longer than all ticks of a sequence together: nobody is given up without need.
pub const TIMEOUT: Duration = Duration::from_secs(50);
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(40);
/// Comes before the first ping.
const IMPATIENCE: Duration = Duration::from_millis(50);
/// A pong and a text, or a text and bytes, but not all three.
const MAX_PAYLOAD: usize = 9;

/// Who closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closer {
    Nobody,
    Client,
    Server,
}

/// What may go wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The connection of a request is torn before the request has arrived.
    Request,
    /// The connection of a POST is torn after its head has arrived.
    Body,
    /// The connection of a request that the server has is torn.
    Held,
    /// The connection of a request is torn before the answer has arrived.
    Answer,
    /// The channel is torn, or cannot be opened.
    Channel,
}

/// Who wants an upgrade to be over soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Impatient {
    Nobody,
    Client,
    Server,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// How many messages either side may send.
    pub client_sends: u8,
    pub server_sends: u8,
    pub closer: Closer,
    /// How often time may pass until something is due.
    pub ticks: u8,
    pub faults: &'static [Fault],
    pub impatient: Impatient,
    /// Frames are pulled one by one, whenever there is room for one, and not all at once.
    pub slow_channel: bool,
    /// Applications take messages one by one, and have room for one.
    pub slow_applications: bool,
    /// That something is written is reported later than it leaves, maybe later than it arrives, or never if the connection
    /// is torn before. When not, everything is written when it leaves.
    pub late_reports: bool,
}

/// An upgrade, and nothing else.
pub const QUIET: Scene = Scene {
    client_sends: 0,
    server_sends: 0,
    closer: Closer::Nobody,
    ticks: 0,
    faults: &[],
    impatient: Impatient::Nobody,
    slow_channel: false,
    slow_applications: false,
    late_reports: false,
};

impl Scene {
    pub fn client(self) -> client::Config {
        let mut config = client::Config::default();
        config.upgrade_timeout = if self.impatient == Impatient::Client { IMPATIENCE } else { UPGRADE_TIMEOUT };
        config.close_timeout = CLOSE_TIMEOUT;
        if self.slow_applications {
            config.receive_limit = 1;
        }
        config
    }

    pub fn server(self) -> Config {
        let mut config = Config::default();
        config.ping_interval = INTERVAL;
        config.ping_timeout = TIMEOUT;
        config.upgrade_timeout = if self.impatient == Impatient::Server { IMPATIENCE } else { UPGRADE_TIMEOUT };
        config.close_timeout = CLOSE_TIMEOUT;
        config.max_payload = MAX_PAYLOAD;
        if self.slow_applications {
            config.receive_limit = 1;
        }
        config
    }
}
