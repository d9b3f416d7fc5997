//! Labels as people keep them, by the commands that read them.

use std::fmt::Write as _;
use std::fs;

use crate::drawn;
use crate::finetune::PLAIN;
use crate::sandbox::Sandbox;

/// A sandbox with a finished pre-training.
fn trained() -> Sandbox {
    let sandbox = Sandbox::with_photos(8);
    sandbox
        .pretrain("--data photos --set train.max_steps=2")
        .ok();
    sandbox
}

#[test]
fn what_a_source_of_labels_has_beside_its_parts_is_told_by_every_command() {
    let sandbox = trained();
    for (part, n) in [("Train", 6), ("valid", 3), ("test", 2), ("unsorted", 1)] {
        for (class, name) in drawn::CLASSES.iter().enumerate() {
            let folder = sandbox.path("divided").join(part).join(name);
            fs::create_dir_all(&folder).unwrap();
            for idx in 0..n {
                let path = folder.join(format!("{idx}.png"));
                drawn::labelled(class, idx).save(path).unwrap();
            }
        }
    }
    let finetune =
        format!("finetune --data divided --from run --out labels --set train.max_steps=2 {PLAIN}");
    for words in [
        finetune.as_str(),
        "evaluate --from labels --data divided",
        "knn --from run --data divided --k 1",
        "probe --from run --data divided --lambda 0.1",
    ] {
        let ran = sandbox.simmim(words).ok();
        assert!(
            ran.stderr.contains("divided/test is left alone (6 images)"),
            "{ran:?}"
        );
        assert!(
            ran.stderr.contains("divided/unsorted is used for nothing (3 images): the held-out images are those of valid"),
            "{ran:?}"
        );
    }
    let log = fs::read_to_string(sandbox.path("labels/log.txt")).unwrap();
    assert!(log.contains("unsorted is used for nothing"), "{log}");
}

#[test]
fn as_many_classes_as_are_asked_for_are_allowed() {
    let sandbox = trained();
    let folder = sandbox.path("faces");
    fs::create_dir_all(&folder).unwrap();
    let mut rows = "path,label,split\n".to_owned();
    for idx in 0..20 {
        drawn::photo(idx)
            .save(folder.join(format!("{idx}.png")))
            .unwrap();
        let (face, part) = (
            idx / 4 * 3 + (idx % 4).min(2),
            if idx % 4 == 3 { "val" } else { "train" },
        );
        writeln!(rows, "{idx}.png,face{face},{part}").unwrap();
    }
    fs::write(folder.join("faces.csv"), rows).unwrap();
    let knn = "knn --from run --data faces/faces.csv --k 1";
    sandbox
        .simmim(knn)
        .fails(1, &["15 classes for 20 images", "--max-classes"]);
    sandbox.simmim(&format!("{knn} --max-classes 15")).ok();
    sandbox
        .simmim(&format!("{knn} --max-classes 14"))
        .fails(1, &["expected at most 14"]);
    let finetune = format!(
        "finetune --from run --data faces/faces.csv --out faces/run --set train.max_steps=1 {PLAIN}"
    );
    sandbox
        .simmim(&format!("{finetune} --set finetune.max_classes=20"))
        .ok();
}
