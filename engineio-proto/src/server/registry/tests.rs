use super::*;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

const START: Instant = Instant::from_millis(1000);
const SECOND: Duration = Duration::from_secs(1);

fn sid(n: u32) -> Sid {
    Sid::new(&format!("session-{n}")).unwrap()
}

fn with(sessions: u32) -> (Registry<u32>, Vec<SessionKey>) {
    let mut registry = Registry::new(1000);
    let keys = (0..sessions).map(|n| registry.insert(sid(n), |_| n).unwrap()).collect();
    (registry, keys)
}

#[test]
fn a_key_is_never_used_for_another_session() {
    let (mut registry, keys) = with(1);
    assert_eq!(registry.remove(keys[0]), Some(0));
    let second = registry.insert(sid(1), |key| key.index() as u32).unwrap();
    assert_eq!(keys[0].index(), second.index());
    assert_ne!(keys[0], second);
    assert_eq!((registry.get(keys[0]), registry.get(second)), (None, Some(&0)));
    assert_eq!(registry.remove(keys[0]), None);
    registry.forget(keys[0]);
    registry.announce(keys[0]);
    assert_eq!(registry.schedule(keys[0], Some(START)), None);
    assert_eq!((registry.find("session-1"), registry.take_turn(), registry.next_timeout()), (Some(second), None, None));
    registry.check_laws().unwrap();
}

#[test]
fn an_id_is_checked_before_the_room_and_a_forgotten_one_is_free() {
    let (mut registry, keys) = with(2);
    registry.set_capacity(2);
    assert_eq!(registry.insert(sid(0), |_| 9), Err(Rejection::NoSid));
    assert_eq!(registry.insert(sid(2), |_| 9), Err(Rejection::Full));
    registry.forget(keys[0]);
    assert_eq!((registry.len(), registry.held(), registry.find("session-0")), (1, 2, None));
    // It counts against the capacity until it is removed.
    assert_eq!(registry.insert(sid(0), |_| 9), Err(Rejection::Full));
    assert_eq!(registry.remove(keys[0]), Some(0));
    assert_eq!(registry.insert(sid(0), |_| 9).map(|key| registry.get(key).copied()), Ok(Some(9)));
    registry.check_laws().unwrap();
    registry.set_capacity(0);
    assert_eq!((registry.check("session-7"), registry.len()), (Err(Rejection::Full), 2));
}

#[test]
fn a_deadline_moves_only_to_an_earlier_time() {
    let (mut registry, keys) = with(2);
    assert_eq!(registry.schedule(keys[0], Some(START + SECOND)), Some(START + SECOND));
    assert_eq!(registry.schedule(keys[0], Some(START + 2 * SECOND)), Some(START + SECOND));
    assert_eq!(registry.schedule(keys[0], Some(START)), Some(START));
    assert_eq!(registry.schedule(keys[1], Some(START + 3 * SECOND)), Some(START + 3 * SECOND));
    assert_eq!(registry.next_timeout(), Some(START));
    assert_eq!(registry.take_due(START + SECOND).collect::<Vec<_>>(), [keys[0]]);
    assert_eq!((registry.deadline(keys[0]), registry.next_timeout()), (None, Some(START + 3 * SECOND)));
    assert_eq!(registry.schedule(keys[1], None), None);
    assert_eq!(registry.next_timeout(), None);
    registry.check_laws().unwrap();
}

/// At the maximum time, a deadline cannot be moved any further.
#[test]
fn what_is_due_is_taken_once_and_in_order() {
    let (mut registry, keys) = with(3);
    for (key, at) in keys.iter().zip([2, 0, 1]) {
        registry.schedule(*key, Some(START + at * SECOND));
    }
    assert_eq!(registry.take_due(Instant::from_micros(u64::MAX)).collect::<Vec<_>>(), [keys[1], keys[2], keys[0]]);
    for &key in &keys {
        registry.schedule(key, Some(Instant::from_micros(u64::MAX)));
    }
    let due = registry.take_due(Instant::from_micros(u64::MAX));
    assert_eq!((due.size_hint(), due.count()), ((3, Some(3)), 3));
}

#[test]
fn turns_are_taken_in_the_order_in_which_they_were_asked_for() {
    let (mut registry, keys) = with(3);
    for key in [keys[2], keys[0], keys[2], keys[1]] {
        registry.announce(key);
    }
    assert!(registry.is_announced(keys[0]));
    registry.remove(keys[0]);
    assert_eq!(registry.take_turn(), Some(keys[2]));
    assert!(!registry.is_announced(keys[2]));
    registry.announce(keys[2]);
    assert_eq!(
        [registry.take_turn(), registry.take_turn(), registry.take_turn()],
        [Some(keys[1]), Some(keys[2]), None]
    );
}

#[test]
fn sec70_the_oldest_session_that_may_be_evicted_makes_room() {
    let (mut registry, keys) = with(4);
    registry.set_evictable(keys[2], Some(START));
    registry.set_evictable(keys[0], Some(START + SECOND));
    registry.set_evictable(keys[1], Some(START + SECOND));
    assert_eq!(registry.make_room(START + SECOND), None, "there is room");
    registry.set_capacity(4);
    assert_eq!(registry.check("session-9"), Err(Rejection::Full));
    assert_eq!(registry.check_at("session-9", Instant::ZERO), Err(Rejection::Full));
    assert_eq!(registry.check_at("session-9", START), Ok(()));
    assert_eq!(registry.check_at("session-3", START), Err(Rejection::NoSid));

    assert_eq!(registry.make_room(START), Some(keys[2]));
    assert_eq!((registry.find("session-2"), registry.len(), registry.held()), (None, 3, 3));
    assert_eq!(registry.make_room(START), None, "there is room again");
    registry.insert(sid(4), |_| 4).unwrap();
    registry.check_laws().unwrap();
    // It is still there, and does not count when it leaves.
    assert_eq!(registry.get(keys[2]), Some(&2));
    assert_eq!(registry.remove(keys[2]), Some(2));
    assert_eq!(registry.held(), 4);

    // One that is not to be evicted any more, or has left, is not.
    registry.set_evictable(keys[0], None);
    registry.forget(keys[1]);
    assert!(!registry.is_evictable(keys[0]) && !registry.is_evictable(keys[1]));
    assert_eq!(registry.make_room(START + SECOND), None);
    registry.check_laws().unwrap();
}

/// A server that shuts down has no room to make.
#[test]
fn a_registry_above_its_capacity_evicts_nothing() {
    let (mut registry, keys) = with(2);
    registry.set_evictable(keys[0], Some(START));
    for capacity in [0, 1] {
        registry.set_capacity(capacity);
        assert_eq!(registry.make_room(START), None);
        assert_eq!(registry.check_at("session-9", START), Err(Rejection::Full));
    }
}

#[test]
fn without_sessions_it_keeps_no_memory() {
    let (mut registry, keys) = with(1000);
    assert!(registry.slots.capacity() >= 1000);
    for key in keys {
        registry.announce(key);
        registry.schedule(key, Some(START));
        registry.remove(key);
    }
    assert_eq!((registry.index.len(), registry.deadlines.len()), (0, 0));
    assert_eq!((registry.slots.capacity(), registry.ready.capacity()), (0, 0));
    assert_eq!((registry.index.capacity(), registry.deadlines.capacity()), (0, 0));
    registry.check_laws().unwrap();
}

#[test]
fn every_law_can_fail() {
    type Break = fn(&mut Registry<u32>);
    const OTHER: SessionKey = SessionKey { index: 9, generation: 9 };
    let cases: &[(&str, Break)] = &[
        ("a slot knows its key", |r| r.slots[1].key.index = 9),
        ("a session is found by its id until it is closed", |r| r.slots[1].is_indexed = false),
        ("a session is found by its id until it is closed", |r| r.index.remove(&mut r.slots, 1)),
        ("a deadline is queued", |r| r.deadlines = Queue::new()),
        ("a session that may be evicted is queued for that", |r| r.evictable = Queue::new()),
        ("every session that may be evicted is there", |r| r.evictable.insert(START, OTHER)),
        ("evicted sessions are counted", |r| r.evicted = 1),
        ("a turn is queued once", |r| r.ready.clear()),
        ("a turn is queued once", |r| r.ready.push_back(r.slots[1].key)),
        ("every deadline belongs to a session", |r| r.deadlines.insert(START, OTHER)),
        ("the first of a queue is there", |r| r.deadlines.insert_invalid(Instant::ZERO, OTHER)),
        ("the first of a queue is there", |r| r.evictable.insert_invalid(Instant::ZERO, OTHER)),
        ("every id belongs to a session", |r| r.index.miscount()),
    ];
    for &(law, break_it) in cases {
        let (mut registry, keys) = with(3);
        registry.schedule(keys[1], Some(START));
        registry.announce(keys[2]);
        registry.set_evictable(keys[2], Some(START));
        assert_eq!(registry.check_laws(), Ok(()));
        break_it(&mut registry);
        assert_eq!(registry.check_laws(), Err(Violation(law)));
    }
}

/// Among many sessions, as many as leave come.
#[test]
fn ids_are_found_among_many_until_they_are_forgotten() {
    let (mut registry, mut keys) = with(100);
    registry.set_capacity(10_000);
    for n in 100..5000 {
        keys.push(registry.insert(sid(n), |_| n).unwrap());
        let gone = keys.swap_remove(keys.len() * 7 % 13);
        let id = registry.get(gone).map(|&n| sid(n)).unwrap();
        assert_eq!(registry.find(&id), Some(gone));
        if n % 2 == 0 {
            registry.forget(gone);
            assert_eq!(registry.find(&id), None);
        }
        registry.remove(gone);
        assert_eq!(registry.find(&id), None);
    }
    let found: Vec<_> = keys.iter().map(|&key| registry.find(&sid(*registry.get(key).unwrap()))).collect();
    assert!(found.iter().zip(&keys).all(|(found, key)| *found == Some(*key)));
    let sorted: Vec<_> = registry.keys().map(|key| sid(*registry.get(key).unwrap())).collect();
    assert!(sorted.len() == 100 && sorted.is_sorted());
    let mut values: Vec<_> = registry.values().map(|&n| sid(n)).collect();
    values.sort();
    assert_eq!(values, sorted, "the same sessions");
    registry.check_laws().unwrap();
}

/// Entries of sessions that have left, and of deadlines that have moved, do not pile up.
#[test]
fn a_queue_keeps_a_bounded_number_of_entries() {
    let (mut registry, keys) = with(10);
    for &key in &keys {
        registry.schedule(key, Some(START + 100 * SECOND));
    }
    for n in 10..2000_u32 {
        let key = registry.insert(sid(n), |_| n).unwrap();
        registry.schedule(key, Some(START + 50 * SECOND));
        registry.schedule(key, Some(START + 49 * SECOND));
        registry.set_evictable(key, Some(START + 50 * SECOND));
        registry.schedule(keys[0], None);
        // The same time again: its old entry may still be there.
        registry.schedule(keys[0], Some(START + 100 * SECOND));
        registry.remove(key);
        assert!(registry.deadlines.entries().count() <= 2 * 11 + 64 && registry.evictable.entries().count() <= 66);
        assert_eq!(registry.next_timeout(), Some(START + 100 * SECOND));
    }
    registry.check_laws().unwrap();
    assert_eq!(registry.take_due(START + 100 * SECOND).collect::<Vec<_>>(), keys, "each once");
    assert_eq!(registry.next_timeout(), None);
}
