//! Random bytes for session ids.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The random bytes of one session id.
type Entropy = [u8; 15];

/// How many ids one call of the system brings bytes for.
const IDS: usize = 32;

/// Random bytes of the system, fetched for several session ids at once, because a call of the system costs as much as the
/// rest of an id. Each byte is used once, and overwritten then. A process that forks after its server has opened a session
/// must not open sessions in the child: both would give the same ids.
pub(crate) struct Pool(Mutex<State>);

struct State {
    bytes: [Entropy; IDS],
    /// How many of them are unused: the first ones.
    left: usize,
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State { bytes: [[0; 15]; IDS], left: 0 }))
    }

    /// Returns the bytes for one id, or `None` if the system has none.
    pub(crate) fn take(&self) -> Option<Entropy> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { bytes, left } = &mut *state;
        if *left == 0 {
            getrandom::fill(bytes.as_flattened_mut()).ok()?;
            *left = IDS;
        }
        *left -= 1;
        bytes.get_mut(*left).map(std::mem::take)
    }
}

/// The bytes are secret, so they are not shown.
impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn sec_no_bytes_are_given_twice_or_kept() {
        let pool = Pool::new();
        let all: HashSet<_> = (0..10 * IDS).filter_map(|_| pool.take()).collect();
        assert_eq!(all.len(), 10 * IDS);
        assert!(!all.contains(&[0; 15]));
        let state = pool.0.lock().unwrap();
        assert_eq!((state.left, state.bytes), (0, [[0; 15]; IDS]));
    }
}
