//! The page: its frame, then one module a tab.

mod classifier;
mod data;
mod overview;
mod parts;
mod patches;
mod pictures;
mod plots;

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::content::{Comparison, Report};
use crate::escape;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// A tab: what the page shows under one name.
struct Tab {
    /// In the page's addresses.
    id: &'static str,
    title: &'static str,
    html: String,
}

impl Report {
    /// The page.
    pub fn to_html(&self) -> String {
        let mut tabs = vec![
            Tab {
                id: "overview",
                title: "Overview",
                html: overview::of_run(self),
            },
            Tab {
                id: "curves",
                title: "Curves",
                html: plots::tab(&self.plots),
            },
            Tab {
                id: "data",
                title: "Images",
                html: data::tab(&self.data, &self.batch),
            },
        ];
        if !self.shots.is_empty() {
            tabs.push(Tab {
                id: "pictures",
                title: "Reconstructions",
                html: pictures::tab(&self.shots),
            });
        }
        tabs.push(Tab {
            id: "features",
            title: "Features",
            html: patches::tab(self),
        });
        if let Some(labels) = &self.labels {
            tabs.push(Tab {
                id: "labels",
                title: "Labels",
                html: classifier::tab(labels),
            });
        }
        let data = json!({
            "plots": plots::data(&self.plots),
            "looks": patches::data(&self.looks),
        });
        frame(&self.name, &self.program, &tabs, &data)
    }
}

impl Comparison {
    /// The page.
    pub fn to_html(&self) -> String {
        let tabs = [
            Tab {
                id: "overview",
                title: "Overview",
                html: overview::of_several(self),
            },
            Tab {
                id: "curves",
                title: "Curves",
                html: plots::tab(&self.plots),
            },
        ];
        let data = json!({"plots": plots::data(&self.plots), "looks": []});
        let title = format!("{} runs side by side", self.runs.len());
        frame(&title, &self.program, &tabs, &data)
    }
}

/// What stands around the tabs. The policy names the page's own style and script by what they hold; nothing else is run, and nothing is
/// fetched, whatever a text says.
fn frame(title: &str, program: &str, tabs: &[Tab], data: &Value) -> String {
    let (title, program) = (escape::text(title), escape::text(program));
    let (style, script) = (fingerprint(STYLE), fingerprint(SCRIPT));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src '{style}'; \
         script-src '{script}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<header><h1>{title}</h1><p>{program}</p></header>\n<nav role=\"tablist\">"
    );
    for Tab { id, title, .. } in tabs {
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "<button type=\"button\" role=\"tab\" id=\"tab-{id}\" aria-controls=\"{id}\">{title}</button>"
        );
    }
    page.push_str("</nav>\n<main>\n");
    for Tab { id, title, html } in tabs {
        let _ = write!(
            page,
            "<section id=\"{id}\" role=\"tabpanel\" aria-labelledby=\"tab-{id}\">\n<h2>{title}</h2>\n{html}</section>\n"
        );
    }
    let data = escape::json(data);
    let _ = write!(
        page,
        "</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n<script type=\"application/json\" id=\"page-data\">{data}</script>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

/// What a policy calls the inside of an element by.
fn fingerprint(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Fact, Kind, Part, Setting};

    #[test]
    fn the_page_asks_nothing_of_any_network_and_runs_its_own_script_alone() {
        let page = Report::empty(Kind::FineTuning).to_html();
        for text in [
            "http://", "https://", "//cdn", "@import", "url(", " src=\"/", " onclick",
        ] {
            // The namespace of drawings is a name, and nothing is fetched from it.
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(text), "{text}");
        }
        assert!(page.contains("default-src 'none'") && page.contains(&fingerprint(SCRIPT)));
        // No text of the script ends its element.
        assert_eq!(page.matches("</script>").count(), 2);
        assert_eq!(page.matches("</style>").count(), 1);
    }

    #[test]
    fn names_of_any_kind_are_text_wherever_they_stand() {
        let hostile = "</script><script>alert(1)</script>\"' onload=x \u{202e}\n";
        let report = Report {
            name: hostile.to_owned(),
            facts: vec![Fact::new(hostile, hostile)],
            notes: vec![hostile.to_owned()],
            settings: vec![Setting {
                key: hostile.to_owned(),
                value: hostile.to_owned(),
                usual: Some(hostile.to_owned()),
            }],
            batch: Part::Missing(hostile.to_owned()),
            ..Report::empty(Kind::PreTraining)
        };
        let page = report.to_html();
        assert!(!page.contains("<script>alert") && !page.contains('\u{202e}'));
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(
            page.matches("&lt;/script&gt;&lt;script&gt;alert(1)")
                .count()
                >= 8
        );
    }
}
