//! The command line of the servers: pairs of an option and its value, such as `--port 3000`. Times are in milliseconds.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use engineio_proto::server::Config;

/// The options of the command line. The others have the defaults of the core.
pub(crate) struct Options {
    /// The port to listen on; 0 for any free port.
    pub(crate) port: u16,
    pub(crate) config: Config,
}

impl Options {
    pub(crate) fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut port, mut config) = (0, Config::default());
        let mut args = env::args().skip(1);
        while let Some(option) = args.next() {
            let value = args.next().ok_or_else(|| format!("{option}: a value is missing"))?;
            match option.as_str() {
                "--port" => port = number(&option, &value)?,
                "--ping-interval" => config.ping_interval = millis(&option, &value)?,
                "--ping-timeout" => config.ping_timeout = millis(&option, &value)?,
                "--upgrade-timeout" => config.upgrade_timeout = millis(&option, &value)?,
                "--body-timeout" => config.body_timeout = millis(&option, &value)?,
                "--max-payload" => config.max_payload = number(&option, &value)?,
                _ => return Err(format!("unknown option: {option}").into()),
            }
        }
        Ok(Self { port, config })
    }
}

fn millis(option: &str, value: &str) -> Result<Duration, String> {
    number(option, value).map(Duration::from_millis)
}

fn number<T: FromStr<Err: Display>>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{option} {value}: {error}"))
}
