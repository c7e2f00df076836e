//! The slots of a cluster, and sets of them.

/// How many slots a cluster has.
pub const SLOTS: usize = 16_384;

/// The slot of a key. Keys of this protocol hold no hash tag (`protocol.md` §1.9), so all of the key counts.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(key) % 16_384
}

/// A set of slots. All of them take no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet {
    /// A bit for each slot; `None` where all are in the set.
    bits: Option<Box<[u64; SLOTS / 64]>>,
}

impl SlotSet {
    /// Every slot; also what a server that is no cluster has.
    pub const ALL: Self = Self { bits: None };

    /// No slot.
    #[must_use]
    pub fn none() -> Self {
        Self {
            bits: Some(Box::new([0; SLOTS / 64])),
        }
    }

    /// Whether a slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: u16) -> bool {
        let (word, bit) = place(slot);
        self.bits.as_ref().is_none_or(|bits| bits[word] & bit != 0)
    }

    /// Whether no slot is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits
            .as_ref()
            .is_some_and(|bits| bits.iter().all(|word| *word == 0))
    }

    /// Whether every slot is in the set.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.bits
            .as_ref()
            .is_none_or(|bits| bits.iter().all(|word| *word == u64::MAX))
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: u16) {
        if let Some(bits) = &mut self.bits {
            let (word, bit) = place(slot);
            bits[word] |= bit;
        }
    }

    /// Adds the slots of another set.
    pub fn insert_all(&mut self, other: &Self) {
        match (&mut self.bits, &other.bits) {
            (None, _) => {}
            (bits, None) => *bits = None,
            (Some(bits), Some(others)) => bits
                .iter_mut()
                .zip(others.iter())
                .for_each(|(word, other)| *word |= other),
        }
    }

    /// Takes the slots of another set out.
    pub fn remove_all(&mut self, other: &Self) {
        let bits = self.bits.get_or_insert_with(|| Box::new([u64::MAX; SLOTS / 64]));
        match &other.bits {
            None => bits.fill(0),
            Some(others) => bits
                .iter_mut()
                .zip(others.iter())
                .for_each(|(word, other)| *word &= !other),
        }
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<Slots: IntoIterator<Item = u16>>(slots: Slots) -> Self {
        let mut set = Self::none();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

fn place(slot: u16) -> (usize, u64) {
    let slot = usize::from(slot) % SLOTS;
    (slot / 64, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The value that the cluster specification gives for its reference implementation.
        assert_eq!(slot_of(b"123456789"), 0x31C3);
    }

    #[test]
    fn what_is_taken_out_of_all_leaves_the_rest() {
        let mut set = SlotSet::ALL;
        set.remove_all(&(0..16_000).collect());
        assert!(!set.contains(15_999) && set.contains(16_000) && !set.is_empty() && !set.is_all());
        set.remove_all(&(16_000..16_384).collect());
        assert!(set.is_empty());
        set.insert_all(&SlotSet::ALL);
        assert!(set.is_all());
    }
}
