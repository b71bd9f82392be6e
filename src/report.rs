//! The report: what claims and their certificates prove, for a person to look at.
//!
//! Every number on it is one of two kinds. *Proven* ones are what the exact checker establishes from the certificate, run
//! here on the very files. *Attacked* ones are what a perturbation does that the exact rules of a witness confirm: one from
//! the certificate, or where it has none, one that the prover's attack finds anew.

pub mod data;
pub mod dial;
pub mod flow;
pub mod measure;
pub mod number;
pub mod page;
pub mod pair;
pub mod panel;
pub mod picture;
pub mod shape;
