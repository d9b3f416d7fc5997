//! The points of a grid: every combination of its values, tried before anything is run.

use std::collections::BTreeMap;

use simmim_config::auto::N_MASKS;
use simmim_config::{Layer, Plan, RawConfig};
use toml::Value;

use super::grid::{Grid, Setting};
use super::score::Score;
use crate::error::{Error, Misfit};

/// The key that `seeds` varies.
const SEED: &str = "train.seed";
/// The key of the images.
const PATH: &str = "data.path";

/// A grid whose points are known and proved: what to run.
#[derive(Debug, Clone)]
pub struct Ablation {
    pub(super) name: String,
    /// The grid's file.
    pub(super) text: String,
    pub(super) recipe: String,
    keys: Vec<String>,
    points: Vec<Point>,
    score: Score,
}

/// One run of an ablation.
#[derive(Debug, Clone)]
pub struct Point {
    /// Its name, made of its keys and values: the same whatever else stands in the grid.
    pub name: String,
    /// Its configuration.
    pub config: RawConfig,
    /// The value of each of [`Ablation::keys`].
    pub values: Vec<String>,
    /// Its number when seeds are not counted: repeats have the same.
    pub group_idx: usize,
    /// What its masks and its model are like, or why it does not fit.
    pub fit: Result<Fit, String>,
}

/// What is known of a run before it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The mean distance of hidden pixels to the nearest visible one; none where everything is hidden.
    pub avg_dist_px: Option<f64>,
    /// The hidden share of the image.
    pub hidden_share: f64,
    /// Parameters of encoder and head.
    pub n_parameters: usize,
    /// Whether its score can be set beside those of the others.
    pub has_score: bool,
}

impl Ablation {
    /// Finds all points of a grid and proves each: with its keys known, its values in range, its sizes fitting.
    ///
    /// `overrides` are set for all points; `data` is where the images are.
    ///
    /// # Errors
    /// [`Error::Config`] for unknown keys and values of a wrong type, in `[score]` also out of range;
    /// [`Error::Twice`], [`Error::Fixed`], [`Error::SamePoint`], and [`Error::Misfits`] with all points that do not fit, where these are not to be left out.
    pub fn new(grid: &Grid, overrides: &[Layer], data: Option<&str>) -> Result<Self, Error> {
        // On the layers apart: once they are merged nobody can tell who set a value.
        require_free_keys(grid, overrides)?;
        let base = grid.base_layers(overrides)?;
        let score_layers = [base.clone(), grid.score_layers()].concat();
        let score = Score::CommonMask(RawConfig::from_layers(&score_layers)?.mask);
        require_few(grid)?;
        let keys = keys(grid);
        let mut points = Vec::new();
        let no_seed = [None];
        let seeds: Vec<Option<&Value>> = grid.seeds.iter().map(Some).collect();
        // The whole grid once before any of it is repeated.
        for seed in if seeds.is_empty() {
            &no_seed[..]
        } else {
            &seeds
        } {
            for (group_idx, settings) in combinations(grid).iter().enumerate() {
                let mut layers = base.clone();
                layers.extend(settings.iter().map(|setting| grid.layer("grid", setting)));
                layers.extend(seed.map(|seed| grid.layer("seeds", &(SEED.into(), seed.clone()))));
                // With ranges unchecked: a value out of its range makes a misfit to list, and does not end it all.
                let mut config = RawConfig::overlaid(&layers)?;
                config.data.path = data.map(str::to_owned).or(config.data.path);
                points.push(Point {
                    name: point_name(&config, settings),
                    values: keys.iter().map(|key| shown(config.get(key))).collect(),
                    // `prove` puts it in, once all points are there to be compared with the first that fits.
                    fit: Err(String::new()),
                    config,
                    group_idx,
                });
            }
        }
        require_different(grid, &points)?;
        prove(&mut points, &score);
        let ablation = Self {
            name: grid.name().to_owned(),
            text: grid.source().to_owned(),
            recipe: grid.recipe_name().to_owned(),
            keys,
            points,
            score,
        };
        let misfits = ablation.misfits();
        let n_points = ablation.points.len();
        // A grid of which nothing fits is refused in any case: the rest relies on a first point.
        if misfits.is_empty() || (grid.skip_misfits && misfits.len() < n_points) {
            return Ok(ablation);
        }
        Err(Error::Misfits { misfits, n_points })
    }

    /// The grid's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys that are varied, in the order of the grid.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// All points in the order in which they are run, those that do not fit among them.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// How the encoders are compared.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// The points that do not fit.
    pub fn misfits(&self) -> Vec<Misfit> {
        let misfit = |point: &Point| {
            let reason = point.fit.as_ref().err()?.clone();
            let name = point.name.clone();
            Some(Misfit { name, reason })
        };
        self.points.iter().filter_map(misfit).collect()
    }

    /// The first point that fits.
    pub(super) fn first(&self) -> &Point {
        let fits = |point: &&Point| point.fit.is_ok();
        let first = self.points.iter().find(fits);
        first.expect("an ablation has a point that fits")
    }
}

/// Refuses keys that are varied and must not be, or that are set to one value as well.
fn require_free_keys(grid: &Grid, overrides: &[Layer]) -> Result<(), Error> {
    let fixed = |key: &str| match key {
        SEED => Some("`seeds = [0, 1]` repeats every point"),
        PATH => Some("results on different images cannot be compared"),
        _ => None,
    };
    let origin = || grid.origin().to_owned();
    let also = grid.also.iter().flatten().map(|(key, _)| key);
    let axes = grid.axes.iter().map(|(key, _)| key);
    for key in axes.clone().chain(also) {
        if let Some(reason) = fixed(key) {
            let (origin, key) = (origin(), key.clone());
            return Err(Error::Fixed {
                origin,
                key,
                reason,
            });
        }
    }
    let seed = (!grid.seeds.is_empty()).then(|| SEED.to_owned());
    // Keys of `[[also]]` are not among those that are asked below: such a point may differ from `[set]`.
    let mut taken = grid.set_keys(overrides);
    for key in axes.cloned().chain(seed) {
        if taken.contains(&key) {
            let origin = origin();
            return Err(Error::Twice { origin, key });
        }
        taken.push(key);
    }
    Ok(())
}

/// The keys that are varied, those of the product first.
fn keys(grid: &Grid) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let also = grid.also.iter().flatten().map(|(key, _)| key);
    for key in grid.axes.iter().map(|(key, _)| key).chain(also) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

/// Refuses a product that nobody would wait for before it is made.
fn require_few(grid: &Grid) -> Result<(), Error> {
    const MOST: u128 = 2000;
    let lens = grid.axes.iter().map(|(_, values)| values.len() as u128);
    let product = lens.fold(1, u128::saturating_mul);
    let points = product.saturating_add(grid.also.len() as u128);
    let found = points.saturating_mul(grid.seeds.len().max(1) as u128);
    if found <= MOST {
        return Ok(());
    }
    Err(Error::TooMany {
        origin: grid.name().to_owned(),
        found,
        most: MOST,
    })
}

/// The product of all lists, the last one running fastest; then the points outside it.
fn combinations(grid: &Grid) -> Vec<Vec<Setting>> {
    let mut product = vec![Vec::new()];
    for (key, values) in &grid.axes {
        let longer = |start: Vec<Setting>| {
            values.iter().map(move |value| {
                let last = (key.clone(), value.clone());
                start.iter().cloned().chain([last]).collect()
            })
        };
        product = product.into_iter().flat_map(longer).collect();
    }
    // The product of no lists is one point without settings. A grid that lists its points does not mean it.
    if grid.axes.is_empty() && !grid.also.is_empty() {
        product.clear();
    }
    product.extend(grid.also.iter().cloned());
    product
}

/// `mask.kind=random,mask.ratio=0.6,seed=0`, in letters that every file system and shell takes.
fn point_name(config: &RawConfig, settings: &[Setting]) -> String {
    const MOST: usize = 180;
    // From the configuration, not from the grid's text: `32` and `[32, 32]` are one size and get one name.
    let of = |(key, _): &Setting| format!("{key}={}", in_name(config.get(key)));
    let mut parts: Vec<String> = settings.iter().map(of).collect();
    // The seed always, so that a grid that gets `seeds` later finds the runs that are there.
    parts.push(format!("seed={}", config.train.seed));
    // Two names may fall together by this; `require_different` then refuses the grid.
    let plain = |letter: char| {
        let kept = letter.is_ascii_alphanumeric() || "=.,-_".contains(letter);
        if kept { letter } else { '-' }
    };
    let whole = parts.join(",");
    let name: String = whole.chars().map(plain).collect();
    // Every letter is ASCII by now, so that the cut below is between letters.
    if name.len() <= MOST {
        return name;
    }
    // Too long for a file: cut, and told apart by a sum over the whole of it.
    format!("{}-{:08x}", &name[..MOST], crc32c::crc32c(whole.as_bytes()))
}

/// A value in a name: `[32, 64]` becomes `32x64`.
fn in_name(value: Option<Value>) -> String {
    match value {
        Some(Value::Array(values)) => {
            let parts = values.into_iter().map(|value| in_name(Some(value)));
            parts.collect::<Vec<_>>().join("x")
        }
        value => shown(value),
    }
}

/// A value as people write it.
fn shown(value: Option<Value>) -> String {
    match value {
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// Refuses two points of one name or of one configuration.
fn require_different(grid: &Grid, points: &[Point]) -> Result<(), Error> {
    let same = |one: &Point, other: &Point| Error::SamePoint {
        origin: grid.origin().to_owned(),
        one: one.name.clone(),
        other: other.name.clone(),
    };
    let (mut names, mut configs) = (BTreeMap::new(), BTreeMap::new());
    for point in points {
        let by_name = names.insert(&point.name, point);
        // As text, because a configuration holds floats, which have no order to sort a map by.
        let by_config = configs.insert(point.config.to_toml(), point);
        if let Some(earlier) = by_name.or(by_config) {
            return Err(same(earlier, point));
        }
    }
    Ok(())
}

/// Finds for each point what its masks and its model are like, or why it does not fit.
fn prove(points: &mut [Point], score: &Score) {
    let mut reference: Option<RawConfig> = None;
    for point in points {
        // Until one fits, each is compared with itself, which always holds.
        let first = reference.as_ref().unwrap_or(&point.config);
        point.fit = fit(&point.config, score, first).map_err(|error| in_one_line(&*error));
        if reference.is_none() && point.fit.is_ok() {
            reference = Some(point.config.clone());
        }
    }
}

fn fit(
    config: &RawConfig,
    score: &Score,
    reference: &RawConfig,
) -> Result<Fit, Box<dyn std::error::Error>> {
    // The ranges were left open above, and a plan relies on them.
    config.check()?;
    let plan = Plan::new(config.clone())?;
    let has_score = score.is_comparable(config, reference);
    if has_score {
        score.require_fit(config)?;
    }
    let survey = plan.masks().survey(N_MASKS, config.train.seed);
    Ok(Fit {
        avg_dist_px: survey.avg_dist_px,
        hidden_share: survey.ratio,
        n_parameters: plan.model().1.n_values(),
        has_score,
    })
}

/// An error with its causes.
fn in_one_line(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", in_one_line(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[set]\ndata.image_size = 32\nmodel.variant = 'vit-t/8'\nmask.cell_px = 8\n";

    fn ablation(text: &str) -> Result<Ablation, Error> {
        Ablation::new(&Grid::text("mine", "mine.toml", text).unwrap(), &[], None)
    }

    fn names(text: &str) -> Vec<String> {
        let points = ablation(&format!("{text}\n{BASE}")).unwrap().points;
        points.into_iter().map(|point| point.name).collect()
    }

    #[track_caller]
    fn refused(text: &str) -> String {
        ablation(text).unwrap_err().to_string()
    }

    #[test]
    fn the_product_runs_the_last_list_fastest_and_ends_with_the_points_outside_it() {
        let text = "grid.mask.kind = ['random', 'square']\ngrid.mask.ratio = [0.3, 0.6]\n\
            also = [{ mask.cell_px = 16, train.base_lr = 1 }]";
        assert_eq!(
            names(text),
            [
                "mask.kind=random,mask.ratio=0.3,seed=0",
                "mask.kind=random,mask.ratio=0.6,seed=0",
                "mask.kind=square,mask.ratio=0.3,seed=0",
                "mask.kind=square,mask.ratio=0.6,seed=0",
                "mask.cell_px=16,train.base_lr=1.0,seed=0",
            ]
        );
        let points = ablation(&format!("{text}\n{BASE}")).unwrap();
        assert_eq!(
            points.keys(),
            ["mask.kind", "mask.ratio", "mask.cell_px", "train.base_lr"]
        );
        assert_eq!(points.points[4].values, ["random", "0.6", "16", "1.0"]);
        assert_eq!(points.points[0].values, ["random", "0.3", "8", "0.0002"]);
    }

    #[test]
    fn a_grid_of_more_runs_than_anyone_waits_for_is_refused_before_it_is_made() {
        let ratios: Vec<String> = (1..=100)
            .map(|i| format!("{}", f64::from(i) / 100.0))
            .collect();
        let list = ratios.join(", ");
        let keys = [
            "mask.ratio",
            "train.base_lr",
            "train.min_lr",
            "train.warmup_lr",
            "train.gamma",
        ];
        let axes: Vec<String> = keys
            .iter()
            .map(|key| format!("grid.{key} = [{list}]"))
            .collect();
        let error = ablation(&axes.join("\n")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("10000000000 runs, 2000 at the most"),
            "{error}"
        );
    }

    #[test]
    fn seeds_repeat_the_whole_grid_and_names_do_not_depend_on_them() {
        let once = names("grid.mask.ratio = [0.3, 0.6]");
        let twice = names("seeds = [0, 7]\ngrid.mask.ratio = [0.3, 0.6]");
        assert_eq!(twice[..2], once);
        assert_eq!(
            twice[2..],
            ["mask.ratio=0.3,seed=7", "mask.ratio=0.6,seed=7"]
        );
    }

    #[test]
    fn names_are_made_of_letters_that_a_shell_takes() {
        let text = "grid.data.image_size = [[32, 64]]\ngrid.model.variant = ['vit-s/8']\nset.mask.cell_px = 8";
        let name = &ablation(text).unwrap().points[0].name;
        assert_eq!(name, "data.image_size=32x64,model.variant=vit-s-8,seed=0");
    }

    #[test]
    fn every_point_that_does_not_fit_is_listed_with_its_reason() {
        let base = BASE.replace("mask.cell_px = 8\n", "");
        let text = format!("grid.mask.cell_px = [8, 12, 16]\ngrid.mask.ratio = [0.5, 1.5]\n{base}");
        let Err(Error::Misfits { misfits, n_points }) = ablation(&text) else {
            panic!("taken");
        };
        assert_eq!((misfits.len(), n_points), (4, 6));
        assert!(misfits[0].reason.contains("`mask.ratio` is 1.5"));
        assert!(
            misfits[1].reason.contains("valid cells: 8, 16, 32"),
            "{misfits:?}"
        );
        let left = ablation(&format!("skip_misfits = true\n{text}")).unwrap();
        assert_eq!((left.points.len(), left.misfits().len()), (6, 4));
    }

    #[test]
    fn a_common_mask_that_does_not_fit_a_point_is_found_before_the_first_run() {
        let text = "grid.model.patch_px = [8, 16]\nscore.cell_px = 8\n[set]\ndata.image_size = 32\n\
            model.variant = 'vit-t/8'\nmask.cell_px = 16";
        let error = refused(text);
        assert!(
            error.contains("the common mask of the score does not fit: a mask cell of 8 px"),
            "{error}"
        );
    }

    #[test]
    fn points_with_another_target_or_other_pixels_have_no_score_and_those_with_another_mask_have() {
        let text = format!(
            "grid.objective.norm_target = [0, 3]\nalso = [{{ mask.ratio = 0.1 }}, {{ data.image_size = 64 }}]\n{BASE}"
        );
        let points = ablation(&text).unwrap().points;
        let has_score = |point: &Point| point.fit.as_ref().unwrap().has_score;
        let all: Vec<bool> = points.iter().map(has_score).collect();
        assert_eq!(all, [true, false, true, false]);
    }

    #[test]
    fn unknown_keys_and_words_are_no_misfits() {
        assert!(
            refused("skip_misfits = true\ngrid.mask.kid = [1]").contains("unknown key `mask.kid`")
        );
        assert!(refused("skip_misfits = true\ngrid.mask.kind = ['x']").contains("expected one of"));
        assert!(refused("grid.ratio = [0.1]").contains("unknown key `ratio`"));
        assert!(refused("score.kid = 'random'").contains("unknown key `mask.kid` in `score`"));
        assert!(refused("score.ratio = 1.5").contains("`mask.ratio` is 1.5"));
    }

    #[test]
    fn keys_that_cannot_be_varied_and_points_that_are_one_are_refused() {
        assert!(refused("grid.train.seed = [0]").contains("`seeds = [0, 1]`"));
        assert!(refused("grid.data.path = ['a']").contains("cannot be compared"));
        assert!(refused("seeds = [1]\nset.train.seed = 2").contains("is varied"));
        assert!(refused("grid.mask.ratio = [0.1]\nset.mask.ratio = 0.6").contains("is varied"));
        let same = refused(&format!("grid.mask.ratio = [1, 1.0]\n{BASE}"));
        assert!(same.contains("twice for the same run"), "{same}");
        let same = format!("grid.mask.ratio = [0.6]\nalso = [{{ mask.kind = 'random' }}]\n{BASE}");
        assert!(refused(&same).contains("twice for the same run"));
    }
}
