//! Pictures as SVG: curves over the rungs of a ladder, brackets, and the heat map of a flow.
//!
//! Colours are of the palette of Okabe and Ito, which colour-blind readers tell apart; dashes and numbers say the same.

use super::dial::Dial;
use super::flow::{Layer, largest};
use super::number::{at_least, at_most};
use crate::graph::float;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use scalecheck::number::Rational;

const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(127, 127, 127),
];
/// In the middle between light and dark paper.
const GRID: RGBColor = RGBColor(127, 127, 127);

/// Changes of a coarse output over the rungs, from the finest to the coarsest.
pub struct Curve {
    pub name: String,
    /// By rung, what is certified and what is attacked; none where nothing is known.
    pub certified: Vec<Option<f64>>,
    pub attacked: Vec<Option<f64>>,
}

/// The curves of a dial, one for each amplitude: the worst of all rows.
pub fn of_dial(dial: &Dial) -> Vec<Curve> {
    let curve = |(a, amplitude): (usize, &String)| {
        let of = |number: fn(&super::dial::Worst) -> Option<&Rational>| {
            (0..dial.levels.len()).map(|l| dial.worst(l, a).as_ref().and_then(number).map(float)).collect()
        };
        Curve {
            name: amplitude.clone(),
            certified: of(|worst| worst.certified.as_ref()),
            attacked: of(|worst| worst.attacked.as_ref()),
        }
    };
    dial.amplitudes.iter().enumerate().map(curve).collect()
}

/// Draws curves over named rungs.
pub fn curves(rungs: &[String], curves: &[Curve]) -> Result<String> {
    let all = curves.iter().flat_map(|c| c.certified.iter().chain(&c.attacked)).flatten();
    let top = all.copied().fold(0.0, f64::max);
    let last = rungs.len().max(2) - 1;
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (800, 440)).into_drawing_area();
    {
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .margin_right(150)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(-0.1..last as f64 + 0.1, 0.0..(1.2 * top).max(f64::MIN_POSITIVE))?;
        let label = |x: &f64| {
            let near = (x - x.round()).abs() < 1e-9 && *x > -0.5;
            rungs.get(x.round() as usize).filter(|_| near).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.mix(0.25))
            .axis_style(GRID)
            .label_style(("sans-serif", 14))
            .x_desc("what is kept, from the finest to the coarsest")
            .y_desc("largest change of a coarse output")
            .x_labels(2 * last + 1)
            .x_label_formatter(&label)
            .draw()?;
        // The names stand at the right ends; those that would touch move up.
        let mut ends: Vec<(f64, usize)> = Vec::new();
        for (i, Curve { name: _, certified, attacked }) in curves.iter().enumerate() {
            let colour = PALETTE[i % PALETTE.len()];
            let line = |values: &[Option<f64>]| -> Vec<(f64, f64)> {
                values.iter().enumerate().filter_map(|(x, y)| Some((x as f64, (*y)?))).collect()
            };
            let (certified, attacked) = (line(certified), line(attacked));
            chart.draw_series(LineSeries::new(certified.iter().copied(), colour.stroke_width(2)))?;
            chart.draw_series(certified.iter().map(|&p| Circle::new(p, 4, colour.filled())))?;
            chart.draw_series(DashedLineSeries::new(attacked.iter().copied(), 5, 4, colour.stroke_width(2)))?;
            chart.draw_series(attacked.iter().map(|&p| TriangleMarker::new(p, 5, colour.filled())))?;
            ends.extend(certified.last().or(attacked.last()).map(|p| (p.1, i)));
        }
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut above = f64::INFINITY;
        for (value, i) in ends {
            let (x, y) = chart.backend_coord(&(last as f64 + 0.1, value));
            let y = f64::from(y).min(above - 18.0);
            above = y;
            let style = TextStyle::from(("sans-serif", 15).into_font()).color(&PALETTE[i % PALETTE.len()]);
            root.draw(&Text::new(curves[i].name.clone(), (x + 8, y as i32 - 7), style))?;
        }
        legend(&root)?;
        root.present()?;
    }
    drop(root);
    Ok(text)
}

fn legend(root: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
    let (x, y) = (84, 22);
    let text = |words: &str, y: i32| Text::new(words.to_owned(), (x + 36, y - 7), ("sans-serif", 14));
    root.draw(&PathElement::new([(x, y), (x + 28, y)], GRID.stroke_width(2)))?;
    root.draw(&Circle::new((x + 14, y), 4, GRID.filled()))?;
    root.draw(&text("proven: at most", y))?;
    let y = y + 20;
    for k in 0..3 {
        root.draw(&PathElement::new([(x + 10 * k, y), (x + 10 * k + 5, y)], GRID.stroke_width(2)))?;
    }
    root.draw(&TriangleMarker::new((x + 14, y), 5, GRID.filled()))?;
    root.draw(&text("attacked: at least", y))?;
    Ok(())
}

/// The brackets of a dial at one amplitude: attacked ≤ truth ≤ certified, level by level.
pub fn brackets(dial: &Dial, amplitude: usize) -> Result<String> {
    let height = 48 * dial.levels.len() as u32 + 64;
    let top = float(&dial.largest()).max(f64::MIN_POSITIVE);
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (800, height)).into_drawing_area();
    let at = |x: &Rational| 130 + (400.0 * float(x) / top).round() as i32;
    let words = |words: String, x: i32, y: i32| Text::new(words, (x, y), ("sans-serif", 15));
    root.draw(&words(format!("amplitude {}: attacked ≤ truth ≤ certified", dial.amplitudes[amplitude]), 12, 12))?;
    for (level, y) in dial.levels.iter().enumerate().map(|(l, _)| l).zip((44..).step_by(48)) {
        root.draw(&words(dial.levels[level].label.clone(), 12, y + 6))?;
        let Some(worst) = dial.worst(level, amplitude) else { continue };
        root.draw(&Rectangle::new([(130, y), (530, y + 24)], GRID.mix(0.15).filled()))?;
        if let Some(certified) = &worst.certified {
            root.draw(&Rectangle::new([(130, y), (at(certified), y + 24)], PALETTE[0].mix(0.45).filled()))?;
            root.draw(&PathElement::new(
                [(at(certified), y - 4), (at(certified), y + 28)],
                PALETTE[0].stroke_width(3),
            ))?;
        }
        if let Some(attacked) = &worst.attacked {
            root.draw(&Rectangle::new([(130, y + 6), (at(attacked), y + 18)], PALETTE[1].filled()))?;
        }
        let attacked = worst.attacked.as_ref().map_or("?".into(), at_least);
        let certified = worst.certified.as_ref().map_or("?".into(), at_most);
        root.draw(&words(format!("{attacked} ≤ truth ≤ {certified}"), 545, y + 6))?;
    }
    if let Some(tolerance) = &dial.tolerance
        && tolerance <= &dial.largest()
    {
        let (x, end) = (at(tolerance), height as i32 - 24);
        for y in (34..end).step_by(8) {
            root.draw(&PathElement::new([(x, y), (x, y + 4)], BLACK.stroke_width(1)))?;
        }
        root.draw(&words(format!("matters above {}", at_most(tolerance)), x - 40, end + 4))?;
    }
    root.present()?;
    drop(root);
    Ok(text)
}

/// The heat map of a flow: layers from left to right, bands from the coarse part down; numbers stand in every field.
pub fn heat_map(layers: &[Layer]) -> Result<String> {
    let top = float(&largest(layers)).max(f64::MIN_POSITIVE);
    let bands = layers.iter().map(|layer| layer.bands.len()).max().unwrap_or(0) as i32;
    let (wide, high) = (190, 58);
    let size = ((layers.len() as i32 * wide + 24) as u32, (bands * high + 56) as u32);
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let middle =
        |size: u32| TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(HPos::Center, VPos::Center));
    for (x, layer) in (12..).step_by(wide as usize).zip(layers) {
        root.draw(&Text::new(layer.tensor.clone(), (x + wide / 2, 20), middle(16)))?;
        for (y, band) in (40..).step_by(high as usize).zip(&layer.bands) {
            let part = band.certified.as_ref().map_or(0.0, float) / top;
            let field = [(x, y), (x + wide - 6, y + high - 6)];
            root.draw(&Rectangle::new(field, PALETTE[0].mix(0.08 + 0.5 * part).filled()))?;
            let certified = band.certified.as_ref().map_or("?".into(), at_most);
            let attacked = band.attacked.as_ref().map_or("?".into(), at_least);
            root.draw(&Text::new(band.name.clone(), (x + wide / 2 - 3, y + 16), middle(13)))?;
            root.draw(&Text::new(format!("{attacked} to {certified}"), (x + wide / 2 - 3, y + 37), middle(14)))?;
        }
    }
    root.present()?;
    drop(root);
    Ok(text)
}

/// The same picture for a page of any colour: what is black takes the colour of the text around it.
pub fn inline(svg: &str) -> String {
    svg.replace("\"#000000\"", "\"currentColor\"")
}
