//! Nested partitions: a rung sees the mean over each of its groups, and nothing of an item that is in no group.
//!
//! Nested means that every group is a union of groups of the finer level before. Then its mean is a weighted mean of
//! theirs, so the coarse map of a level is a function of the one before, as a ladder's must be.

use super::{MAX_LISTED, Row};
use crate::number::Rational;
use num::Zero;

/// Levels of groups of items. Rung 0 sees every item; rung k is `levels[k - 1]`. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    levels: Levels,
    /// The tensor's shape, of which the items are the first axis; the items are the elements without it.
    shape: Option<Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Levels {
    Groups(Vec<Vec<Vec<u32>>>),
    /// Each of the first so many items is a group of its own, the others are in none. The numbers fall.
    Prefixes(Vec<usize>),
}

impl Partition {
    /// Levels from the finest to the coarsest; an error says which group is not a union of finer ones.
    pub fn new(levels: Vec<Vec<Vec<u32>>>, shape: Option<Vec<usize>>) -> Result<Self, String> {
        let mut finer: Option<Vec<Option<usize>>> = None;
        for (k, level) in levels.iter().enumerate() {
            let items = level.iter().flatten().map(|&i| i as usize + 1).max().unwrap_or(0);
            let mut group_of = vec![None; items];
            for (g, group) in level.iter().enumerate() {
                for &i in group {
                    if group_of[i as usize].replace(g).is_some() {
                        return Err(format!("level {} has the item {i} in two groups", k + 1));
                    }
                }
            }
            if let Some(finer) = &finer {
                let before = &levels[k - 1];
                for group in level {
                    for &i in group {
                        let inside = finer.get(i as usize).copied().flatten().map(|f| &before[f]);
                        let home = group_of[i as usize];
                        let whole =
                            |f: &Vec<u32>| f.iter().all(|&j| group_of.get(j as usize).copied().flatten() == home);
                        if !inside.is_some_and(whole) {
                            let message =
                                format!("the group {group:?} of level {} is not a union of groups of level {k}", k + 1);
                            return Err(format!("{message}: see item {i}"));
                        }
                    }
                }
            }
            finer = Some(group_of);
        }
        Ok(Partition { levels: Levels::Groups(levels), shape })
    }

    /// Level k sees the first `kept[k - 1]` items, each by itself. The numbers fall, so every level sees a part of what
    /// the one before sees.
    pub fn prefixes(kept: Vec<usize>) -> Result<Self, String> {
        match kept.windows(2).all(|pair| pair[0] > pair[1]) {
            true => Ok(Partition { levels: Levels::Prefixes(kept), shape: None }),
            false => Err(format!("the numbers of items kept must fall from level to level, unlike {kept:?}")),
        }
    }

    fn len(&self) -> usize {
        match &self.levels {
            Levels::Groups(levels) => levels.len(),
            Levels::Prefixes(kept) => kept.len(),
        }
    }

    pub fn check(&self, rung: usize) -> Result<(), String> {
        let levels = self.len();
        if rung <= levels { Ok(()) } else { Err(format!("there is no level {rung}; the ladder has 0 to {levels}")) }
    }

    pub fn rungs(&self) -> Vec<usize> {
        (0..=self.len().min(MAX_LISTED)).collect()
    }

    /// The groups of a rung over a tensor of `len` elements; with a shape, one copy for every position of the other axes.
    pub fn groups(&self, rung: usize, len: usize) -> Result<Vec<Vec<u32>>, String> {
        let items = self.shape.as_ref().map_or(len, |shape| shape[0]);
        let others = self.shape.as_ref().map_or(&[][..], |shape| &shape[1..]);
        let inner = others.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        let fits = |inner: &usize| items.checked_mul(*inner) == Some(len);
        let Some(inner) = inner.filter(fits) else {
            return Err(format!(
                "`shape` {:?} does not fit its {len} elements",
                self.shape.as_deref().unwrap_or_default()
            ));
        };
        let named = match &self.levels {
            Levels::Groups(levels) => levels.iter().flatten().flatten().map(|&i| i as usize).max(),
            Levels::Prefixes(kept) => kept.first().and_then(|kept| kept.checked_sub(1)),
        };
        if let Some(i) = named.filter(|&i| i >= items) {
            return Err(format!("the ladder names the item {i}; there are {items}, counted from 0"));
        }
        let copies = |group: &Vec<u32>| {
            let group = group.clone();
            (0..inner as u32).map(move |p| group.iter().map(|&i| i * inner as u32 + p).collect())
        };
        let alone = |count: usize| (0..count as u32).map(|i| vec![i]).collect();
        Ok(match (rung.checked_sub(1), &self.levels) {
            (None, _) => alone(len),
            (Some(level), Levels::Groups(levels)) => levels[level].iter().flat_map(copies).collect(),
            (Some(level), Levels::Prefixes(kept)) => alone(kept[level]),
        })
    }

    /// True if `z` is constant on the groups of the rung, and zero where there is none.
    pub fn sees_all(&self, rung: usize, z: &[Rational]) -> bool {
        self.groups(rung, z.len()).is_ok_and(|groups| is_constant(&groups, z))
    }
}

/// True if `z` is constant on every group, and zero outside of all of them.
pub fn is_constant(groups: &[Vec<u32>], z: &[Rational]) -> bool {
    let mut grouped = vec![false; z.len()];
    groups.iter().flatten().for_each(|&i| grouped[i as usize] = true);
    let constant = |group: &Vec<u32>| group.iter().all(|&i| z[i as usize] == z[group[0] as usize]);
    groups.iter().all(constant) && z.iter().zip(grouped).all(|(z, grouped)| grouped || z.is_zero())
}

/// The means over the groups `seen`, less those over the groups `hidden` that they lie in.
///
/// Without `seen` every element is a group of its own; one outside of the hidden groups is then its whole self.
pub fn band(seen: Option<Vec<Vec<u32>>>, hidden: Option<Vec<Vec<u32>>>, len: usize) -> Vec<Row> {
    let mean = |group: &[u32]| {
        let weight = Rational::new(1.into(), group.len().into());
        group.iter().map(move |&i| (i as usize, weight.clone())).collect::<Vec<_>>()
    };
    let seen = seen.unwrap_or_else(|| (0..len as u32).map(|i| vec![i]).collect());
    let mut home: Vec<Option<usize>> = vec![None; len];
    let hidden = hidden.unwrap_or_default();
    for (g, group) in hidden.iter().enumerate() {
        group.iter().for_each(|&i| home[i as usize] = Some(g));
    }
    let row = |group: &Vec<u32>| {
        let mut row: std::collections::BTreeMap<usize, Rational> = mean(group).into_iter().collect();
        for (i, weight) in home[group[0] as usize].map(|g| mean(&hidden[g])).unwrap_or_default() {
            *row.entry(i).or_insert_with(Rational::zero) -= weight;
        }
        row.into_iter().filter(|(_, weight)| !weight.is_zero()).collect::<Row>()
    };
    let rows = seen.iter().filter(|group| !group.is_empty()).map(row);
    rows.filter(|row| !row.is_empty()).collect()
}
