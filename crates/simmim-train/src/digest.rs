//! In what the images of a run differ from those that it began with.

use serde::{Deserialize, Serialize};
use simmim_data::DataSet;

use crate::error::Error;

/// What a checkpoint keeps of the run's images, beside their fingerprint: enough to say in what others differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesDigest {
    n_images: u64,
    n_bytes: u64,
    /// A sum over the names, in any order.
    names: u64,
    /// A sum over names and sizes, in any order.
    files: u64,
    /// The name of the first image, from the place of the data set on.
    first: String,
}

impl ImagesDigest {
    pub(crate) fn of(data: &DataSet) -> Self {
        let digest = data.digest();
        Self {
            n_images: data.len() as u64,
            n_bytes: digest.n_bytes,
            names: digest.names,
            files: digest.files,
            first: digest.first,
        }
    }

    /// In what the images of `now`, which are not the same, differ: the coarsest first.
    pub(crate) fn difference(&self, now: &Self) -> Error {
        let changed = |what: &str, expected: String, found: String| Error::Changed {
            what: what.to_owned(),
            expected,
            found,
        };
        if self.n_images != now.n_images {
            let [before, now] = [self, now].map(|own| own.n_images.to_string());
            return changed("the number of images", before, now);
        }
        if self.first != now.first {
            return changed(
                "the name of the first image",
                self.first.clone(),
                now.first.clone(),
            );
        }
        if self.names != now.names {
            let [before, now] = [self, now].map(|own| format!("{:016x}", own.names));
            return changed("the sum of the names of the images", before, now);
        }
        if self.n_bytes != now.n_bytes {
            let [before, now] = [self, now].map(|own| own.n_bytes.to_string());
            return changed("the size of all images in bytes", before, now);
        }
        if self.files != now.files {
            let [before, now] = [self, now].map(|own| format!("{:016x}", own.files));
            return changed("the sum of the sizes of the images", before, now);
        }
        changed(
            "the order of the images, or of their labels or parts,",
            "another".to_owned(),
            "that which was found".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarsest_difference_is_named() {
        let before = ImagesDigest {
            n_images: 3,
            n_bytes: 30,
            names: 5,
            files: 7,
            first: "cat/0.png".to_owned(),
        };
        let said = |change: &dyn Fn(&mut ImagesDigest)| {
            let mut now = before.clone();
            change(&mut now);
            before.difference(&now).to_string()
        };
        assert!(
            said(&|now| (now.n_images, now.names) = (4, 6))
                .ends_with("the number of images was 3, now it is 4")
        );
        let wrapped = said(&|now| (now.first, now.names) = ("pets/cat/0.png".to_owned(), 6));
        assert!(
            wrapped.ends_with("was cat/0.png, now it is pets/cat/0.png"),
            "{wrapped}"
        );
        assert!(said(&|now| now.names = 6).contains("names"));
        assert!(
            said(&|now| (now.n_bytes, now.files) = (31, 8))
                .contains("in bytes was 30, now it is 31")
        );
        assert!(said(&|now| now.files = 8).contains("sizes"));
        assert!(said(&|_| ()).contains("the order"));
    }
}
