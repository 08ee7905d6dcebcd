//! Repeatable pseudo-random numbers: the same seed and salts give the same results on every machine and version.

/// A splitmix64 sequence.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, salts: &[u64]) -> Self {
        let mut dice = Self(seed);
        for &salt in salts {
            dice.0 = dice.roll() ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        dice
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; a bound of 0 counts as 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A GUID in the usual lower-case form.
    pub fn guid(&mut self) -> String {
        let (a, b) = (self.roll(), self.roll());
        let (head, middle, version) = (a >> 32, (a >> 16) & 0xffff, a & 0x0fff);
        let (variant, tail) = (0x8000 | ((b >> 48) & 0x3fff), b & 0xffff_ffff_ffff);
        format!("{head:08x}-{middle:04x}-4{version:03x}-{variant:04x}-{tail:012x}")
    }
}
