//! The grids that ship with the program: the files of `recipes/ablations`.

use simmim_config::near::near_or_all;
use simmim_config::recipe::Recipe;

use crate::error::Error;

/// The same kind of file as a recipe: its header states the command, the cost, the result to expect, the source.
const GRIDS: &[Recipe] = &[Recipe {
    name: "cifar10",
    text: include_str!("../../../../recipes/ablations/cifar10.toml"),
}];

/// All grids that ship, each with its name, its summary and its text.
pub fn shipped() -> &'static [Recipe] {
    GRIDS
}

/// The grid of that name.
pub(super) fn find(name: &str) -> Result<Recipe, Error> {
    let found = GRIDS.iter().find(|grid| grid.name == name);
    found.copied().ok_or_else(|| {
        let names = GRIDS.iter().map(|grid| grid.name);
        Error::UnknownGrid {
            name: name.to_owned(),
            near: near_or_all(name, names),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablate::{Ablation, Grid};

    #[test]
    fn every_grid_that_ships_fits_and_states_command_cost_expectation_and_source() {
        for grid in shipped() {
            let points = Ablation::new(&Grid::open(grid.name).unwrap(), &[], None);
            assert!(points.unwrap().points().len() > 1, "{}", grid.name);
            for part in ["Command:", "Cost:", "Expected:", "Source:"] {
                assert!(grid.header().contains(part), "{} lacks {part}", grid.name);
            }
            assert!(
                grid.header()
                    .contains(&format!("simmim ablate {}", grid.name))
            );
        }
    }

    #[test]
    fn every_file_of_the_folder_ships() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/ablations");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| {
            let name = entry.unwrap().file_name();
            name.to_str()
                .unwrap()
                .strip_suffix(".toml")
                .unwrap()
                .to_owned()
        });
        let mut files: Vec<String> = names.collect();
        files.sort();
        let mut names: Vec<&str> = shipped().iter().map(|grid| grid.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn an_unknown_name_brings_up_the_one_that_was_meant() {
        let hint = find("cifar").unwrap_err().hint().unwrap();
        assert!(hint.starts_with("did you mean `cifar10`?"), "{hint}");
    }
}
