//! A box cut with a linear subspace: what a matrix of modes does not see, or a band between two rungs. Its support
//! function is a linear program; alternating projections (ADMM, Boyd et al. 2011, section 5.2) solve it for many
//! targets at once, and every iterate gives a valid bound, so stopping early only loosens it.

use crate::graph::floats;
use nalgebra::{DMatrix, DVector};
use num::{One, Zero};
use scalecheck::ladder::Ladder;
use scalecheck::linear::Linear;
use scalecheck::number::Rational;
use scalecheck::problem::{self, Problem};

/// Relative size of a singular value that counts as zero.
const RANK: f64 = 1e-9;

/// A subspace K of the variables.
pub struct Subspace {
    /// Orthogonal projector onto K.
    projector: DMatrix<f64>,
    /// For what a cutoff does not see: μ = `dual` · w has `Cᵀ μ = w` for every w orthogonal to K.
    dual: Option<DMatrix<f64>>,
    pub exact: ExactForm,
}

/// How points of K are written exactly.
pub enum ExactForm {
    /// `C z = 0`: the rows of C.
    Kernel(Vec<Vec<Rational>>),
    /// `z = T w` with `G w = 0`: the columns of T and the rows of G.
    Image { columns: Vec<Vec<Rational>>, constraints: Vec<Vec<Rational>> },
}

/// Maximisers of linear functions, one a column.
pub struct Support {
    pub points: DMatrix<f64>,
    /// Upper bounds of the maxima.
    pub values: Vec<f64>,
    /// For a cutoff's subspace, μ: subtracting `Cᵀ μ` leaves coefficients whose box maximum is the value.
    pub normal: Option<DMatrix<f64>>,
}

impl Subspace {
    /// What the coarse map `linear` does not see.
    pub fn hidden_from(linear: &Linear) -> Option<Self> {
        let n = linear.inputs();
        let mut rows = vec![vec![Rational::zero(); n]; linear.outputs()];
        linear.for_each_entry(|o, i, k| rows[o][i] = linear.weights().value(k));
        let c = DMatrix::from_row_iterator(rows.len(), n, rows.iter().flat_map(|row| floats(row)));
        let svd = c.svd(true, true);
        let (u, v_t) = (svd.u.as_ref()?, svd.v_t.as_ref()?);
        let top = svd.singular_values.max();
        let (mut projector, mut dual) = (DMatrix::identity(n, n), DMatrix::zeros(rows.len(), n));
        for (k, &s) in svd.singular_values.iter().enumerate().filter(|(_, s)| **s > RANK * top) {
            projector -= v_t.row(k).transpose() * v_t.row(k);
            dual += u.column(k) * v_t.row(k) / s;
        }
        Some(Subspace { projector, dual: Some(dual), exact: ExactForm::Kernel(rows) })
    }

    /// The band that a block must keep to, if it must.
    pub fn of_band(problem: &Problem, block: usize) -> Option<Self> {
        let band = problem.bands.iter().find(|band| band.blocks.contains(&block))?;
        let (variables, n) = (&problem.domain[block], problem.domain[block].lower.len());
        let unit =
            |j: usize| (0..n).map(|i| if i == j { Rational::one() } else { Rational::zero() }).collect::<Vec<_>>();
        let first = block == band.blocks.start;
        let finer = band.ladder.generator(band.seen, &[Rational::one()], n);
        let columns: Vec<Vec<Rational>> = match finer.as_ref().map(|g| (g.seen.as_ref(), &g.parts[0])) {
            // A residual is finer than every rung.
            _ if !first => vec![],
            Ok((Some(seen), _)) => {
                let mut rows = vec![vec![Rational::zero(); n]; seen.outputs()];
                seen.for_each_entry(|o, i, k| rows[o][i] = seen.weights().value(k));
                rows
            }
            Ok((None, part)) if band.ladder.is_kernel() => indicators(&part.variables.groups, n),
            _ => {
                // Generators: a rung sees all of the atoms that it sees alone, or the groups of them.
                let groups = match &*band.ladder {
                    Ladder::Dictionary(dictionary) => dictionary.levels.groups(band.seen, n).ok(),
                    _ => None,
                };
                let alone = || (0..n).filter(|&j| band.ladder.sees_all(band.seen, &[unit(j)])).map(unit).collect();
                groups.map_or_else(alone, |groups| indicators(&groups, n))
            }
        };
        let mut constraints: Vec<Vec<Rational>> = variables
            .groups
            .iter()
            .map(|group| columns.iter().map(|c| group.iter().map(|&j| &c[j as usize]).sum()).collect())
            .collect();
        if let Some(problem::Op::Affine(terms)) =
            problem.find(&format!("{}.seen", variables.name)).map(|t| &problem.tensors[t].op)
        {
            let linear = &terms[0].1;
            let mut rows = vec![vec![Rational::zero(); columns.len()]; linear.outputs()];
            linear.for_each_entry(|o, i, k| {
                let weight = linear.weights().value(k);
                rows[o].iter_mut().zip(&columns).for_each(|(x, c)| *x += &weight * &c[i]);
            });
            constraints.extend(rows);
        }
        let matrix = |rows: &[Vec<Rational>], width: usize| {
            DMatrix::from_row_iterator(rows.len(), width, rows.iter().flat_map(|row| floats(row)))
        };
        let t = matrix(&columns, n).transpose();
        let basis = &t * null_space(&matrix(&constraints, columns.len()));
        Some(Subspace { projector: onto(&basis), dual: None, exact: ExactForm::Image { columns, constraints } })
    }

    /// Maximises `v · z` over the box cut with K, for every column of `v`.
    pub fn support(
        &self,
        v: &DMatrix<f64>,
        lower: &[f64],
        upper: &[f64],
        effort: usize,
        warm: &mut Option<DMatrix<f64>>,
    ) -> Support {
        let (n, targets) = (v.nrows(), v.ncols());
        let along = &self.projector * v;
        let spread = lower.iter().zip(upper).map(|(l, u)| (u - l).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        // The penalty brings coefficients and variables to one size.
        let rho: Vec<f64> = along.column_iter().map(|c| (2.0 * c.norm() / spread).max(f64::MIN_POSITIVE)).collect();
        let mut u = match warm.take() {
            Some(u) if u.shape() == v.shape() => u,
            _ => DMatrix::zeros(n, targets),
        };
        let mut x = DMatrix::zeros(n, targets);
        let mut y = DMatrix::zeros(n, targets);
        for _ in 0..effort {
            y.copy_from(&x);
            y += &u;
            for mut column in y.column_iter_mut() {
                column.iter_mut().zip(lower.iter().zip(upper)).for_each(|(y, (l, h))| *y = y.clamp(*l, *h));
            }
            u -= &y;
            x = &self.projector * (&y - &u - &x);
            for (k, mut column) in x.column_iter_mut().enumerate() {
                column += along.column(k) / rho[k];
            }
            u += &x;
        }
        // v − w with w orthogonal to K: the bound is that of the box for these coefficients.
        let mut reduced = u.clone();
        for (k, mut column) in reduced.column_iter_mut().enumerate() {
            column *= rho[k];
        }
        let reduced = &reduced - &self.projector * &reduced + &along;
        let box_value = |column: nalgebra::DVectorView<'_, f64>| {
            let ends = lower.iter().zip(upper);
            column.iter().zip(ends).map(|(c, (l, h))| (c * l).max(c * h)).sum::<f64>()
        };
        let values = reduced.column_iter().map(box_value).collect();
        let mut points = &self.projector * y;
        for mut column in points.column_iter_mut() {
            let into = |(z, (l, h)): (&f64, (&f64, &f64))| match z {
                z if *z > *h => h / z,
                z if *z < *l => l / z,
                _ => 1.0,
            };
            let factor = column.iter().zip(lower.iter().zip(upper)).map(into).fold(1.0, f64::min);
            column *= factor;
        }
        let normal = self.dual.as_ref().map(|dual| dual * (v - &reduced));
        *warm = Some(u);
        Support { points, values, normal }
    }
}

/// One column a group: 1 on its members.
fn indicators(groups: &[Vec<u32>], n: usize) -> Vec<Vec<Rational>> {
    let column = |group: &Vec<u32>| {
        let mut column = vec![Rational::zero(); n];
        group.iter().for_each(|&j| column[j as usize] = Rational::one());
        column
    };
    groups.iter().map(column).collect()
}

/// An orthonormal basis of the vectors that `m` maps to zero.
fn null_space(m: &DMatrix<f64>) -> DMatrix<f64> {
    let n = m.ncols();
    if m.nrows() == 0 || n == 0 {
        return DMatrix::identity(n, n);
    }
    let eigen = (m.transpose() * m).symmetric_eigen();
    let top = eigen.eigenvalues.max();
    let small: Vec<DVector<f64>> = (0..n)
        .filter(|&k| eigen.eigenvalues[k] <= RANK * top)
        .map(|k| eigen.eigenvectors.column(k).into_owned())
        .collect();
    if small.is_empty() { DMatrix::zeros(n, 0) } else { DMatrix::from_columns(&small) }
}

/// The orthogonal projector onto the span of the columns.
fn onto(basis: &DMatrix<f64>) -> DMatrix<f64> {
    let n = basis.nrows();
    let mut projector = DMatrix::zeros(n, n);
    if basis.ncols() > 0 {
        let eigen = (basis * basis.transpose()).symmetric_eigen();
        let top = eigen.eigenvalues.max();
        for k in (0..n).filter(|&k| eigen.eigenvalues[k] > RANK * top) {
            let q = eigen.eigenvectors.column(k);
            projector += q * q.transpose();
        }
    }
    projector
}
