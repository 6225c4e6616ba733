//! The source of choices.
//!
//! A [`Chooser`] makes all choices of a simulated world. There are three: a seeded generator for long runs, the bytes
//! of a fuzzer, and one that enumerates all choices.

use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64;

/// Makes choices.
///
/// ```
/// use engineio_sim::{Chooser, Enumerated};
///
/// // All ways to throw two coins.
/// let mut all = Vec::new();
/// let mut coins = Enumerated::default();
/// while coins.begin() {
///     all.push((coins.below(2), coins.below(2)));
/// }
/// assert_eq!(all, [(0, 0), (0, 1), (1, 0), (1, 1)]);
/// ```
pub trait Chooser {
    /// Returns a number below `bound`, or 0 if `bound` is 0.
    fn below(&mut self, bound: u64) -> u64;

    /// Returns `true` with a probability of `part` in `of`.
    fn chance(&mut self, part: u64, of: u64) -> bool {
        self.below(of) < part
    }

    /// Returns one of the items, with equal probabilities, or `None` if there are none.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T>
    where
        Self: Sized,
    {
        items.get(usize::try_from(self.below(items.len() as u64)).unwrap_or(0))
    }

    /// Returns the index of one of the weights, with probabilities by weight, or `None` if all are zero.
    fn weighted(&mut self, weights: impl Iterator<Item = u64> + Clone) -> Option<usize>
    where
        Self: Sized,
    {
        let total: u64 = weights.clone().sum();
        if total == 0 {
            return None;
        }
        let mut at = self.below(total);
        for (index, weight) in weights.enumerate() {
            if at < weight {
                return Some(index);
            }
            at -= weight;
        }
        None
    }
}

/// Choices of a generator (PCG64). The same seed gives the same choices on every machine and in every version.
#[derive(Clone, Debug)]
pub struct Seeded(Pcg64);

impl Seeded {
    /// Creates the generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }
}

impl Chooser for Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        // Not exactly uniform for bounds near 2^64, which do not occur.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// Choices that are read from bytes, such as those of a fuzzer. After the last byte every choice is the first one.
#[derive(Clone, Debug)]
pub struct FromBytes<'a>(&'a [u8]);

impl<'a> FromBytes<'a> {
    /// Creates a source from bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns whether all bytes were read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Chooser for FromBytes<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        let mut value = 0;
        let mut range = 1_u64;
        while range < bound {
            let Some((&byte, rest)) = self.0.split_first() else { break };
            self.0 = rest;
            value = (value << 8) | u64::from(byte);
            range = range.saturating_mul(256);
        }
        value % bound.max(1)
    }
}

/// Enumerates all choices, one sequence after the other.
///
/// Call [`Enumerated::begin`] before each sequence; it returns whether there is another one.
#[derive(Clone, Debug, Default)]
pub struct Enumerated {
    /// The sequence: each choice with its bound.
    way: Vec<(u64, u64)>,
    at: usize,
    begun: bool,
}

impl Enumerated {
    /// Starts the next sequence. Returns `false` if there is none.
    pub fn begin(&mut self) -> bool {
        self.at = 0;
        if !core::mem::replace(&mut self.begun, true) {
            return true;
        }
        while let Some((choice, bound)) = self.way.pop() {
            if choice + 1 < bound {
                self.way.push((choice + 1, bound));
                return true;
            }
        }
        false
    }
}

impl Chooser for Enumerated {
    fn below(&mut self, bound: u64) -> u64 {
        let choice = match self.way.get(self.at) {
            Some(&(choice, _)) => choice,
            None => {
                self.way.push((0, bound));
                0
            }
        };
        self.at += 1;
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_for_ever() {
        let mut choices = Seeded::new(7);
        let first: Vec<_> = (0..6).map(|_| choices.below(100)).collect();
        assert_eq!(first, FIRST);
    }

    /// Seeds that people have noted must stay what they were.
    const FIRST: [u64; 6] = [0, 23, 90, 83, 49, 59];

    #[test]
    fn bytes_are_enough_for_any_bound_and_end_in_zeros() {
        let mut choices = FromBytes::new(&[3, 1, 2]);
        assert_eq!((choices.below(1), choices.below(5), choices.below(300), choices.below(9)), (0, 3, 258, 0));
        assert!(choices.is_empty());
    }

    #[test]
    fn enumeration_follows_choices_that_depend_on_others() {
        let mut choices = Enumerated::default();
        let mut all = Vec::new();
        while choices.begin() {
            let first = choices.below(3);
            all.push((0..first).map(|_| choices.below(2)).collect::<Vec<_>>());
        }
        assert_eq!(all, [vec![], vec![0], vec![1], vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]]);
    }

    #[test]
    fn weights_decide() {
        let mut choices = Seeded::new(1);
        let mut counts = [0; 3];
        for _ in 0..1000 {
            counts[choices.weighted([1, 0, 9].into_iter()).unwrap()] += 1;
        }
        assert!(counts[1] == 0 && counts[0] > 50 && counts[2] > 800, "{counts:?}");
        assert_eq!(choices.weighted([0, 0].into_iter()), None);
    }
}
