//! The server: its options, its sessions, and their inputs and outputs.

pub(crate) mod admission;
pub(crate) mod container;
pub(crate) mod registry;

pub use crate::config::{Config, Overflow};
pub use crate::session::event::{BodyError, Input, Output};
pub use crate::session::state::{Row, State, TRANSITIONS, Trigger};
pub use admission::{Admission, Ask, AskHead, AskName, Entry, NotAdmitted, Opening};
pub use container::SessionMut;
pub use registry::{Due, Registry, SessionKey};
