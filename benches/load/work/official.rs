//! Upgrades with the official client, in a process of its own.

use std::process::Command;

use super::Entry;
use crate::{Options, Result, Sample};

pub(super) fn measure(options: &Options, entries: &[Entry<'_>]) -> Result<Vec<Vec<Sample>>> {
    let servers = entries.iter().map(|entry| entry.start(options)).collect::<Result<Vec<_>>>()?;
    let upgrades = if options.quick { 20 } else { 100 };
    let mut client = Command::new("node");
    client.arg(options.peers.join("node/upgrade.js")).arg(upgrades.to_string());
    client.args(servers.iter().map(|server| server.addr.port().to_string()));
    let output = client.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the official client: {}", output.status).into());
    }
    // Milliseconds: a list for each server
    let times: Vec<Vec<f64>> = serde_json::from_slice(&output.stdout)?;
    let samples = |times: Vec<f64>| times.into_iter().map(|cost| Sample { cost, rate: 0.0, tenth: 0.0 }).collect();
    Ok(times.into_iter().map(samples).collect())
}
