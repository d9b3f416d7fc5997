//! Puts the sample photographs into the binary, for `simmim demo`.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let photos = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../samples/photos");
    println!("cargo::rerun-if-changed={}", photos.display());
    let listed = fs::read_dir(&photos).map_err(|error| format!("{}: {error}", photos.display()))?;
    let mut files = Vec::new();
    for entry in listed {
        let path = entry?.path().canonicalize()?;
        if path.extension().is_some_and(|extension| extension == "jpg") {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    files.sort();
    let mut code = String::from("&[\n");
    for path in &files {
        let name = path.file_name().unwrap_or_default().display().to_string();
        let path = path.display().to_string();
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),")?;
    }
    code.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("photos.rs"), code)?;
    Ok(())
}
