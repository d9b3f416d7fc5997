//! Folders that `simmim pack` has written: shards, and a file that says which.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::unreadable;
use crate::Error;

/// The file that says what a folder of shards holds.
pub const MANIFEST: &str = "pack.json";
/// The table of labels beside the shards, where they were made of a table.
pub const TABLE: &str = "labels.csv";

/// The shards of a folder, in their order; `None` where it is a folder like any other.
pub(super) fn shards(folder: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let Some(manifest) = manifest(folder)? else {
        return Ok(None);
    };
    let wrong = |reason: &str| Error::PackManifest {
        path: folder.join(MANIFEST),
        reason: reason.to_owned(),
    };
    let listed = manifest["shards"].as_array();
    let listed = listed.ok_or_else(|| wrong("it has no list `shards`"))?;
    let path_of = |shard: &Value| {
        let name = shard["name"].as_str().filter(|name| is_file_name(name));
        name.map(|name| folder.join(name))
    };
    let paths: Option<Vec<PathBuf>> = listed.iter().map(path_of).collect();
    paths
        .map(Some)
        .ok_or_else(|| wrong("a shard has no name that a file could have"))
}

/// The table of labels of such a folder, where it has one.
pub(crate) fn table(folder: &Path) -> Result<Option<PathBuf>, Error> {
    let has_table = manifest(folder)?.is_some_and(|manifest| manifest["table"] == TABLE);
    Ok(has_table.then(|| folder.join(TABLE)))
}

fn manifest(folder: &Path) -> Result<Option<Value>, Error> {
    let path = folder.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(|source| unreadable(&path, source))?;
    let manifest: Value = match serde_json::from_slice(&bytes) {
        Ok(manifest) => manifest,
        Err(error) => {
            return Err(Error::PackManifest {
                path,
                reason: error.to_string(),
            });
        }
    };
    // Another program's file of that name says nothing of shards.
    if !manifest["simmim_pack"].is_string() {
        return Ok(None);
    }
    if manifest["finished"] != true {
        return Err(Error::PackUnfinished {
            path: folder.to_owned(),
        });
    }
    Ok(Some(manifest))
}

/// Whether a name is that of a file in the folder, and leads nowhere else.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != ".." && name != "." && !name.contains(['/', '\\', '\0'])
}
