//! The pictures beside the dial, as it stands at first. The script changes what is drawn here and adds nothing.

use super::dial::{Cell, Dial};
use super::number::{at_least, at_most, nearest};
use super::shape::Shape;
use crate::graph::{float, floats};
use maud::{Markup, html};
use scalecheck::number::Rational;

/// Side of an element of an image, and height of a chart, in units of the drawing.
const SIDE: f64 = 10.0;
const HEIGHT: f64 = 60.0;

/// What a panel shows.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Values as brightness, or as heights.
    Tensor,
    /// Signed values: the size of squares, filled where positive and hollow where negative.
    Signed,
}

/// The tensor as the level sees it, what it ignores, the perturbation, and the perturbed tensor.
pub fn panels(dial: &Dial) -> Markup {
    let (Some((site, shape)), Some(cell)) = (&dial.site, dial.first()) else { return html! {} };
    let [level, _, row] = dial.start;
    let own =
        |of_cell: &[Rational], of_row: &[Rational]| if of_row.is_empty() { of_cell.to_vec() } else { of_row.to_vec() };
    let tensor = own(&cell.tensor, &dial.rows[row].tensor);
    let seen = own(&cell.seen, &dial.rows[row].seen[level]);
    let combine = |a: &[Rational], b: &[Rational], f: fn(&Rational, &Rational) -> Rational| -> Vec<Rational> {
        if a.is_empty() || b.is_empty() { vec![] } else { a.iter().zip(b).map(|(a, b)| f(a, b)).collect() }
    };
    let ignored = combine(&tensor, &seen, |a, b| a - b);
    let perturbed = combine(&tensor, &cell.delta, |a, b| a + b);
    let what = if site == "input" { "input".to_owned() } else { format!("tensor {site}") };
    let one = |class: &str, title: String, kind: Kind, values: &[Rational], limit: (f64, f64)| {
        html! {
            figure.panel data-panel=(class) {
                (draw(*shape, kind, &floats(values), limit, &title))
                figcaption { (title) }
            }
        }
    };
    let limits = limits(dial);
    let cells = || dial.cells.iter().flatten().flatten().flatten();
    let sees = dial.rows.iter().flat_map(|row| &row.seen).chain(cells().map(|cell| &cell.seen)).any(|s| !s.is_empty());
    let moves = cells().any(|cell| !cell.delta.is_empty());
    let regional = dial.rows.iter().all(|row| row.tensor.is_empty());
    let title = if regional { format!("the {what} of the strongest attack") } else { format!("the {what}") };
    html! {
        div.panels data-low=(limits.0) data-high=(limits.1) data-delta=(limits.2) {
            (one("tensor", title, Kind::Tensor, &tensor, (limits.0, limits.1)))
            @if sees { (one("seen", "as this scale sees it".into(), Kind::Tensor, &seen, (limits.0, limits.1)))
                (one("ignored", "the detail that it ignores".into(), Kind::Signed, &ignored, (0.0, limits.1 - limits.0))) }
            @if moves { (one("delta", "the worst perturbation found".into(), Kind::Signed, &cell.delta, (0.0, limits.2)))
                (one("perturbed", format!("the perturbed {what}"), Kind::Tensor, &perturbed, (limits.0, limits.1))) }
        }
        @if sees || moves {
            p.note.signs { "Signed values: the larger, the more; filled where it adds, hollow where it takes away." }
        }
    }
}

/// Lowest and highest value of the tensors, and the largest of all perturbations, so that pictures can be compared.
fn limits(dial: &Dial) -> (f64, f64, f64) {
    let cells = || dial.cells.iter().flatten().flatten().flatten();
    let tensors = dial.rows.iter().flat_map(|row| &row.tensor).chain(cells().flat_map(|cell: &Cell| &cell.tensor));
    let (low, high) = tensors.map(float).fold((0.0_f64, 0.0_f64), |(l, h), x| (l.min(x), h.max(x)));
    let delta = cells().flat_map(|cell| &cell.delta).map(|x| float(x).abs()).fold(0.0, f64::max);
    (low, if high > low { high } else { low + 1.0 }, if delta > 0.0 { delta } else { 1.0 })
}

fn draw(shape: Shape, kind: Kind, values: &[f64], (low, high): (f64, f64), title: &str) -> Markup {
    let part = |x: f64| ((x - low) / (high - low)).clamp(0.0, 1.0);
    match shape {
        Shape::Image { channels, height, width } => {
            let plane = height * width;
            let colour = channels == 3 && kind == Kind::Tensor;
            html! {
                svg role="img" aria-label=(title) data-kind=(if kind == Kind::Signed { "signed" } else { "tensor" })
                    viewBox={ "0 0 " (width as f64 * SIDE) " " (height as f64 * SIDE) } {
                    @for i in 0..plane {
                        @let (x, y) = ((i % width) as f64 * SIDE, (i / width) as f64 * SIDE);
                        @let value = values.get(i).copied().unwrap_or(if kind == Kind::Signed { 0.0 } else { low });
                        @if kind == Kind::Signed {
                            @let side = (SIDE * (value.abs() / high).sqrt().min(1.0)).max(0.0) * 0.92;
                            @let (x, y) = (x + (SIDE - side) / 2.0, y + (SIDE - side) / 2.0);
                            rect class=(if value < 0.0 { "down" } else { "up" }) x=(round(x)) y=(round(y)) width=(round(side)) height=(round(side)) {}
                        } @else if colour {
                            @let channel = |c: usize| (255.0 * part(values.get(c * plane + i).copied().unwrap_or(low))).round();
                            rect x=(x) y=(y) width=(SIDE) height=(SIDE) fill={ "rgb(" (channel(0)) "," (channel(1)) "," (channel(2)) ")" } {}
                        } @else {
                            rect.ink x=(x) y=(y) width=(SIDE) height=(SIDE) fill-opacity=(round(part(value))) {}
                        }
                    }
                }
            }
        }
        Shape::Series(n) | Shape::Bars(n) => {
            let series = matches!(shape, Shape::Series(_));
            // Signed values are drawn around the middle, to the same scale.
            let (low, high) = if kind == Kind::Signed { (-high, high) } else { (low, high) };
            let y = |x: f64| HEIGHT * (1.0 - ((x - low) / (high - low)).clamp(0.0, 1.0));
            let step = 120.0 / n.max(1) as f64;
            let value = |i: usize| values.get(i).copied().unwrap_or(0.0);
            html! {
                svg role="img" aria-label=(title) data-kind=(if kind == Kind::Signed { "signed" } else { "tensor" })
                    viewBox={ "0 0 120 " (HEIGHT) } {
                    line.zero x1="0" x2="120" y1=(round(y(0.0))) y2=(round(y(0.0))) {}
                    @if series {
                        @let points: Vec<String> = (0..n).map(|i| format!("{},{}", round((i as f64 + 0.5) * step), round(y(value(i))))).collect();
                        polyline points=(points.join(" ")) {}
                    } @else { @for i in 0..n {
                        @let (top, bottom) = (y(value(i).max(0.0)), y(value(i).min(0.0)));
                        rect class=(if value(i) < 0.0 { "down" } else { "up" }) x=(round(i as f64 * step + 0.1 * step)) width=(round(0.8 * step))
                            y=(round(top)) height=(round(bottom - top)) {}
                    } }
                }
            }
        }
    }
}

/// Enough digits for a drawing.
fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// The coarse outputs: clean, certified to stay within, and at the witness.
pub fn outputs(dial: &Dial) -> Markup {
    let Some(cell) = dial.first() else { return html! {} };
    let Some(witness) = &cell.found.witness else { return html! {} };
    if witness.clean.len() > 64 {
        return html! { p.note { "There are " (witness.clean.len()) " coarse outputs, too many to draw; the data holds them." } };
    }
    let (low, high) = output_range(dial);
    let place = |x: &Rational| format!("{:.3}%", (100.0 * (float(x) - low) / (high - low)).clamp(0.0, 100.0));
    let certified = cell.found.certified.as_ref();
    html! {
        div.scroll { table.outputs data-low=(low) data-high=(high) {
            caption { "The coarse outputs: clean " i.key.clean {} ", certified to stay within " i.key.within {} ", at the witness " i.key.there {} }
            thead { tr { th.n { "output" } th.wide { span.hidden { "picture" } } th.n { "clean" } th.n { "at the witness" } th.n { "certified within" } } }
            tbody { @for (k, (clean, there)) in witness.clean.iter().zip(&witness.perturbed).enumerate() { tr {
                th.n scope="row" { (k) }
                td.wide { div.track aria-hidden="true" {
                    @let ends = certified.map(|c| (clean - c, clean + c));
                    @if let Some((a, b)) = &ends {
                        i.within style={ "left:" (place(a)) ";right:calc(100% - " (place(b)) ")" } {}
                    } @else { i.within hidden {} }
                    i.clean style={ "left:" (place(clean)) } {}
                    i.there style={ "left:" (place(there)) } {}
                } }
                td.n { (nearest(clean)) }
                td.n { (nearest(there)) }
                td.n { @match certified {
                    Some(c) => { (at_least(&(clean - c))) " … " (at_most(&(clean + c))) },
                    None => { span.none { "no bound" } },
                } }
            } } }
        } }
    }
}

/// The range of all outputs on the dial.
fn output_range(dial: &Dial) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for cell in dial.cells.iter().flatten().flatten().flatten() {
        let Some(witness) = &cell.found.witness else { continue };
        let room = cell.found.certified.as_ref().map_or(0.0, float);
        for (clean, there) in witness.clean.iter().zip(&witness.perturbed) {
            let (clean, there) = (float(clean), float(there));
            low = low.min(clean - room).min(there);
            high = high.max(clean + room).max(there);
        }
    }
    if low < high { (low, high) } else { (low - 1.0, low + 1.0) }
}
