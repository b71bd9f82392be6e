//! The rules of the calculus, one file each. Every rule yields true facts about all points of the current case.
//!
//! Widths. With tensors of at most 2^20 elements, coefficients of at most [`COEFFICIENT_BITS`], bounds below 2^48 and
//! weights below 2^58, every sum below fits an `i128`; each rule states its own sum.

pub mod back_substitution;
pub mod case;
pub mod close;
pub mod interval;
pub mod relu;
pub mod relu_pair;
pub mod round;
pub mod split;
pub mod support;
pub mod tree;
pub mod weights;
pub mod witness;

/// Width of a coefficient mantissa after rounding: |v| < 2^54.
pub const COEFFICIENT_BITS: u32 = 54;
