//! How a tensor is drawn: as an image, a series, or bars.

use scalecheck::claim::{Claim, Site};
use scalecheck::ladder::Ladder;
use scalecheck::network::Network;

/// The form of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One or three channels of `height` × `width`; of other numbers the first is drawn.
    Image { channels: usize, height: usize, width: usize },
    /// Values in order, such as samples in time.
    Series(usize),
    /// Values without an order.
    Bars(usize),
}

impl Shape {
    /// The form of a tensor: by a grid that the claim states for it, or by the model's own shape.
    pub fn of(claim: &Claim, network: &Network, site: &str) -> Shape {
        let node = if site == "input" { Some(0) } else { network.find(site) };
        let shape = node.map_or(vec![], |node| network.nodes()[node].shape.clone());
        let elements = shape.iter().product();
        let grids =
            claim.settings.iter().flat_map(|setting| &setting.perturb).filter_map(|perturb| match &perturb.site {
                Site::Tensor { name, scale } if name == site => match &*scale.ladder {
                    Ladder::BlockMean(grid) | Ladder::Haar(grid) | Ladder::Wavelet(grid, _) => Some(grid),
                    _ => None,
                },
                _ => None,
            });
        if let Some(grid) = grids.into_iter().find(|grid| grid.elements() == Some(elements)) {
            let (height, width) = grid.plane();
            return if grid.spatial == 2 && height > 1 {
                Shape::Image { channels: elements / (height * width), height, width }
            } else {
                Shape::Series(elements)
            };
        }
        Self::stated(&shape).unwrap_or(Shape::Bars(elements))
    }

    /// The form of axes that end in a plane; `None` if there is none.
    pub fn stated(shape: &[usize]) -> Option<Shape> {
        match shape {
            [rest @ .., height, width] if *height > 1 && *width > 1 => {
                Some(Shape::Image { channels: rest.iter().product(), height: *height, width: *width })
            }
            _ => None,
        }
    }

    /// Number of values.
    pub fn elements(self) -> usize {
        match self {
            Shape::Image { channels, height, width } => channels * height * width,
            Shape::Series(n) | Shape::Bars(n) => n,
        }
    }
}
