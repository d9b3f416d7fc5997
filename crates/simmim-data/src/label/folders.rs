//! Labels from the names of folders.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf, is_separator};

use super::{Collected, Found, Part, TestFolder, examples};
use crate::Error;
use crate::source::{DataSet, unreadable, why_skipped};

/// The folder of training images, where there is one.
const TRAIN: &str = "train";

/// The folder of images to measure on at the very end, where there is one.
const TEST: &str = "test";

/// The names of the folder of held-out images, the preferred first.
const HELD_OUT: [&str; 3] = ["val", "validation", TEST];

pub(super) fn open(spec: &str, test: TestFolder) -> Result<Found, Error> {
    let data = DataSet::open(spec)?;
    // Before the division: the same image could otherwise be trained on and held out.
    refuse_duplicates(&data)?;
    let top = Root::top(spec, &data)?;
    let names = top.folders(&data);
    let held_out = HELD_OUT.into_iter().find(|name| names.contains(name));
    match held_out {
        Some(TEST) if names.contains(TRAIN) && test == TestFolder::LeftAlone => {
            open_without_test(data, &top)
        }
        Some(held_out) if names.contains(TRAIN) => open_parts(data, &top, held_out),
        // A folder "train" alone is no class: its folders are the classes.
        _ if names.len() == 1 && names.contains(TRAIN) && top.n_direct(&data) == 0 => {
            top.refuse_empty_part()?;
            open_whole(data, &top.inside(TRAIN))
        }
        _ => open_whole(data, &top),
    }
}

/// Class folders that are not divided.
fn open_whole(data: DataSet, root: &Root) -> Result<Found, Error> {
    let entries: Vec<usize> = (0..data.len()).collect();
    root.check(&data, &entries)?;
    Ok(Found {
        labels: labels(&data, root.depth),
        data,
        parts: None,
        left_alone: None,
    })
}

/// The class folders of the training images; those of the test and images elsewhere are left out.
fn open_without_test(mut data: DataSet, top: &Root) -> Result<Found, Error> {
    top.refuse_images_beside_parts(&data)?;
    let is_train = |entry_idx| folders_of(&data, entry_idx).get(top.depth) == Some(&TRAIN);
    let wanted: Vec<bool> = (0..data.len()).map(is_train).collect();
    // From here on entries are numbered anew, and labels are collected after that.
    data.keep(&wanted);
    let found = open_whole(data, &top.inside(TRAIN))?;
    Ok(Found {
        left_alone: Some(top.path.join(TEST)),
        ..found
    })
}

/// Class folders inside two folders; images elsewhere are left out.
fn open_parts(mut data: DataSet, top: &Root, held_out: &'static str) -> Result<Found, Error> {
    top.refuse_images_beside_parts(&data)?;
    let part_of = |data: &DataSet, entry_idx| match folders_of(data, entry_idx).get(top.depth) {
        Some(folder) if *folder == TRAIN => Some(Part::Train),
        Some(folder) if *folder == held_out => Some(Part::HeldOut),
        _ => None,
    };
    let wanted: Vec<bool> = (0..data.len())
        .map(|entry_idx| part_of(&data, entry_idx).is_some())
        .collect();
    data.keep(&wanted);
    let parts = (0..data.len()).filter_map(|entry_idx| part_of(&data, entry_idx));
    let parts: Vec<Part> = parts.collect();
    for (part, name) in [(Part::Train, TRAIN), (Part::HeldOut, held_out)] {
        let of_part = (0..data.len()).filter(|entry_idx| parts[*entry_idx] == part);
        let of_part: Vec<usize> = of_part.collect();
        top.inside(name).check(&data, &of_part)?;
    }
    Ok(Found {
        labels: labels(&data, top.depth + 1),
        data,
        parts: Some(parts),
        left_alone: None,
    })
}

/// The label of each image: its folder at a depth, which every image has.
fn labels(data: &DataSet, depth: usize) -> Collected {
    let mut labels = Collected::default();
    for entry_idx in 0..data.len() {
        labels.push(folders_of(data, entry_idx).get(depth).copied().into_iter());
    }
    labels
}

fn refuse_duplicates(data: &DataSet) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let mut names = (0..data.len()).map(|entry_idx| data.name(entry_idx));
    match names.find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::DuplicateImage {
            name: name.to_owned(),
        }),
    }
}

/// The folders that an image is in, below its source.
fn folders_of(data: &DataSet, entry_idx: usize) -> Vec<&str> {
    let parts = data.relative_name(entry_idx).split(is_separator);
    let mut parts: Vec<&str> = parts
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.pop();
    parts
}

/// A folder whose folders are classes, or thought to be.
struct Root {
    /// As an error names it.
    path: PathBuf,
    /// How many folders below the source it is.
    depth: usize,
    /// The same folder on disk: several for a pattern, none in an archive.
    on_disk: Vec<PathBuf>,
}

impl Root {
    /// The source itself, or the one folder in an archive that everything is in: archives are
    /// commonly made of a folder.
    fn top(spec: &str, data: &DataSet) -> Result<Self, Error> {
        let top = Self {
            path: PathBuf::from(spec),
            depth: 0,
            on_disk: DataSet::folders(spec)?,
        };
        // All images are in the folder of the first one, or there is no one folder.
        let first = folders_of(data, 0).first().map(|name| (*name).to_owned());
        match first {
            Some(first) if data.is_archived() && top.is_wrapper(data, &first) => {
                Ok(top.inside(&first))
            }
            _ => Ok(top),
        }
    }

    /// Whether all images are in folders inside this one folder.
    fn is_wrapper(&self, data: &DataSet, name: &str) -> bool {
        let mut folders = (0..data.len()).map(|entry_idx| folders_of(data, entry_idx));
        folders.all(|folders| folders.len() > self.depth + 1 && folders[self.depth] == name)
    }

    fn inside(&self, name: &str) -> Self {
        Self {
            path: self.path.join(name),
            depth: self.depth + 1,
            on_disk: self
                .on_disk
                .iter()
                .map(|folder| folder.join(name))
                .collect(),
        }
    }

    /// The folders with images, at any depth inside them.
    fn folders<'a>(&self, data: &'a DataSet) -> BTreeSet<&'a str> {
        let folders = (0..data.len()).map(|entry_idx| folders_of(data, entry_idx));
        let names = folders.filter_map(|folders| folders.get(self.depth).copied());
        names.collect()
    }

    fn is_direct(&self, data: &DataSet, entry_idx: usize) -> bool {
        folders_of(data, entry_idx).len() <= self.depth
    }

    /// The number of images outside of folders.
    fn n_direct(&self, data: &DataSet) -> usize {
        let all = 0..data.len();
        all.filter(|entry_idx| self.is_direct(data, *entry_idx))
            .count()
    }

    fn images_beside(&self, data: &DataSet, n_folders: usize) -> Error {
        let mut all = 0..data.len();
        let example = all.find(|entry_idx| self.is_direct(data, *entry_idx));
        Error::ImagesBesideClasses {
            path: self.path.clone(),
            n_images: self.n_direct(data),
            n_folders,
            example: example.map_or(String::new(), |entry_idx| data.name(entry_idx).to_owned()),
        }
    }

    /// Refuses images beside the folders of training and held-out images.
    fn refuse_images_beside_parts(&self, data: &DataSet) -> Result<(), Error> {
        if self.n_direct(data) > 0 {
            return Err(self.images_beside(data, 2));
        }
        Ok(())
    }

    /// Refuses a folder for held-out images that has none.
    fn refuse_empty_part(&self) -> Result<(), Error> {
        let folders = self.on_disk.iter();
        let mut parts = folders.flat_map(|folder| HELD_OUT.map(|part| (folder, part)));
        match parts.find(|(folder, part)| folder.join(part).is_dir()) {
            None => Ok(()),
            Some((folder, part)) => Err(Error::PartWithoutImages {
                path: folder.clone(),
                part,
            }),
        }
    }

    /// Refuses what does not look like classes.
    fn check(&self, data: &DataSet, entries: &[usize]) -> Result<(), Error> {
        let mut classes: BTreeMap<&str, Class> = BTreeMap::new();
        let mut n_direct = 0;
        for entry_idx in entries {
            let folders = folders_of(data, *entry_idx);
            let Some(class) = folders.get(self.depth) else {
                n_direct += 1;
                continue;
            };
            let class = classes.entry(class).or_default();
            match folders.get(self.depth + 1) {
                // Deeper than a class's folder: perhaps a class of a data set opened one folder too high.
                Some(folder) => _ = class.folders.insert(folder),
                None => class.has_images = true,
            }
        }
        if classes.is_empty() {
            return Err(Error::NoClassFolders {
                path: self.path.clone(),
                n_images: n_direct,
            });
        }
        if n_direct > 0 {
            return Err(self.images_beside(data, classes.len()));
        }
        self.refuse_nested(&classes)?;
        self.refuse_empty(&classes)
    }

    /// Refuses folders of folders, unless it is one and the same folder in all of them
    /// (`<class>/images/`).
    fn refuse_nested(&self, classes: &BTreeMap<&str, Class>) -> Result<(), Error> {
        let nested = || classes.iter().filter(|(_, class)| !class.has_images);
        let inside: BTreeSet<&str> = nested()
            .flat_map(|(_, class)| class.folders.iter().copied())
            .collect();
        match nested().next() {
            Some((name, class)) if inside.len() > 1 => Err(Error::NestedClasses {
                path: self.path.join(name),
                n_folders: class.folders.len(),
                examples: examples(class.folders.iter().copied()),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses folders on disk that no image is in.
    fn refuse_empty(&self, classes: &BTreeMap<&str, Class>) -> Result<(), Error> {
        // An archive has no empty folders to find; on disk, one is a class whose images went missing.
        for path in self.on_disk.iter().map(|folder| subfolders(folder)) {
            for (name, path) in path? {
                if !classes.contains_key(name.as_str()) {
                    let inside = fs::read_dir(&path).map_err(|e| unreadable(&path, e))?;
                    return Err(Error::ClassWithoutImages {
                        n_entries: inside.count(),
                        path,
                    });
                }
            }
        }
        Ok(())
    }
}

/// What is in a class's folder.
#[derive(Default)]
struct Class<'a> {
    has_images: bool,
    folders: BTreeSet<&'a str>,
}

/// The folders in a folder that are not passed over, by name; links are followed.
fn subfolders(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
        let entry = entry.map_err(|e| unreadable(folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if why_skipped(&name).is_none() && entry.path().is_dir() {
            found.insert(name, entry.path());
        }
    }
    Ok(found)
}
