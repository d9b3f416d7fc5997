//! What a data set is like, by `simmim survey`.

use std::fs;

use image::imageops::FilterType;
use serde_json::Value;

use crate::drawn;
use crate::sandbox::Sandbox;

/// A folder with copies of all kinds, and a damaged file.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_photos(8);
    let photo = |name: &str| sandbox.path("photos").join(name);
    fs::copy(photo("003.png"), photo("same.png")).unwrap();
    // The same to the eye: another size and another format.
    let smaller = image::imageops::resize(&drawn::photo(5), 40, 30, FilterType::Lanczos3);
    smaller.save(photo("alike.jpg")).unwrap();
    let bytes = fs::read(photo("000.png")).unwrap();
    fs::write(photo("short.png"), &bytes[..bytes.len() / 2]).unwrap();
    sandbox
}

fn surveyed(sandbox: &Sandbox, words: &str) -> Value {
    let ran = sandbox.simmim(&format!("survey {words} --json")).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn twins_unreadable_images_and_the_choice_are_told() {
    let sandbox = sandbox();
    let found = surveyed(&sandbox, "photos");
    assert_eq!(
        found["same_bytes"],
        serde_json::json!([["photos/003.png", "photos/same.png"]])
    );
    assert_eq!(
        found["look_the_same"],
        serde_json::json!([["photos/005.png", "photos/alike.jpg"]])
    );
    let set = &found["sets"][0];
    assert_eq!(
        (&set["n_images"], &set["formats"]["JPEG"]),
        (&Value::from(11), &Value::from(1))
    );
    assert_eq!(set["unreadable"][0]["name"], "photos/short.png");
    assert_eq!(set["statistics"].as_array().unwrap().len(), 3);
    assert!(
        found["pretrain"]["toml"]
            .as_str()
            .unwrap()
            .contains("variant = \"vit-t/")
    );
    let told = sandbox.simmim("survey photos").ok().stdout;
    for said in [
        "images        11 in photos",
        "formats       9 PNG, 1 JPEG",
        "1 groups, 1 images too many: photos/003.png = photos/same.png",
        "photos/005.png = photos/alike.jpg",
        "first photos/short.png",
        "pretrain      images: ",
    ] {
        let flat: String = told.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&said), "no `{said}` in {told}");
    }
    // A terminal of 50 columns has lines of 50 columns.
    let mut narrow = sandbox.command("survey photos");
    let narrow = String::from_utf8(narrow.env("COLUMNS", "50").output().unwrap().stdout).unwrap();
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 50),
        "{narrow}"
    );
}

#[test]
fn images_that_are_in_two_parts_are_told() {
    let sandbox = Sandbox::with_labels(3);
    let photo = drawn::photo(1);
    for place in ["val", "train"] {
        fs::create_dir(sandbox.path(place)).unwrap();
        photo.save(sandbox.path(place).join("twin.png")).unwrap();
    }
    drawn::photo(2).save(sandbox.path("train/own.png")).unwrap();
    let found = surveyed(&sandbox, "train val");
    assert_eq!(
        found["across_parts"],
        serde_json::json!([["train/twin.png", "val/twin.png"]])
    );
    let told = sandbox.simmim("survey train val").ok().stdout;
    assert!(told.contains("WARNING"), "{told}");
    // A source that divides its own images, with the classes.
    let split = sandbox.path("split");
    for (part, names) in [("train", ["a", "b"]), ("val", ["a", "b"])] {
        for (at, name) in names.into_iter().enumerate() {
            let class = split.join(part).join(name);
            fs::create_dir_all(&class).unwrap();
            let first = if part == "train" { 10 } else { 20 };
            drawn::photo(first + at)
                .save(class.join("own.png"))
                .unwrap();
        }
    }
    drawn::photo(10).save(split.join("val/b/leak.png")).unwrap();
    let found = surveyed(&sandbox, "split");
    let leak = found["across_parts"][0].as_array().unwrap();
    assert!(
        leak.iter()
            .any(|name| name.as_str().unwrap().ends_with("leak.png")),
        "{found}"
    );
    let classes = found["sets"][0]["classes"].as_array().unwrap();
    assert_eq!(classes[1], serde_json::json!({"name": "b", "n_images": 3}));
}

#[test]
fn the_sheet_is_drawn_and_replaced_only_when_that_is_asked_for() {
    let sandbox = sandbox();
    sandbox
        .simmim("survey photos --out sheet.png --sample 6")
        .ok();
    let sheet = image::open(sandbox.path("sheet.png")).unwrap();
    // Six thumbnails or five, with their names.
    assert!(sheet.width() > 2 * 192 && sheet.height() > 192);
    sandbox
        .simmim("survey photos --out sheet.bmp")
        .fails(2, &["sheet.bmp"]);
    sandbox
        .simmim("survey photos --out sheet.png")
        .fails(2, &["sheet.png is there already", "--overwrite"]);
    sandbox
        .simmim("survey photos --out sheet.png --overwrite")
        .ok();
    sandbox.simmim("survey nothing").fails(1, &["nothing"]);
}

#[test]
fn what_is_kept_of_a_survey_is_what_a_later_one_says_and_new_images_are_looked_at() {
    let sandbox = sandbox();
    let whole = surveyed(&sandbox, "photos");
    assert_eq!(surveyed(&sandbox, "photos --keep kept"), whole);
    // As after a kill: some of the images, and half a line.
    let kept = fs::read(sandbox.path("kept")).unwrap();
    let ends = kept.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let half = ends.map(|(at, _)| at).nth(5).unwrap() + 20;
    fs::write(sandbox.path("kept"), &kept[..half]).unwrap();
    assert_eq!(surveyed(&sandbox, "photos --keep kept"), whole);
    assert_eq!(fs::read(sandbox.path("kept")).unwrap().len(), kept.len());
    // Images that are kept are not read again: this one's bytes are others, its size is not.
    let one = sandbox.path("photos/002.png");
    let mut bytes = fs::read(&one).unwrap();
    bytes.fill(0);
    fs::write(&one, &bytes).unwrap();
    assert_eq!(surveyed(&sandbox, "photos --keep kept"), whole);
    bytes.push(0);
    fs::write(&one, &bytes).unwrap();
    let now = surveyed(&sandbox, "photos --keep kept");
    assert_eq!(now["sets"][0]["unreadable"].as_array().unwrap().len(), 2);
    sandbox
        .simmim("survey photos --keep kept --set data.exif=upright")
        .fails(1, &["line 1 of kept", "Upright", "hint:"]);
    fs::write(sandbox.path("mine.txt"), "my notes\n").unwrap();
    sandbox
        .simmim("survey photos --keep mine.txt")
        .fails(1, &["line 1 of mine.txt", "hint:"]);
    let notes = fs::read_to_string(sandbox.path("mine.txt")).unwrap();
    assert_eq!(notes, "my notes\n");
    sandbox
        .simmim("survey photos --keep nowhere/kept")
        .fails(1, &["nowhere/kept"]);
}
