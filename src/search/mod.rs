//! The search for answers: attacks from below, methods from above.

pub mod attack;
pub mod branch;
pub mod exact_point;
