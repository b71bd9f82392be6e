//! Random choices from a finite tape, so that a failing case shrinks: a shorter tape, or smaller numbers on it, make a
//! simpler case, and an exhausted tape always answers 0.

use super::ratio;
use proptest::prelude::*;
use scalecheck::number::Rational;

#[derive(Clone)]
pub struct Tape {
    numbers: Vec<u32>,
    next: usize,
}

/// A tape of at most `length` numbers.
pub fn tape(length: usize) -> impl Strategy<Value = Tape> {
    prop::collection::vec(any::<u32>(), length / 2..=length).prop_map(Tape::of)
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tape of {:?}", self.numbers)
    }
}

impl Tape {
    pub fn of(numbers: Vec<u32>) -> Self {
        Tape { numbers, next: 0 }
    }

    fn number(&mut self) -> u32 {
        let number = self.numbers.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        number
    }

    /// A number from 0 to `n` − 1.
    pub fn below(&mut self, n: usize) -> usize {
        self.number() as usize % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// An integer from −`n` to `n`.
    pub fn around(&mut self, n: i64) -> i64 {
        self.below(2 * n as usize + 1) as i64 - n
    }

    /// A rational from −1 to 1: often an end or zero, sometimes with a denominator that is no power of two.
    pub fn unit(&mut self) -> Rational {
        match self.below(5) {
            0 => ratio(0, 1),
            1 => ratio(1, 1),
            2 => ratio(-1, 1),
            3 => ratio(self.around(64), 64),
            _ => ratio(self.around(1000), 1001),
        }
    }
}
