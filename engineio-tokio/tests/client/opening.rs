//! From an address to a session, or to the reason why there is none.
