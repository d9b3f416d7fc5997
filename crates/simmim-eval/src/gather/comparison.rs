//! Several runs beside each other.

use std::path::PathBuf;

use simmim_report::{Comparison, Different, Setting, Summary};

use super::curves;
use super::folder::Folder;
use super::told::program;
use crate::error::Error;

/// What is different between runs, and what came of each.
///
/// # Errors
/// [`Error::Train`] for a folder that holds no run, or whose log is damaged.
pub fn compare(runs: &[PathBuf]) -> Result<Comparison, Error> {
    let folders: Vec<Folder> = runs
        .iter()
        .map(|run| Folder::open(run))
        .collect::<Result<_, _>>()?;
    let names = names(&folders, runs);
    let named = names.iter().zip(&folders);
    let summary = |(name, folder): (&String, &Folder)| Summary {
        name: name.clone(),
        facts: folder.facts(),
    };
    let settings: Vec<Vec<Setting>> = folders.iter().map(Folder::settings).collect();
    Ok(Comparison {
        runs: named.clone().map(summary).collect(),
        program: program(),
        plots: curves::plots_of_runs(named.map(|(name, folder)| (name.as_str(), &*folder.records))),
        settings: different(&settings),
    })
}

/// The folders' names, or the whole paths where two have one name.
fn names(folders: &[Folder], runs: &[PathBuf]) -> Vec<String> {
    let names: Vec<String> = folders.iter().map(Folder::name).collect();
    let is_twice = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    if !names.iter().any(is_twice) {
        return names;
    }
    runs.iter()
        .map(|run| run.to_string_lossy().into_owned())
        .collect()
}

fn different(runs: &[Vec<Setting>]) -> Vec<Different> {
    let mut keys: Vec<&str> = Vec::new();
    for setting in runs.iter().flatten() {
        if !keys.contains(&setting.key.as_str()) {
            keys.push(&setting.key);
        }
    }
    let of_key = |key: &str| {
        let value = |settings: &Vec<Setting>| {
            let own = settings.iter().find(|setting| setting.key == key);
            own.map(|setting| setting.value.clone())
        };
        Different {
            key: key.to_owned(),
            values: runs.iter().map(value).collect(),
        }
    };
    let all = keys.into_iter().map(of_key);
    all.filter(|setting| {
        setting
            .values
            .iter()
            .any(|value| *value != setting.values[0])
    })
    .collect()
}
