//! The laws of the chat, and the worlds in which they must hold.

use std::collections::BTreeSet;

use engineio_sim::Simulation;

use crate::rooms::{Bug, Client, Server};

/// The laws for all servers and all clients together.
pub(crate) type Law = fn(&[&Server], &[&Client]) -> Result<(), String>;

/// Laws that hold at any time.
pub(crate) const ALWAYS: [(&str, Law); 3] = [
    ("everything is heard once and in order", heard_in_order),
    ("whoever leaves has heard everything", heard_until_the_end),
    ("nobody who is gone is a member", no_ghosts),
];

/// Laws that hold when nothing is in transit.
pub(crate) const AT_REST: [(&str, Law); 2] =
    [("everything is heard", heard_everything), ("members are those who think so", members_agree)];

/// Worlds in which people chat.
pub(crate) fn simulation(bug: Option<Bug>) -> Simulation<Server, Client> {
    let mut chat = Simulation::with_applications(move |_| Server::new(bug), |_| Client::default())
        // The expression of this simulation in a printed test.
        .named(match bug {
            None => "laws::simulation(None)".to_owned(),
            Some(bug) => format!("laws::simulation(Some(rooms::Bug::{bug:?}))"),
        })
        // At least two clients, or there is little to receive.
        .settings(|settings| settings.clients = settings.clients.max(2));
    for (name, law) in ALWAYS {
        chat = chat.law(name, move |chat| law(&all(chat.servers()), &all(chat.clients())));
    }
    for (name, law) in AT_REST {
        chat = chat.law_at_rest(name, move |chat| law(&all(chat.servers()), &all(chat.clients())));
    }
    chat
}

fn all<T>(applications: &[T]) -> Vec<&T> {
    applications.iter().collect()
}

/// What a client has received in its room is what was said there since it joined, as far as it has arrived: without
/// gaps, repetitions, or lines of another room. This holds as long as the server knows the guest: a server that was
/// killed has forgotten everything.
fn heard_in_order(servers: &[&Server], clients: &[&Client]) -> Result<(), String> {
    for visit in clients.iter().filter_map(|client| client.visit.as_ref()) {
        let Some(server) = servers.iter().find(|server| server.guests().any(|name| name == visit.name)) else {
            continue;
        };
        let said = server.lines(&visit.room).get(visit.from..).unwrap_or_default();
        if !said.starts_with(&visit.heard) {
            return Err(format!(
                "{} heard {:?} in the {}, where {said:?} was said",
                visit.name, visit.heard, visit.room
            ));
        }
    }
    Ok(())
}

/// A stay that ended with `left` is complete.
fn heard_until_the_end(_: &[&Server], clients: &[&Client]) -> Result<(), String> {
    for visit in clients.iter().flat_map(|client| &client.visits) {
        let heard = visit.from + visit.heard.len();
        if visit.until.is_some_and(|until| until != heard) {
            return Err(format!("{} has left with {heard} lines, and there were {:?}", visit.name, visit.until));
        }
    }
    Ok(())
}

/// Only connected guests are in a room.
fn no_ghosts(servers: &[&Server], _: &[&Client]) -> Result<(), String> {
    for server in servers {
        let guests: BTreeSet<_> = server.guests().collect();
        if let Some((room, name)) = server.members().find(|(_, name)| !guests.contains(name)) {
            return Err(format!("{name} is gone, and still in the {room}"));
        }
    }
    Ok(())
}

/// When nothing is in transit, nothing is missing.
fn heard_everything(servers: &[&Server], clients: &[&Client]) -> Result<(), String> {
    heard_in_order(servers, clients)?;
    for visit in clients.iter().filter_map(|client| client.visit.as_ref()) {
        let servers = servers.iter().filter(|server| server.guests().any(|name| name == visit.name));
        for server in servers {
            let said = server.lines(&visit.room).len() - visit.from;
            if said != visit.heard.len() {
                return Err(format!(
                    "{} heard {} of {said} lines in the {}",
                    visit.name,
                    visit.heard.len(),
                    visit.room
                ));
            }
        }
    }
    Ok(())
}

/// When nothing is in transit, both sides agree about who is where.
fn members_agree(servers: &[&Server], clients: &[&Client]) -> Result<(), String> {
    let known: BTreeSet<_> = servers.iter().flat_map(|server| server.members()).collect();
    let visits = clients.iter().filter_map(|client| client.visit.as_ref());
    let thought: BTreeSet<_> = visits.map(|visit| (visit.room.as_str(), visit.name.clone())).collect();
    if known == thought { Ok(()) } else { Err(format!("the servers know of {known:?}, the clients of {thought:?}")) }
}
