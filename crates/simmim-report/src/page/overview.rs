//! What was asked, what was chosen, what came of it.

use std::fmt::Write as _;

use crate::content::{Comparison, Fact, Report, Setting};
use crate::escape;

pub(super) fn of_run(report: &Report) -> String {
    let mut html = facts(&report.facts);
    if !report.notes.is_empty() {
        html.push_str("<h3>What was chosen, and why</h3>\n<ul>");
        for note in &report.notes {
            let _ = write!(html, "<li>{}</li>", escape::text(note));
        }
        html.push_str("</ul>\n");
    }
    let (changed, usual): (Vec<&Setting>, Vec<&Setting>) = report
        .settings
        .iter()
        .partition(|setting| setting.usual.is_some());
    if !changed.is_empty() {
        html.push_str("<h3>Settings that are not the defaults</h3>\n");
        html += &settings(&changed);
    }
    if !usual.is_empty() {
        let _ = write!(
            html,
            "<details><summary>The other {} settings</summary>\n{}</details>\n",
            usual.len(),
            settings(&usual)
        );
    }
    html
}

pub(super) fn of_several(comparison: &Comparison) -> String {
    let mut html =
        "<h3>What came of them</h3>\n<div class=\"wide\"><table><thead><tr><th></th>".to_owned();
    let names = comparison.runs.iter().fold(String::new(), |names, run| {
        names + "<th>" + &escape::text(&run.name) + "</th>"
    });
    let _ = write!(html, "{names}</tr></thead><tbody>");
    let first = comparison.runs.first();
    for (row, fact) in first.iter().flat_map(|run| run.facts.iter().enumerate()) {
        let _ = write!(html, "<tr><th>{}</th>", escape::text(&fact.name));
        for run in &comparison.runs {
            let value = run.facts.get(row).map_or("", |fact| fact.value.as_str());
            let _ = write!(html, "<td>{}</td>", or_dash(value));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n<h3>In what their settings differ</h3>\n");
    if comparison.settings.is_empty() {
        html.push_str("<p>In nothing.</p>\n");
        return html;
    }
    let _ = write!(
        html,
        "<div class=\"wide\"><table><thead><tr><th>key</th>{names}</tr></thead><tbody>"
    );
    for setting in &comparison.settings {
        let _ = write!(
            html,
            "<tr><th><code>{}</code></th>",
            escape::text(&setting.key)
        );
        for value in &setting.values {
            let value = value.as_deref().unwrap_or_default();
            let _ = write!(html, "<td>{}</td>", or_dash(value));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Figures as cards, where there are any.
pub(super) fn facts(facts: &[Fact]) -> String {
    let mut html = "<dl class=\"facts\">".to_owned();
    for Fact { name, value } in facts.iter().filter(|fact| !fact.value.is_empty()) {
        let (name, value) = (escape::text(name), escape::text(value));
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    html + "</dl>\n"
}

fn settings(settings: &[&Setting]) -> String {
    let has_usual = settings.iter().any(|setting| setting.usual.is_some());
    let head = if has_usual { "<th>default</th>" } else { "" };
    let mut html = format!(
        "<div class=\"wide\"><table><thead><tr><th>key</th><th>value</th>{head}</tr></thead><tbody>"
    );
    for Setting { key, value, usual } in settings {
        let (key, value) = (escape::text(key), or_dash(value));
        let _ = write!(html, "<tr><th><code>{key}</code></th><td>{value}</td>");
        if let Some(usual) = usual {
            let _ = write!(html, "<td class=\"dim\">{}</td>", or_dash(usual));
        }
        html.push_str("</tr>");
    }
    html + "</tbody></table></div>\n"
}

fn or_dash(value: &str) -> String {
    if value.is_empty() {
        "–".to_owned()
    } else {
        escape::text(value)
    }
}
