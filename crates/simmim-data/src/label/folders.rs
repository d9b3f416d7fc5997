//! Labels from the names of folders.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf, is_separator};

use super::role::{Role, known, rank};
use super::{Collected, Found, Part, Remark, TestFolder, beside, examples};
use crate::Error;
use crate::source::{DataSet, Only, Opening, unreadable, why_skipped};

/// Names of folders that hold the images of a part beside something else, as in data sets for detection.
const IMAGE_FOLDERS: [&str; 8] = [
    "images",
    "image",
    "imgs",
    "img",
    "jpegimages",
    "pictures",
    "photos",
    "frames",
];

pub(super) fn open(spec: &str, only: &Only, test: TestFolder) -> Result<Found, Error> {
    let (data, labels) = DataSet::open_with_labels(
        spec,
        Opening {
            only: only.clone(),
            watch: None,
        },
    )?;
    // Before the division: the same image could otherwise be trained on and held out.
    refuse_duplicates(&data)?;
    let top = Root::top(spec, &data)?;
    top.refuse_unreadable(&data, 0..data.len())?;
    let folders = top.folders(&data);
    if beside::decides(&data, &labels, !folders.is_empty()) {
        return beside::open(data, &labels);
    }
    let Some(parts) = Parts::of(&top, &folders)? else {
        return open_whole(data, &top);
    };
    top.refuse_images_beside_parts(&data)?;
    let held_out = parts.held_out(test);
    let remarks = parts.unused(&top, &folders, held_out.as_deref());
    let found = match held_out {
        Some(held_out) => open_parts(data, &top, [&parts.train, &held_out])?,
        // A folder "train" alone is no class: its folders are the classes.
        None => open_train(data, &top, &parts)?,
    };
    Ok(Found { remarks, ..found })
}

/// How many images are in a folder.
#[derive(Debug, Default, Clone, Copy)]
struct Contents {
    /// Directly.
    direct: usize,
    /// In folders inside.
    nested: usize,
}

/// The folders of a data set that its owner has divided.
struct Parts {
    train: String,
    /// Those to choose by, the preferred first.
    validation: Vec<String>,
    test: Vec<String>,
    /// Folders that are no part.
    others: Vec<String>,
}

impl Parts {
    /// The parts among the folders of `top`, which are named by the convention; `None` where the folders are classes.
    fn of(top: &Root, folders: &BTreeMap<String, Contents>) -> Result<Option<Self>, Error> {
        let of_role = |role: Option<Role>| -> Vec<String> {
            let names = folders.keys().filter(|name| Role::of(name) == role);
            let mut names: Vec<String> = names.cloned().collect();
            // A stable sort: names of one rank, which differ in their case, stay in their order.
            names.sort_by_key(|name| rank(name));
            names
        };
        let (train, others) = (of_role(Some(Role::Train)), of_role(None));
        let holds_classes = |name: &String| folders[name].nested > 0;
        let mut held_out = folders.keys().filter(|name| {
            matches!(Role::of(name), Some(Role::Validation | Role::Test)) && holds_classes(name)
        });
        let has_held_out = held_out.next().is_some();
        // One with images of its own is a class that has folders inside, unless another part shows what it is.
        let is_divided = train
            .iter()
            .any(|name| holds_classes(name) && (has_held_out || folders[name].direct == 0));
        // Where every folder is called as a part is, none is a class.
        if !is_divided && (!others.is_empty() || folders.is_empty()) {
            return Ok(None);
        }
        let parts = Self {
            validation: of_role(Some(Role::Validation)),
            test: of_role(Some(Role::Test)),
            others,
            train: match &train[..] {
                [train] => train.clone(),
                [] => return Err(top.no_part("train", folders)),
                [..] => {
                    return Err(Error::TwoTrainingParts {
                        path: top.path.clone(),
                        found: train.join(" and "),
                    });
                }
            },
        };
        let is_alone = parts.validation.is_empty() && parts.test.is_empty();
        if is_alone {
            // First: such a folder is likely the one that was meant.
            top.refuse_empty_part()?;
            if !parts.others.is_empty() {
                return Err(top.no_part("val", folders));
            }
        }
        Ok(Some(parts))
    }

    /// The folder whose images are held out; none where they are a share of the training images.
    fn held_out(&self, test: TestFolder) -> Option<String> {
        let of_test = self.test.iter().filter(|_| test == TestFolder::HeldOut);
        self.validation.iter().chain(of_test).next().cloned()
    }

    /// What is said of folders that nothing is done with.
    fn unused(
        &self,
        top: &Root,
        folders: &BTreeMap<String, Contents>,
        held_out: Option<&str>,
    ) -> Vec<Remark> {
        let all = self.validation.iter().chain(&self.test).chain(&self.others);
        let unused = all.filter(|name| Some(name.as_str()) != held_out);
        let told = unused.map(|name| {
            let folder = top.path.join(name).display().to_string();
            let n_images = folders[name].direct + folders[name].nested;
            if self.test.contains(name) {
                return Remark::TestUnused {
                    part: folder,
                    n_images,
                };
            }
            Remark::FolderUnused {
                folder,
                n_images,
                held_out: held_out
                    .map_or_else(|| format!("a share of {}", self.train), ToOwned::to_owned),
            }
        });
        told.collect()
    }
}

/// Class folders that are not divided.
fn open_whole(data: DataSet, root: &Root) -> Result<Found, Error> {
    let entries: Vec<usize> = (0..data.len()).collect();
    root.check(&data, &entries)?;
    let folders = root.folders(&data);
    let named = folders.keys().filter(|name| Role::of(name).is_some());
    let names: Vec<&str> = named.map(String::as_str).collect();
    let remark = Remark::PartsAsClasses {
        names: names.join(", "),
    };
    Ok(Found {
        remarks: (!names.is_empty()).then_some(remark).into_iter().collect(),
        labels: labels(&data, root.depth),
        data,
        parts: None,
    })
}

/// The class folders of the training images; images elsewhere are left out.
fn open_train(mut data: DataSet, top: &Root, parts: &Parts) -> Result<Found, Error> {
    keep_inside(&mut data, top, &[&parts.train]);
    // From here on entries are numbered anew, and labels are collected after that.
    let root = top.inside(&parts.train);
    let entries: Vec<usize> = (0..data.len()).collect();
    root.check(&data, &entries)?;
    Ok(Found {
        labels: labels(&data, root.depth),
        data,
        parts: None,
        remarks: Vec::new(),
    })
}

/// Class folders inside two folders, those of the training and of the held-out images; images elsewhere are left out.
fn open_parts(mut data: DataSet, top: &Root, names: [&str; 2]) -> Result<Found, Error> {
    keep_inside(&mut data, top, &names);
    let part_of = |entry_idx| {
        let folders = folders_of(&data, entry_idx);
        if folders[top.depth] == names[0] {
            Part::Train
        } else {
            Part::HeldOut
        }
    };
    let parts: Vec<Part> = (0..data.len()).map(part_of).collect();
    for (part, name) in [Part::Train, Part::HeldOut].into_iter().zip(names) {
        let of_part = (0..data.len()).filter(|entry_idx| parts[*entry_idx] == part);
        let of_part: Vec<usize> = of_part.collect();
        top.inside(name).check(&data, &of_part)?;
    }
    Ok(Found {
        labels: labels(&data, top.depth + 1),
        data,
        parts: Some(parts),
        remarks: Vec::new(),
    })
}

/// Keeps the images in these folders of `top`.
fn keep_inside(data: &mut DataSet, top: &Root, names: &[&str]) {
    let is_wanted = |entry_idx| {
        let folders = folders_of(data, entry_idx);
        folders
            .get(top.depth)
            .is_some_and(|name| names.contains(name))
    };
    let wanted: Vec<bool> = (0..data.len()).map(is_wanted).collect();
    data.keep(&wanted);
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

    /// The folders with images, at any depth inside them, and how many.
    fn folders(&self, data: &DataSet) -> BTreeMap<String, Contents> {
        let mut found: BTreeMap<String, Contents> = BTreeMap::new();
        for entry_idx in 0..data.len() {
            let folders = folders_of(data, entry_idx);
            let Some(name) = folders.get(self.depth) else {
                continue;
            };
            if !found.contains_key(*name) {
                found.insert((*name).to_owned(), Contents::default());
            }
            if let Some(contents) = found.get_mut(*name) {
                let is_direct = folders.len() == self.depth + 1;
                contents.direct += usize::from(is_direct);
                contents.nested += usize::from(!is_direct);
            }
        }
        found
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

    /// Refuses what cannot be read where class folders are: it may be one.
    fn refuse_unreadable(
        &self,
        data: &DataSet,
        entries: impl IntoIterator<Item = usize>,
    ) -> Result<(), Error> {
        let refused = |idx| data.refusal(idx).filter(|_| self.is_direct(data, idx));
        entries.into_iter().find_map(refused).map_or(Ok(()), Err)
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
        for folder in &self.on_disk {
            let names = subfolders(folder)?.into_keys();
            let mut held_out =
                names.filter(|name| Role::of(name).is_some_and(|role| role != Role::Train));
            if let Some(part) = held_out.find_map(|name| known(&name)) {
                return Err(Error::PartWithoutImages {
                    path: folder.clone(),
                    part,
                });
            }
        }
        Ok(())
    }

    /// That a data set is divided, and has no part of that name.
    fn no_part(&self, part: &'static str, folders: &BTreeMap<String, Contents>) -> Error {
        Error::NoSuchPart {
            path: self.path.clone(),
            part,
            found: examples(folders.keys().map(String::as_str)),
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
        self.refuse_unreadable(data, entries.iter().copied())?;
        if classes.is_empty() {
            return Err(Error::NoClassFolders {
                path: self.path.clone(),
                n_images: n_direct,
            });
        }
        if n_direct > 0 {
            return Err(self.images_beside(data, classes.len()));
        }
        self.refuse_folder_of_images(&classes)?;
        self.refuse_nested(&classes)?;
        self.refuse_empty(&classes)
    }

    /// Refuses a single folder that is called after what it holds: nothing says what the images show.
    fn refuse_folder_of_images(&self, classes: &BTreeMap<&str, Class>) -> Result<(), Error> {
        match classes.first_key_value() {
            Some((name, class))
                if classes.len() == 1
                    && class.has_images
                    && IMAGE_FOLDERS
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(name)) =>
            {
                Err(Error::FolderOfImages {
                    path: self.path.join(name),
                })
            }
            _ => Ok(()),
        }
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
