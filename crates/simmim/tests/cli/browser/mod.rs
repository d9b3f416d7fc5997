//! Reports as a reader meets them: in a browser, with a mouse, on a wide window and on a phone, in the light and in the dark.

mod chromium;

use std::fs;
use std::path::Path;

use chromium::Chromium;
use serde_json::json;

use crate::drawn;
use crate::sandbox::Sandbox;

/// What would run or break a page if it were taken for more than text.
const HOSTILE: [&str; 4] = [
    "<img src=x onerror=hacked=1>",
    "\"' onmouseover='hacked=2'",
    "a\u{202e}gpj.",
    "line\nbreak<!--",
];

/// Images in two classes, all with such names.
fn hostile_images(sandbox: &Sandbox) {
    for (class, folder) in ["<b>bold&amp;", "</script><script>hacked=3<"]
        .iter()
        .enumerate()
    {
        // A name of a folder has no slash; the other letters of the tag are there.
        let folder = sandbox.path("images").join(folder.replace('/', "\u{2215}"));
        fs::create_dir_all(&folder).unwrap();
        for idx in 0..12 {
            let name = format!("{}{idx}.png", HOSTILE[idx % HOSTILE.len()]);
            drawn::labelled(class, idx).save(folder.join(name)).unwrap();
        }
    }
}

fn runs(sandbox: &Sandbox) {
    hostile_images(sandbox);
    sandbox.pretrain("--data images --set train.epochs=6").ok();
    let words = "finetune --data images --from run --out labels --val-share 0.5 --set train.epochs=3 --set train.batch_size=4 \
        --set data.workers=1 --set train.threads=1";
    sandbox.simmim(words).ok();
    sandbox.simmim("report run labels --out both.html").ok();
}

#[test]
fn every_tab_slider_and_plot_of_a_report_works_in_a_browser_and_no_name_is_more_than_text() {
    let sandbox = Sandbox::new();
    let Some(mut browser) = Chromium::start(&sandbox.path("")) else {
        return;
    };
    runs(&sandbox);
    for (page, name) in [
        ("run/report.html", "pretraining"),
        ("labels/report.html", "classifier"),
        ("both.html", "comparison"),
    ] {
        let page = sandbox.path(page);
        assert!(fs::metadata(&page).unwrap().len() < 5 << 20, "{name}");
        for (width, scheme) in [(1400, "light"), (400, "dark")] {
            browser.look(width, scheme);
            browser.open(&page);
            let shown = Shown {
                name,
                width,
                scheme,
            };
            walk(&mut browser, &shown);
        }
    }
    assert_eq!(browser.faults(), [""; 0]);
}

/// A page as it is looked at.
struct Shown<'a> {
    name: &'a str,
    width: u32,
    scheme: &'a str,
}

/// Goes through all tabs, and does in each what can be done there.
fn walk(browser: &mut Chromium, shown: &Shown<'_>) {
    let tabs = browser.value("[...document.querySelectorAll('[role=tab]')].map((tab) => tab.getAttribute('aria-controls'))");
    let tabs: Vec<String> = serde_json::from_value(tabs).unwrap();
    assert!(tabs.len() >= 2, "{tabs:?}");
    for tab in &tabs {
        let at = browser.place(&format!("#tab-{tab}"), (0.5, 0.5));
        browser.click(at);
        let chosen = format!(
            "[...document.querySelectorAll('main > section')].filter((s) => s.checkVisibility()).map((s) => s.id).join() === '{tab}'"
        );
        browser.wait_until(&chosen);
        // No page is wider than its window; what is wide scrolls by itself.
        assert_eq!(
            browser.value("document.documentElement.scrollWidth <= innerWidth"),
            json!(true),
            "{} {tab} {}",
            shown.name,
            shown.width
        );
        // Every picture is one.
        browser.wait_until(&format!("[...document.querySelectorAll('#{tab} img')].every((i) => i.complete && i.naturalWidth > 0)"));
        match tab.as_str() {
            "curves" => curves(browser),
            "pictures" => slider(browser),
            "features" => features(browser),
            _ => {}
        }
        if let Some(folder) = std::env::var_os("SIMMIM_SHOW") {
            browser.mouse("mouseMoved", (2.0, 2.0), 0);
            let file = format!("{}-{tab}-{}-{}.png", shown.name, shown.width, shown.scheme);
            browser.screenshot(&Path::new(&folder).join(file));
        }
    }
    names_are_text(browser, shown.name);
}

fn curves(browser: &mut Chromium) {
    let first = "#curves .canvas svg";
    assert_eq!(browser.value("[...document.querySelectorAll('#curves .canvas')].every((c) => c.querySelector('.mean'))"), json!(true));
    let (middle, right) = (
        browser.place(first, (0.5, 0.5)),
        browser.place(first, (0.9, 0.5)),
    );
    browser.mouse("mouseMoved", middle, 0);
    browser.wait_until("!tip.hidden && /^step [0-9,]+\\n.+: [0-9.e-]+/.test(tip.textContent)");
    let axis = format!("document.querySelector('{first}').textContent");
    let whole = browser.value(&axis);
    browser.drag(middle, right);
    browser.wait_until(&format!("{axis} !== {whole}"));
    browser.double_click(middle);
    browser.wait_until(&format!("{axis} === {whole}"));
    browser.mouse("mouseMoved", (2.0, 2.0), 0);
    browser.wait_until("tip.hidden");
}

fn slider(browser: &mut Chromium) {
    let told = "document.querySelector('.slider output').textContent";
    let last = browser.value(told);
    let at = browser.place(".slider input", (0.01, 0.5));
    browser.click(at);
    browser.wait_until(&format!(
        "{told} !== {last} && {told}.startsWith('0, epoch 0')"
    ));
    assert_eq!(
        browser.value(
            "[...document.querySelectorAll('.shot')].filter((s) => s.checkVisibility()).length"
        ),
        json!(1)
    );
}

fn features(browser: &mut Chromium) {
    let at = browser.place(".patches", (0.2, 0.2));
    browser.click(at);
    // Of the likeness and of the attention: one click shows both, and they differ.
    let covered = "(() => { const all = [...document.querySelector('.look').querySelectorAll('canvas')].map((c) => \
        c.getContext('2d').getImageData(0, 0, c.width, c.height).data); \
        return all.length === 2 && all.every((c) => c.some((v) => v > 0)) && String(all[0]) !== String(all[1]); })()";
    browser.wait_until(covered);
    let at = browser.place(".map image", (0.5, 0.5));
    browser.mouse("mouseMoved", at, 0);
    browser.wait_until("!tip.hidden && tip.textContent.includes('png')");
    browser.mouse("mouseMoved", (2.0, 2.0), 0);
}

/// Nothing of a name has run or become a part of the page, and the name itself can be read.
fn names_are_text(browser: &mut Chromium, page: &str) {
    assert_eq!(browser.value("typeof hacked"), json!("undefined"));
    assert_eq!(
        browser.value(
            "document.querySelectorAll('main b b, main script, [onerror], [onmouseover]').length"
        ),
        json!(0)
    );
    assert_eq!(
        browser.value("document.documentElement.outerHTML.includes('\\u202e')"),
        json!(false)
    );
    if page != "comparison" {
        let shown = "[...document.querySelectorAll('figure')].some((f) => f.title.includes('<img src=x onerror=hacked=1>'))";
        assert_eq!(browser.value(shown), json!(true));
    }
    if page == "classifier" {
        assert_eq!(
            browser.value("document.body.textContent.includes('<b>bold&amp;')"),
            json!(true)
        );
    }
}
