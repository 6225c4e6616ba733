//! Numbered places whose numbers are never used twice.

use slab::Slab;

/// A slab whose keys carry a generation, so that a late message about a place that is gone finds nothing.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Slab<(u32, T)>,
    generation: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Slab::new(), generation: 0 }
    }
}

impl<T> Table<T> {
    pub(crate) fn insert(&mut self, value: T) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        let index = self.slots.insert((self.generation, value));
        (u64::from(self.generation) << 32) | index as u64
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let (index, generation) = split(id);
        self.slots.get_mut(index).filter(|slot| slot.0 == generation).map(|slot| &mut slot.1)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        self.get_mut(id)?;
        let value = self.slots.try_remove(split(id).0).map(|slot| slot.1);
        if self.slots.is_empty() {
            self.slots = Slab::new();
        }
        value
    }
}

fn split(id: u64) -> (usize, u32) {
    let index = usize::try_from(id & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    (index, u32::try_from(id >> 32).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_used_twice() {
        let mut table = Table::default();
        let first = table.insert("a");
        assert_eq!(table.remove(first), Some("a"));
        let second = table.insert("b");
        assert_ne!(first, second);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get_mut(second), Some(&mut "b"));
    }
}
