//! The entries of a convolution, and the product with its transpose.

use num::integer::gcd;
use std::ops::Range;

/// One spatial axis: output `o` meets input `o · stride + k · dilation − pad` at tap `k`, if there is such an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    input: usize,
    output: usize,
    taps: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
}

impl Axis {
    /// One element, one tap.
    pub const POINT: Axis = Axis { input: 1, output: 1, taps: 1, stride: 1, dilation: 1, pad: 0 };

    /// `None` if a size or step is zero, or if positions do not fit an integer.
    pub fn new(input: usize, output: usize, taps: usize, stride: usize, dilation: usize, pad: usize) -> Option<Self> {
        [input, output, taps, stride, dilation].iter().all(|&n| n > 0).then_some(())?;
        (output - 1).checked_mul(stride)?.checked_add((taps - 1).checked_mul(dilation)?)?;
        input.checked_add(pad)?;
        Some(Axis { input, output, taps, stride, dilation, pad })
    }

    pub fn input(&self) -> usize {
        self.input
    }

    pub fn output(&self) -> usize {
        self.output
    }

    pub fn taps(&self) -> usize {
        self.taps
    }

    /// Distance between the inputs of two neighbouring outputs.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The outputs that meet an input at tap `k`.
    pub fn outputs(&self, k: usize) -> Range<usize> {
        // o · stride + ahead is the input's position, counted from the first padded one.
        let ahead = k * self.dilation;
        let first = self.pad.saturating_sub(ahead).div_ceil(self.stride);
        let end = (self.input + self.pad).saturating_sub(ahead).div_ceil(self.stride).min(self.output);
        first.min(end)..end
    }

    /// The input that output `o` meets at tap `k`; `o` is in [`Axis::outputs`] of `k`.
    pub fn at(&self, o: usize, k: usize) -> usize {
        o * self.stride + k * self.dilation - self.pad
    }

    /// How many inputs each output meets.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.output];
        (0..self.taps).flat_map(|k| self.outputs(k)).for_each(|o| counts[o] += 1);
        counts
    }

    /// Most outputs that meet one input: they do so at taps that differ by multiples of a step.
    fn most(&self) -> usize {
        self.taps.div_ceil(self.stride / gcd(self.stride, self.dilation)).min(self.output)
    }

    /// For each input, the taps and outputs that it meets.
    fn meetings(&self) -> Vec<Vec<(usize, usize)>> {
        let mut found = vec![Vec::new(); self.input];
        for k in 0..self.taps {
            self.outputs(k).for_each(|o| found[self.at(o, k)].push((k, o)));
        }
        found
    }
}

/// `y[n, g, m, oy, ox] = Σ w[g, m, c, ky, kx] · x[n, g, c, iy, ix]` over row-major tensors: the sum is over the channels
/// c of group g and the taps (ky, kx), where those meet an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    pub batch: usize,
    pub groups: usize,
    /// Input and output channels of a group.
    pub inner: usize,
    pub outer: usize,
    pub y: Axis,
    pub x: Axis,
}

impl Conv {
    fn product<const N: usize>(factors: [usize; N]) -> Option<usize> {
        factors.into_iter().try_fold(1_usize, usize::checked_mul)
    }

    pub fn inputs(&self) -> Option<usize> {
        Self::product([self.batch, self.groups, self.inner, self.y.input, self.x.input])
    }

    pub fn outputs(&self) -> Option<usize> {
        Self::product([self.batch, self.groups, self.outer, self.y.output, self.x.output])
    }

    pub fn weights(&self) -> Option<usize> {
        Self::product([self.groups, self.outer, self.inner, self.y.taps, self.x.taps])
    }

    pub fn entries(&self) -> u64 {
        let meetings = |axis: &Axis| (0..axis.taps).map(|k| axis.outputs(k).len() as u64).sum::<u64>();
        [self.batch, self.groups, self.inner, self.outer].map(|n| n as u64).iter().product::<u64>()
            * meetings(&self.y)
            * meetings(&self.x)
    }

    /// Most entries in one column.
    pub fn column_terms(&self) -> usize {
        self.outer * self.y.most() * self.x.most()
    }

    /// Calls `f(outputs, input, weight)` for all runs of neighbouring outputs in a row: the first meets `input` at the tap
    /// of the weight of this index, and each next one the input one stride of `x` further.
    #[inline]
    pub fn for_each_run(&self, mut f: impl FnMut(Range<usize>, usize, usize)) {
        let (y, x) = (&self.y, &self.x);
        let mut weight = 0;
        for g in 0..self.groups {
            for m in g * self.outer..(g + 1) * self.outer {
                for c in g * self.inner..(g + 1) * self.inner {
                    for (ky, kx) in (0..y.taps).flat_map(|ky| (0..x.taps).map(move |kx| (ky, kx))) {
                        let xs = x.outputs(kx);
                        for n in (0..self.batch).filter(|_| !xs.is_empty()) {
                            let (to, from) = (n * self.groups * self.outer + m, n * self.groups * self.inner + c);
                            for oy in y.outputs(ky) {
                                let to = (to * y.output + oy) * x.output;
                                let from = (from * y.input + y.at(oy, ky)) * x.input;
                                f(to + xs.start..to + xs.end, from + x.at(xs.start, kx), weight);
                            }
                        }
                        weight += 1;
                    }
                }
            }
        }
    }

    /// Calls `f(output, input, weight index)` once for every entry.
    #[inline]
    pub fn for_each_entry(&self, mut f: impl FnMut(usize, usize, usize)) {
        self.for_each_run(|outputs, input, weight| {
            outputs.zip((input..).step_by(self.x.stride)).for_each(|(output, input)| f(output, input, weight));
        });
    }

    /// `acc += Wᵀ v` for weights `w`. The caller has proved that the sums fit.
    pub fn add_transposed(&self, w: &[i64], v: &[i64], acc: &mut [i128]) {
        if self.inner >= 3 {
            return self.transposed(w, v, acc);
        }
        self.for_each_run(|outputs, input, weight| {
            let products = v[outputs].iter().map(|&v| i128::from(v) * i128::from(w[weight]));
            let met = acc[input..].iter_mut().step_by(self.x.stride);
            met.zip(products).for_each(|(acc, product)| *acc = acc.wrapping_add(product));
        });
    }

    /// The same for several input channels at a time, whose sums stay in registers; outputs of coefficient zero cost
    /// nothing.
    fn transposed(&self, w: &[i64], v: &[i64], acc: &mut [i128]) {
        let (taps, pixels) = (self.y.taps * self.x.taps, self.y.output * self.x.output);
        let area = self.y.input * self.x.input;
        let (blocks, per_group) = (self.inner.div_ceil(LANES), self.outer * self.inner * taps);
        let (rows, columns) = (self.y.meetings(), self.x.meetings());
        for (g, w) in w.chunks_exact(per_group).enumerate() {
            // Block of channels, tap, output channel, lane.
            let mut blocked = vec![[0_i64; LANES]; blocks * taps * self.outer];
            for (i, &w) in w.iter().enumerate() {
                let (m, c, k) = (i / taps / self.inner, i / taps % self.inner, i % taps);
                blocked[(c / LANES * taps + k) * self.outer + m][c % LANES] = w;
            }
            for image in (0..self.batch).map(|n| n * self.groups + g) {
                // By output pixel, the channels whose coefficient is not zero.
                let v = &v[image * self.outer * pixels..(image + 1) * self.outer * pixels];
                let (mut coefficients, mut ends) = (Vec::new(), vec![0]);
                for pixel in 0..pixels {
                    let channels = v[pixel..].iter().step_by(pixels).copied().enumerate();
                    coefficients.extend(channels.filter(|&(_, v)| v != 0));
                    ends.push(coefficients.len());
                }
                let acc = &mut acc[image * self.inner * area..(image + 1) * self.inner * area];
                for (block, blocked) in blocked.chunks_exact(taps * self.outer).enumerate() {
                    for (iy, ys) in rows.iter().enumerate() {
                        for (ix, xs) in columns.iter().enumerate() {
                            let mut sums = [0_i128; LANES];
                            for &(ky, oy) in ys {
                                for &(kx, ox) in xs {
                                    let tap = (ky * self.x.taps + kx) * self.outer;
                                    let weights = &blocked[tap..tap + self.outer];
                                    let pixel = oy * self.x.output + ox;
                                    for &(m, v) in &coefficients[ends[pixel]..ends[pixel + 1]] {
                                        for (sum, &w) in sums.iter_mut().zip(&weights[m]) {
                                            *sum = sum.wrapping_add(i128::from(v) * i128::from(w));
                                        }
                                    }
                                }
                            }
                            let channels = acc[block * LANES * area + iy * self.x.input + ix..].iter_mut();
                            for (acc, sum) in channels.step_by(area).zip(sums).take(self.inner - block * LANES) {
                                *acc = acc.wrapping_add(sum);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Input channels that [`Conv::add_transposed`] sums at a time.
const LANES: usize = 4;
