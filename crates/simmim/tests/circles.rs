//! No two files of a crate need each other, at any remove: whoever reads one knows what to read first.
//!
//! A file needs what its `use` and its paths name, tests left out. A path leads to the deepest module that it names, so a name that a
//! `mod.rs` passes on is that file's: within a folder, files name each other and not their `mod.rs`.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Crates without a circle.
const CRATES: [&str; 20] = [
    "simmim-autograd",
    "simmim-backend",
    "simmim-collective",
    "simmim-config",
    "simmim-cpu",
    "simmim-cuda",
    "simmim-device",
    "simmim-eval",
    "simmim-model",
    "simmim-mpi",
    "simmim-onnx",
    "simmim-pack",
    "simmim-picture",
    "simmim-pth",
    "simmim-random",
    "simmim-report",
    "simmim-sweep",
    "simmim-tcp",
    "simmim-train",
    "simmim-weights",
];

/// The way to a module from its crate; the crate itself has none.
type Module = Vec<String>;

#[test]
fn no_files_of_a_crate_need_each_other_in_a_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in CRATES {
        let sources = sources(&crates.join(name).join("src"));
        assert!(!sources.is_empty(), "{name} has no sources");
        let circle = circle(&arrows(&sources));
        assert!(
            circle.is_none(),
            "{name}: a circle of files: {}",
            circle.unwrap().join(" -> ")
        );
    }
}

#[test]
fn a_circle_is_found_and_a_tree_has_none() {
    let found = |sources: &[(&str, &str)]| {
        let sources = sources
            .iter()
            .map(|(module, text)| (path_of(module), code_of(text)))
            .collect();
        circle(&arrows(&sources))
    };
    let tree = [
        ("", "mod a; mod b; pub use a::A;"),
        ("a", "mod c; use c::C; use crate::b::{self, B};"),
        ("a::c", "//! crate::a\nuse super::super::b::B;"),
        (
            "b",
            "fn f() {}\n#[cfg(test)]\nmod tests { use crate::a::A; }",
        ),
    ];
    assert_eq!(found(&tree), None);
    let by_use = [("", "mod a; mod b;"), ("a", "use crate::b::B;")];
    for (text, is_circle) in [
        ("use super::{c, a::A};", true),
        ("fn f() -> crate::a::A {}", true),
        ("use crate::{\n    c::C,\n    a::{x, y},\n};", true),
        ("use a::A;", false),
        ("// crate::a::A", false),
    ] {
        let sources = [&by_use[..], &[("b", text)]].concat();
        assert_eq!(found(&sources).is_some(), is_circle, "{text}");
    }
    let through_parent = [
        ("", "mod a;"),
        ("a", "mod b; fn f() { b::g() }"),
        ("a::b", "use super::X;"),
    ];
    assert_eq!(
        found(&through_parent),
        Some(vec!["a".to_owned(), "a::b".to_owned(), "a".to_owned()])
    );
}

fn path_of(name: &str) -> Module {
    let parts = name.split("::").filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The code of each file of a crate, by the module that it is.
fn sources(folder: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    collect(folder, &Vec::new(), &mut found);
    found
}

fn collect(folder: &Path, module: &Module, found: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut inner = module.clone();
        if path.is_dir() {
            inner.push(stem);
            collect(&path, &inner, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            if !["lib", "mod"].contains(&&*stem) {
                inner.push(stem);
            }
            let text = fs::read_to_string(&path).unwrap();
            found.insert(inner, code_of(&text));
        }
    }
}

/// A source without its tests and comments.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code = code.split("#[cfg(test)]\npub(crate) mod tests").next();
    let lines = code.unwrap().lines();
    let lines = lines.map(|line| line.split("//").next().unwrap());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The modules that each module names.
fn arrows(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let target = |from: &Module, path: &[String]| resolve(from, path, sources);
    let of = |from: &Module, code: &str| {
        let paths = paths(code);
        let targets = paths.iter().filter_map(|path| target(from, path));
        targets.filter(|to| to != from).collect()
    };
    sources
        .iter()
        .map(|(module, code)| (module.clone(), of(module, code)))
        .collect()
}

/// The deepest module that a path names; `None` where it leads out of the crate.
fn resolve(from: &Module, path: &[String], sources: &BTreeMap<Module, String>) -> Option<Module> {
    let mut rest = path.iter().peekable();
    let mut module = from.clone();
    match path.first()?.as_str() {
        "crate" => {
            rest.next();
            module.clear();
        }
        "super" => {
            while rest.next_if(|part| *part == "super").is_some() {
                module.pop();
            }
        }
        "self" => {
            rest.next();
        }
        name => {
            module.push(name.to_owned());
            if !sources.contains_key(&module) {
                return None;
            }
            rest.next();
        }
    }
    for part in rest {
        module.push(part.clone());
        if !sources.contains_key(&module) {
            module.pop();
            break;
        }
    }
    Some(module)
}

/// All paths of two names and more, those of groups in braces written out.
fn paths(code: &str) -> Vec<Module> {
    let mut tokens = tokens(code).into_iter().peekable();
    let mut found = Vec::new();
    while let Some(token) = tokens.next() {
        if is_name(&token) && tokens.peek().is_some_and(|next| next == "::") {
            tree(vec![token], &mut tokens, &mut found);
        }
    }
    found
}

/// Reads what follows a name: more names, or a group of them.
fn tree(
    mut path: Module,
    tokens: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
    found: &mut Vec<Module>,
) {
    while tokens.next_if(|token| token == "::").is_some() {
        if tokens.next_if(|token| token == "{").is_some() {
            while let Some(token) = tokens.next() {
                match token.as_str() {
                    "}" => return,
                    "self" => found.push(path.clone()),
                    name if is_name(name) => {
                        tree([&path[..], &[token]].concat(), tokens, found);
                    }
                    _ => {}
                }
            }
        }
        match tokens.next_if(|token| is_name(token)) {
            Some(name) => path.push(name),
            None => break,
        }
    }
    found.push(path);
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single characters.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if is_name(rest) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            end.unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    tokens
}

/// A way along the arrows that comes back to where it began.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    arrows
        .keys()
        .find_map(|from| walk(from, arrows, &mut Vec::new(), &mut done))
}

fn walk(
    at: &Module,
    arrows: &BTreeMap<Module, BTreeSet<Module>>,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|module| module == at) {
        let round = way[start..].iter().chain([at]);
        let name = |module: &Module| match &module[..] {
            [] => "lib".to_owned(),
            parts => parts.join("::"),
        };
        return Some(round.map(name).collect());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at.clone());
    let found = arrows[at].iter().find_map(|to| walk(to, arrows, way, done));
    way.pop();
    done.insert(at.clone());
    found
}
