//! A box cut with a linear subspace: what a matrix of modes does not see, or a band between two rungs. Its support
//! function is a linear program; alternating projections (ADMM, Boyd et al. 2011, section 5.2) solve it for many
//! targets at once, and every iterate gives a valid bound, so stopping early only loosens it.

use crate::graph::floats;
use good_lp::{Expression, ProblemVariables, SolverModel, Variable, constraint, variable};
use nalgebra::{DMatrix, DVector, Dyn, SymmetricEigen};
use num::Zero;
use scalecheck::linear::Linear;
use scalecheck::number::Rational;

/// Relative size of a singular value that counts as zero.
const RANK: f64 = 1e-9;

/// A subspace K, as the orthogonal projector onto it.
pub struct Cut(DMatrix<f64>);

/// A subspace K of the variables.
pub struct Subspace {
    cut: Cut,
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
        let (n, rows) = (linear.inputs(), exact_rows(linear));
        let svd = float_matrix(&rows, n).try_svd(true, true, PRECISION, ITERATIONS)?;
        let (u, v_t) = (svd.u.as_ref()?, svd.v_t.as_ref()?);
        let top = svd.singular_values.max();
        let (mut projector, mut dual) = (DMatrix::identity(n, n), DMatrix::zeros(rows.len(), n));
        for (k, &s) in svd.singular_values.iter().enumerate().filter(|(_, s)| **s > RANK * top) {
            projector -= v_t.row(k).transpose() * v_t.row(k);
            dual += u.column(k) * v_t.row(k) / s;
        }
        Some(Subspace { cut: Cut(projector), dual: Some(dual), exact: ExactForm::Kernel(rows) })
    }

    /// The band of a ladder of modes: `z = Cᵀ w`, C the modes of the finer rung, and invisible at the cutoff.
    pub fn of_modes(seen: &Linear, cutoff: Option<&Linear>) -> Self {
        let columns = exact_rows(seen);
        let dot = |a: &[Rational], b: &[Rational]| a.iter().zip(b).map(|(a, b)| a * b).sum::<Rational>();
        let constraint = |row: &Vec<Rational>| columns.iter().map(|column| dot(row, column)).collect::<Vec<_>>();
        let constraints: Vec<Vec<Rational>> =
            cutoff.map(exact_rows).unwrap_or_default().iter().map(constraint).collect();
        let t = float_matrix(&columns, seen.inputs()).transpose();
        let basis = &t * null_space(&float_matrix(&constraints, columns.len()));
        Subspace { cut: Cut(onto(&basis)), dual: None, exact: ExactForm::Image { columns, constraints } }
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
        let (points, values, reduced) = self.cut.support(v, lower, upper, effort, warm);
        let normal = self.dual.as_ref().map(|dual| dual * (v - &reduced));
        Support { points, values, normal }
    }
}

impl Cut {
    /// The points (z, U z): what variables generate, beside themselves.
    pub fn graph(u: &DMatrix<f64>) -> Option<Self> {
        let m = u.ncols();
        let inverse = (DMatrix::identity(m, m) + u.transpose() * u).cholesky()?.inverse();
        let mut basis = DMatrix::zeros(m + u.nrows(), m);
        basis.rows_mut(0, m).fill_with_identity();
        basis.rows_mut(m, u.nrows()).copy_from(u);
        Some(Cut(&basis * inverse * basis.transpose()))
    }

    /// Nearly maximal points of the box cut with K, upper bounds of the maxima, and the coefficients of which these are
    /// the maxima over the box: they differ from `v` by something orthogonal to K.
    pub fn support(
        &self,
        v: &DMatrix<f64>,
        lower: &[f64],
        upper: &[f64],
        effort: usize,
        warm: &mut Option<DMatrix<f64>>,
    ) -> (DMatrix<f64>, Vec<f64>, DMatrix<f64>) {
        let (n, targets) = (v.nrows(), v.ncols());
        let along = &self.0 * v;
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
            u += &x;
            u -= &y;
            x = &self.0 * (&y - &u);
            for (k, mut column) in x.column_iter_mut().enumerate() {
                column.axpy(1.0 / rho[k], &along.column(k), 1.0);
            }
        }
        // v − w with w orthogonal to K: the bound is that of the box for these coefficients.
        let mut reduced = u.clone();
        for (k, mut column) in reduced.column_iter_mut().enumerate() {
            column *= rho[k];
        }
        let reduced = &reduced - &self.0 * &reduced + &along;
        let box_value = |column: nalgebra::DVectorView<'_, f64>| {
            let ends = lower.iter().zip(upper);
            column.iter().zip(ends).map(|(c, (l, h))| (c * l).max(c * h)).sum::<f64>()
        };
        let values = reduced.column_iter().map(box_value).collect();
        *warm = Some(u);
        // In the box, and nearly in K: what is made exact of it is in both.
        (y, values, reduced)
    }
}

impl Subspace {
    /// A point of the box cut with K at which `v · z` is largest, as an LP solver finds it: far more precise than
    /// [`Subspace::support`], and far slower. `None` if the solver gives up.
    pub fn vertex(&self, v: &[f64], lower: &[f64], upper: &[f64]) -> Option<Vec<f64>> {
        let (mut problem, ends) = (ProblemVariables::new(), lower.iter().zip(upper));
        let (w, z, constraints): (Vec<Variable>, Vec<Expression>, _) = match &self.exact {
            ExactForm::Kernel(rows) => {
                let w: Vec<_> = ends.clone().map(|(&l, &h)| problem.add(variable().min(l).max(h))).collect();
                (w.clone(), w.into_iter().map(Expression::from).collect(), rows)
            }
            ExactForm::Image { columns, constraints } => {
                let w: Vec<_> = columns.iter().map(|_| problem.add(variable())).collect();
                let columns: Vec<Vec<f64>> = columns.iter().map(|column| floats(column)).collect();
                let z = |i: usize| columns.iter().zip(&w).map(|(column, &w)| column[i] * w).sum();
                let z = (0..v.len()).map(z).collect();
                (w, z, constraints)
            }
        };
        let goal: Expression = z.iter().zip(v).map(|(z, &v)| z.clone() * v).sum();
        let mut model = problem.maximise(goal).using(good_lp::solvers::clarabel::clarabel);
        if let ExactForm::Image { .. } = self.exact {
            for (z, (&l, &h)) in z.iter().zip(ends) {
                model.add_constraint(constraint!(z.clone() >= l));
                model.add_constraint(constraint!(z.clone() <= h));
            }
        }
        for row in constraints {
            let sum: Expression = w.iter().zip(floats(row)).map(|(&w, c)| c * w).sum();
            model.add_constraint(constraint!(sum == 0.0));
        }
        let solution = model.solve().ok()?;
        Some(z.iter().map(|z| z.eval_with(&solution)).collect())
    }
}

/// The matrix of a map, exactly.
fn exact_rows(linear: &Linear) -> Vec<Vec<Rational>> {
    let mut rows = vec![vec![Rational::zero(); linear.inputs()]; linear.outputs()];
    linear.for_each_entry(|o, i, k| rows[o][i] = linear.weights().value(k));
    rows
}

/// The same in floating point; `width` is needed if there are no rows. Numbers of which a decomposition could not take squares
/// are cut: what follows from them is a hint, which the exact rules judge.
fn float_matrix(rows: &[Vec<Rational>], width: usize) -> DMatrix<f64> {
    let cut = |x: f64| if x.is_nan() { 0.0 } else { x.clamp(-1e100, 1e100) };
    DMatrix::from_row_iterator(rows.len(), width, rows.iter().flat_map(|row| floats(row)).map(cut))
}

/// Precision of decompositions, and most steps of one: without a limit, numbers of very different sizes can keep it from ending.
pub const PRECISION: f64 = 5.0 * f64::EPSILON;
pub const ITERATIONS: usize = 100_000;

fn eigen(m: DMatrix<f64>) -> Option<SymmetricEigen<f64, Dyn>> {
    SymmetricEigen::try_new(m, PRECISION, ITERATIONS)
}

/// An orthonormal basis of the vectors that `m` maps to zero; of none, if they cannot be found.
fn null_space(m: &DMatrix<f64>) -> DMatrix<f64> {
    let n = m.ncols();
    if m.nrows() == 0 || n == 0 {
        return DMatrix::identity(n, n);
    }
    let Some(eigen) = eigen(m.transpose() * m) else { return DMatrix::zeros(n, 0) };
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
    let found = if basis.ncols() > 0 { eigen(basis * basis.transpose()) } else { None };
    if let Some(eigen) = found {
        let top = eigen.eigenvalues.max();
        for k in (0..n).filter(|&k| eigen.eigenvalues[k] > RANK * top) {
            let q = eigen.eigenvectors.column(k);
            projector += q * q.transpose();
        }
    }
    projector
}
