//! A browser without a screen, told what to do through a pair of pipes.
//!
//! Source: the `DevTools` protocol of Chrome, with `--remote-debugging-pipe`: JSON messages that end in a zero byte, on descriptors 3 and 4.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// After this long without an answer the browser hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A window with one page.
pub(crate) struct Chromium {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    n_sent: u64,
    /// What happened that nobody asked for.
    pub(crate) events: Vec<Value>,
}

impl Chromium {
    /// Starts one whose files are in `folder`; none comes back, and it is said, where this machine has no such program.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let program = ["chromium", "chromium-browser", "google-chrome"];
        let exists = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
        let Some(program) = program.iter().find(exists) else {
            // Past the capture of a passing test's output.
            let line = b"skipped: pages in a browser: there is no chromium\n";
            std::io::stderr().write_all(line).unwrap();
            return None;
        };
        let [to, from] = ["to", "from"].map(|name| folder.join(name));
        assert!(
            Command::new("mkfifo")
                .args([&to, &from])
                .status()
                .unwrap()
                .success()
        );
        let script = "exec \"$0\" --headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --disable-dev-shm-usage \
            --user-data-dir=\"$1\" --remote-debugging-pipe about:blank 3<\"$2\" 4>\"$3\"";
        let child = Command::new("sh")
            .args(["-c", script, program])
            .arg(folder.join("profile"))
            .args([&to, &from])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each opens when the other side has.
        let to = File::options().write(true).open(to).unwrap();
        let from = read_all(File::open(from).unwrap());
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            n_sent: 0,
            events: Vec::new(),
        };
        let target = browser.send("Target.createTarget", json!({"url": "about:blank"}));
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.send("Target.attachToTarget", attached);
        browser
            .session
            .push_str(attached["sessionId"].as_str().unwrap());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.send(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    pub(crate) fn send(&mut self, method: &str, params: Value) -> Value {
        self.n_sent += 1;
        let id = self.n_sent;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let mut answer = self.from.recv_timeout(PATIENCE).expect(method);
            if answer["id"] == json!(id) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.send("Runtime.evaluate", params);
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression) != json!(true) {
            assert!(begun.elapsed() < PATIENCE, "{expression}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens a page and waits until it is there.
    #[track_caller]
    pub(crate) fn open(&mut self, page: &Path) {
        let address = format!("file://{}", page.display());
        self.send("Page.navigate", json!({"url": address}));
        self.wait_until("document.readyState === 'complete' && location.protocol === 'file:'");
    }

    /// How wide the window is, and which colours the user likes.
    pub(crate) fn look(&mut self, width: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.send("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.send("Emulation.setEmulatedMedia", scheme);
    }

    /// The mouse does something at a place of the window.
    pub(crate) fn mouse(&mut self, what: &str, (x, y): (f64, f64), clicks: u32) {
        let held = u32::from(what == "mousePressed");
        self.mouse_holding(what, (x, y), clicks, held);
    }

    fn mouse_holding(&mut self, what: &str, (x, y): (f64, f64), clicks: u32, buttons: u32) {
        let button = if clicks > 0 { "left" } else { "none" };
        let params = json!({"type": what, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": clicks});
        self.send("Input.dispatchMouseEvent", params);
    }

    pub(crate) fn click(&mut self, at: (f64, f64)) {
        self.mouse("mouseMoved", at, 0);
        self.mouse("mousePressed", at, 1);
        self.mouse("mouseReleased", at, 1);
    }

    pub(crate) fn double_click(&mut self, at: (f64, f64)) {
        self.click(at);
        self.mouse("mousePressed", at, 2);
        self.mouse("mouseReleased", at, 2);
    }

    pub(crate) fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.mouse("mouseMoved", from, 0);
        self.mouse("mousePressed", from, 1);
        self.mouse_holding("mouseMoved", to, 0, 1);
        self.mouse("mouseReleased", to, 1);
    }

    /// Scrolls to the first element that a selector finds and is shown, and gives a place within it, by shares of its size.
    #[track_caller]
    pub(crate) fn place(&mut self, selector: &str, (across, down): (f64, f64)) -> (f64, f64) {
        let find = format!(
            "(() => {{ const e = [...document.querySelectorAll({selector:?})].find((e) => e.getClientRects().length); \
             e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }})()"
        );
        let found = self.value(&find);
        let number = |at: usize| found[at].as_f64().unwrap();
        (number(0) + across * number(2), number(1) + down * number(3))
    }

    /// What went wrong in the pages so far, and what they asked the network for.
    pub(crate) fn faults(&self) -> Vec<String> {
        let fault = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => {
                    Some(params.to_string())
                }
                "Network.requestWillBeSent" => {
                    let address = params["request"]["url"].as_str()?;
                    let is_own = address.starts_with("file://") && address.contains(".html")
                        || address.starts_with("data:");
                    (!is_own).then(|| format!("a request for {address}"))
                }
                _ => None,
            }
        };
        self.events.iter().filter_map(fault).collect()
    }

    /// The whole page as a PNG.
    pub(crate) fn screenshot(&mut self, to: &Path) {
        use base64::Engine;
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.send("Page.captureScreenshot", params);
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap());
        std::fs::write(to, bytes.unwrap()).unwrap();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(from: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(from).split(0) {
            let Ok(message) = message else { return };
            let Ok(message) = serde_json::from_slice(&message) else {
                return;
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}
