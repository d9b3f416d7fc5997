//! Where the labels of points go, so that none covers another or a point.

/// Places that are tried over and under a point, a line's height apart.
const MOST_LINES: i32 = 8;

/// A rectangle, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

impl Area {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top < other.top + other.height
            && other.top < self.top + self.height
    }
}

/// A point whose label is to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marked {
    /// What the point itself covers.
    pub(super) marker: Area,
    /// Pixels that its label takes across.
    pub(super) width: i32,
    /// And down.
    pub(super) height: i32,
}

/// Where each label goes: at the right of its point, or as near above or below as there is room; at the right where there is none.
pub(super) fn place(points: &[Marked]) -> Vec<Area> {
    let mut taken: Vec<Area> = points.iter().map(|point| point.marker).collect();
    let mut placed = Vec::new();
    for point in points {
        let free = places(point).find(|area| taken.iter().all(|other| !area.overlaps(other)));
        let area = free.or_else(|| places(point).next());
        taken.extend(area);
        placed.extend(area);
    }
    placed
}

/// At the right, then line by line above and below.
fn places(point: &Marked) -> impl Iterator<Item = Area> {
    let (marker, width, height) = (point.marker, point.width, point.height);
    let at = move |left: i32, top: i32| Area {
        left,
        top,
        width,
        height,
    };
    let right = at(
        marker.left + marker.width + 4,
        marker.top + (marker.height - height) / 2,
    );
    let left = marker.left + (marker.width - width) / 2;
    let others = (0..MOST_LINES).flat_map(move |line| {
        let above = marker.top - 2 - (line + 1) * height;
        let below = marker.top + marker.height + 2 + line * height;
        [at(left, above), at(left, below)]
    });
    std::iter::once(right).chain(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(x: i32, y: i32) -> Marked {
        Marked {
            marker: Area {
                left: x - 10,
                top: y - 10,
                width: 20,
                height: 20,
            },
            width: 60,
            height: 18,
        }
    }

    #[test]
    fn a_point_alone_has_its_label_at_its_right() {
        let placed = place(&[marked(100, 100)]);
        assert_eq!((placed[0].left, placed[0].top), (114, 91));
    }

    #[test]
    fn labels_of_neighbours_and_of_points_at_one_place_do_not_meet() {
        let points: Vec<Marked> = [100, 125, 150, 150, 150, 175]
            .iter()
            .map(|x| marked(*x, 300))
            .collect();
        let placed = place(&points);
        let all: Vec<Area> = points
            .iter()
            .map(|point| point.marker)
            .chain(placed.clone())
            .collect();
        for (idx, label) in placed.iter().enumerate() {
            let others = all
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != points.len() + idx);
            let met: Vec<&Area> = others
                .map(|(_, area)| area)
                .filter(|area| area.overlaps(label))
                .collect();
            assert!(met.is_empty(), "{idx}: {met:?}");
        }
    }
}
