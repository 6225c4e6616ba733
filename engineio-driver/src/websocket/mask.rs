//! The masks of a client's frames: RFC 6455, section 5.3.

/// Random masks, which make the frames of a client unpredictable for proxies: RFC 6455, section 10.3.
#[derive(Debug)]
pub(super) struct Masks {
    pool: [u8; 64],
    left: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self { pool: [0; 64], left: 0 }
    }
}

impl Masks {
    pub(super) fn next(&mut self) -> [u8; 4] {
        if self.left == 0 {
            // Without random numbers from the system, masks are predictable, but still valid.
            let _ = getrandom::fill(&mut self.pool);
            self.left = self.pool.len() / 4;
        }
        self.left -= 1;
        let mask = self.pool.get(self.left * 4..).and_then(|rest| rest.first_chunk());
        mask.copied().unwrap_or_default()
    }
}

/// Masks or unmasks data. `mask` begins with the byte for the first byte of `data`.
pub(super) fn apply(mask: [u8; 4], data: &mut [u8]) {
    let narrow = u32::from_ne_bytes(mask);
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    // Blocks of this size become a few vector instructions.
    let mut blocks = data.chunks_exact_mut(32);
    for block in &mut blocks {
        for word in block.chunks_exact_mut(8) {
            apply_word(wide, word);
        }
    }
    let mut words = blocks.into_remainder().chunks_exact_mut(8);
    for word in &mut words {
        apply_word(wide, word);
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn apply_word(mask: u64, word: &mut [u8]) {
    if let Some(word) = word.first_chunk_mut::<8>() {
        *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes();
    }
}

/// Returns the mask for the bytes that follow `len` bytes.
pub(super) const fn behind(mask: [u8; 4], len: usize) -> [u8; 4] {
    let [a, b, c, d] = mask;
    match len % 4 {
        0 => [a, b, c, d],
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_every_cut() {
        const MASK: [u8; 4] = [1, 20, 100, 255];
        for len in 0..100 {
            let data: Vec<u8> = (0..len).collect();
            let expected: Vec<u8> = data.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            for cut in 0..=data.len() {
                let mut masked = data.clone();
                let (first, second) = masked.split_at_mut(cut);
                apply(MASK, first);
                apply(behind(MASK, cut), second);
                assert_eq!(masked, expected, "{cut} of {len}");
            }
        }
    }
}
