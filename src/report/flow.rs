//! The flow: how much of a perturbation each band of each tensor sees.

use super::measure::Point;
use scalecheck::claim::Coarse;
use scalecheck::number::Rational;

/// A tensor with its bands, coarse part first.
pub struct Layer {
    pub tensor: String,
    pub bands: Vec<Band>,
}

/// What rung `seen` sees of a tensor and rung `hidden` does not.
pub struct Band {
    pub name: String,
    /// The largest change of any coordinate, over all rows: an attack reaches it, a proof bounds it.
    pub attacked: Option<Rational>,
    pub certified: Option<Rational>,
}

/// The layers of a claim about bands, in its order, or none.
pub fn flow(points: &[Point]) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for point in points {
        let Coarse::Band { seen, hidden, .. } = &point.setting.coarse else { continue };
        let tensor = point.setting.output.clone().unwrap_or_else(|| "output".into());
        let name = match (seen, hidden) {
            (Some(seen), Some(hidden)) => format!("between {seen} and {hidden}"),
            (Some(seen), None) => format!("coarse: seen at {seen}"),
            (None, hidden) => format!("fine: hidden at {}", hidden.unwrap_or_default()),
        };
        let band = Band { name, attacked: point.attacked().cloned(), certified: point.certified().cloned() };
        match layers.iter_mut().find(|layer| layer.tensor == tensor) {
            Some(layer) => layer.bands.push(band),
            None => layers.push(Layer { tensor, bands: vec![band] }),
        }
    }
    layers
}

/// The largest bound, of which the heat map shows parts.
pub fn largest(layers: &[Layer]) -> Rational {
    let all =
        layers.iter().flat_map(|layer| &layer.bands).filter_map(|b| b.certified.as_ref().max(b.attacked.as_ref()));
    all.max().cloned().unwrap_or_default()
}
