//! Rule 4.11 in floating point: what a ReLU makes of a change of its input.

use super::{Line, State};
use crate::graph::Graph;
use scalecheck::rules::relu::Phase;

/// Element of a ReLU's input and of a change of it.
pub struct Pair {
    /// Range of the input.
    u: (f64, f64),
    /// Range of the change, and its value at the clean input.
    w: (f64, f64),
    k: f64,
    /// What the ReLU makes of the change at the clean input.
    clean: f64,
}

/// `max(u + w, 0) − max(u, 0)`.
pub fn change(u: f64, w: f64) -> f64 {
    (u + w).max(0.0) - u.max(0.0)
}

impl Pair {
    pub fn new(graph: &Graph, state: &State, base: usize, moved: usize, i: usize) -> Self {
        let centre = |t: usize| graph.tensors[t].centre[i];
        Pair::at(state.range(graph, base, i), centre(base), state.range(graph, moved, i), centre(moved))
    }

    /// The same from the ranges of the input and of its change, and their clean values.
    pub fn at(u: (f64, f64), c: f64, w: (f64, f64), k: f64) -> Self {
        Pair { u, w, k, clean: change(c, k) }
    }

    /// Whether the ReLU is active before and after the change, inactive before and after it, or neither.
    pub fn phase(&self) -> Phase {
        let ((low, high), (first, last)) = (self.u, self.w);
        if low >= 0.0 && low + first >= 0.0 {
            Phase::Active
        } else if high <= 0.0 && high + last <= 0.0 {
            Phase::Inactive
        } else {
            Phase::Unstable
        }
    }

    /// The largest, or least, change of the output at a change w of the input.
    fn end(&self, w: f64, above: bool) -> f64 {
        change(if (w >= 0.0) == above { self.u.1 } else { self.u.0 }, w)
    }

    /// Bounds of the output's deviation.
    pub fn bounds(&self) -> (f64, f64) {
        (self.end(self.w.0, false) - self.clean, self.end(self.w.1, true) - self.clean)
    }

    /// The slope that the checker takes by default: that of the chord.
    pub fn default_slope(&self, above: bool) -> f64 {
        let (first, last) = self.w;
        match self.phase() {
            Phase::Active => 1.0,
            Phase::Inactive => 0.0,
            Phase::Unstable if last > first => {
                ((self.end(last, above) - self.end(first, above)) / (last - first)).clamp(0.0, 1.0)
            }
            Phase::Unstable => 0.0,
        }
    }

    /// Widest gap between the lines above and below, whose slopes are the default ones.
    pub fn gap(&self) -> f64 {
        let ((above, _), (below, _)) = (self.line(true, None), self.line(false, None));
        let at = |w: f64| (above.slope - below.slope) * (w - self.k) + above.offset - below.offset;
        at(self.w.0).max(at(self.w.1)).max(0.0)
    }

    /// The line above or below, and the deviation of the change at which it touches. `alpha` is the slope below.
    pub fn line(&self, above: bool, alpha: Option<f64>) -> (Line, f64) {
        let own = alpha.filter(|_| !above && self.phase() == Phase::Unstable);
        let slope = own.unwrap_or_else(|| self.default_slope(above));
        let (first, last) = self.w;
        let mut points = vec![first, last];
        points.extend((first < 0.0 && 0.0 < last).then_some(0.0));
        if !above {
            let kinks = [(-self.u.0, first.max(0.0), last), (-self.u.1, first, last.min(0.0))];
            points.extend(kinks.into_iter().filter(|(w, low, high)| low < w && w < high).map(|(w, ..)| w));
        }
        let gap = |w: f64| self.end(w, above) - slope * (w - self.k);
        let sign = if above { 1.0 } else { -1.0 };
        let worst = points.into_iter().max_by(|&a, &b| (sign * gap(a)).total_cmp(&(sign * gap(b)))).unwrap_or(first);
        (Line { slope, offset: gap(worst) - self.clean }, worst - self.k)
    }
}
