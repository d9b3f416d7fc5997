"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const tip = document.getElementById("tip");

  const make = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    return element;
  };

  // The text under the pointer. Text alone: nothing in it is read as a tag.
  const tell = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4)) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4)) + "px";
  };
  const hush = () => { tip.hidden = true; };

  const short = (value) => {
    const size = Math.abs(value);
    if (value === 0) return "0";
    if (size >= 1e5 || size < 1e-3) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  };

  // Steps of 1, 2 or 5 times a power of ten, about as many as asked for.
  const ticks = (low, high, n) => {
    const raw = (high - low) / n || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => power * factor >= raw);
    const found = [];
    for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step);
    return found;
  };

  // A line between two steps in as many pieces as there is room for: of each its mean and its ends.
  const pieces = (line, from, to, n) => {
    const found = [];
    for (let k = 0; k < line.x.length; k++) {
      const x = line.x[k], y = line.y[k];
      if (x < from || x > to) continue;
      const piece = Math.min(n - 1, Math.floor(((x - from) / (to - from || 1)) * n));
      const last = found[found.length - 1];
      if (last && last.piece === piece) {
        last.sum += y; last.sumX += x; last.n++;
        last.low = Math.min(last.low, y); last.high = Math.max(last.high, y);
      } else found.push({ piece, sum: y, sumX: x, n: 1, low: y, high: y });
    }
    return found.map((p) => ({ x: p.sumX / p.n, y: p.sum / p.n, low: p.low, high: p.high }));
  };

  const nearest = (line, step) => {
    let low = 0, high = line.x.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (line.x[middle] < step) low = middle + 1; else high = middle;
    }
    if (low > 0 && step - line.x[low - 1] < line.x[low] - step) low--;
    return low;
  };

  const MARGIN = { left: 58, right: 12, top: 10, bottom: 26 };

  class Plot {
    constructor(host, plot) {
      this.host = host;
      this.lines = plot.lines;
      this.all = [Math.min(...plot.lines.map((l) => l.x[0])), Math.max(...plot.lines.map((l) => l.x[l.x.length - 1]))];
      this.range = this.all;
      this.svg = make("svg", { role: "img", "aria-label": plot.title });
      host.append(this.svg);
      this.listen();
    }

    // Where a step and a value lie, in pixels.
    px(step) { const [a, b] = this.range; return MARGIN.left + ((step - a) / (b - a || 1)) * this.width; }
    py(value) { return MARGIN.top + (1 - (value - this.low) / (this.high - this.low)) * this.height; }
    step(px) { const [a, b] = this.range; return a + ((px - MARGIN.left) / this.width) * (b - a); }

    draw() {
      const { clientWidth, clientHeight } = this.host;
      if (!clientWidth) return;
      this.width = clientWidth - MARGIN.left - MARGIN.right;
      this.height = clientHeight - MARGIN.top - MARGIN.bottom;
      this.svg.setAttribute("viewBox", `0 0 ${clientWidth} ${clientHeight}`);
      const drawn = this.lines.map((line) => pieces(line, this.range[0], this.range[1], Math.max(20, this.width >> 2)));
      // The middle 98 % of the means and all of what is few: one outlier must not flatten the rest.
      const values = drawn.flat().map((p) => p.y).sort((a, b) => a - b);
      const cut = values.length > 100 ? Math.floor(values.length / 100) : 0;
      let low = values[cut] ?? 0, high = values[values.length - 1 - cut] ?? 1;
      const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
      this.low = low >= 0 && low - room < 0 ? 0 : low - room;
      this.high = high + room;
      this.svg.replaceChildren(this.axes(), ...drawn.map((line, k) => this.line(line, k)));
      this.cursor = make("g", {});
      this.svg.append(this.cursor);
    }

    axes() {
      const group = make("g", {});
      const right = MARGIN.left + this.width, bottom = MARGIN.top + this.height;
      const write = (text, x, y, anchor) => {
        const label = make("text", { x, y, "text-anchor": anchor });
        label.textContent = text;
        group.append(label);
      };
      for (const value of ticks(this.low, this.high, 4)) {
        const y = this.py(value);
        group.append(make("path", { class: "grid", d: `M${MARGIN.left} ${y}H${right}` }));
        write(short(value), MARGIN.left - 8, y + 4, "end");
      }
      for (const step of ticks(this.range[0], this.range[1], Math.max(3, this.width / 120))) {
        if (step !== Math.round(step)) continue;
        const x = this.px(step);
        group.append(make("path", { class: "grid", d: `M${x} ${bottom}v4` }));
        if (x < right - 16) write(step.toLocaleString("en"), x, bottom + 18, "middle");
      }
      write("step", right, bottom + 18, "end");
      return group;
    }

    line(points, k) {
      const clip = (value) => Math.max(MARGIN.top - 4, Math.min(MARGIN.top + this.height + 4, this.py(value))).toFixed(1);
      const at = (p) => this.px(p.x).toFixed(1);
      const group = make("g", { class: `line-${k % 7}` });
      if (points.some((p) => p.high > p.low)) {
        const up = points.map((p) => `${at(p)} ${clip(p.high)}`), down = points.map((p) => `${at(p)} ${clip(p.low)}`).reverse();
        group.append(make("path", { class: "span", d: `M${up.concat(down).join("L")}Z` }));
      }
      group.append(make("path", { class: "mean", d: points.length ? `M${points.map((p) => `${at(p)} ${clip(p.y)}`).join("L")}` : "" }));
      if (points.length <= 40) for (const p of points) group.append(make("circle", { class: "dot", cx: at(p), cy: clip(p.y), r: 3 }));
      return group;
    }

    show(event) {
      const px = event.clientX - this.svg.getBoundingClientRect().left;
      const step = this.step(px);
      if (px < MARGIN.left || step > this.range[1]) return this.leave();
      const [first, ...others] = this.lines.map((line, k) => ({ line, k, at: nearest(line, step) }))
        .sort((a, b) => Math.abs(a.line.x[a.at] - step) - Math.abs(b.line.x[b.at] - step));
      const x = first.line.x[first.at];
      this.cursor.replaceChildren(make("path", { class: "cursor", d: `M${this.px(x)} ${MARGIN.top}v${this.height}` }));
      const told = [first, ...others].sort((a, b) => a.k - b.k).map(({ line, at }) => {
        const where = line.x[at] === x ? "" : ` (step ${line.x[at].toLocaleString("en")})`;
        return `${line.name}: ${short(line.y[at])}${where}`;
      });
      tell(event, [`step ${x.toLocaleString("en")}`, ...told].join("\n"));
    }

    leave() { if (this.cursor) this.cursor.replaceChildren(); hush(); }

    listen() {
      let from = null;
      const place = (event) => Math.max(MARGIN.left, Math.min(MARGIN.left + this.width, event.clientX - this.svg.getBoundingClientRect().left));
      this.svg.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse") from = place(event); });
      this.svg.addEventListener("pointermove", (event) => {
        this.show(event);
        if (from === null) return;
        const to = place(event);
        this.cursor.append(make("rect", { class: "drag", x: Math.min(from, to), width: Math.abs(to - from), y: MARGIN.top, height: this.height }));
      });
      this.svg.addEventListener("pointerup", (event) => {
        if (from === null) return;
        const ends = [from, place(event)].sort((a, b) => a - b).map((px) => this.step(px));
        from = null;
        if (ends[1] - ends[0] > (this.range[1] - this.range[0]) / 50) { this.range = ends; this.draw(); }
      });
      this.svg.addEventListener("pointerleave", () => { from = null; this.leave(); });
      this.svg.addEventListener("dblclick", () => { this.range = this.all; this.draw(); });
    }
  }

  const plots = [...document.querySelectorAll("[data-plot]")].map((host) => new Plot(host, data.plots[Number(host.dataset.plot)]));
  const drawAll = () => plots.forEach((plot) => plot.draw());

  // One tab at a time; printed, and without this script, all of them are there.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  // No element is called so: the browser would scroll to it, under the bar of the tabs.
  const address = (tab) => "#show-" + tab.getAttribute("aria-controls");
  const select = (tab) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    hush();
    drawAll();
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => { select(tab); history.replaceState(null, "", address(tab)); });
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = tabs[(place + by + tabs.length) % tabs.length];
      next.focus();
      select(next);
    });
  });
  document.body.classList.add("tabbed");
  select(tabs.find((tab) => address(tab) === location.hash) ?? tabs[0]);
  addEventListener("resize", drawAll);
  addEventListener("beforeprint", () => {
    for (const tab of tabs) document.getElementById(tab.getAttribute("aria-controls")).hidden = false;
    drawAll();
  });
  addEventListener("afterprint", () => select(tabs.find((tab) => tab.getAttribute("aria-selected") === "true")));

  // The slider over the pictures.
  for (const slider of document.querySelectorAll(".slider")) {
    const input = slider.querySelector("input"), output = slider.querySelector("output");
    const shots = [...slider.parentElement.querySelectorAll(".shot")];
    const show = () => {
      shots.forEach((shot, place) => { shot.hidden = place !== Number(input.value); });
      output.textContent = shots[Number(input.value)].dataset.when;
    };
    input.addEventListener("input", show);
    show();
  }

  // Which patches are like the one that is clicked, and which it attends to.
  for (const look of document.querySelectorAll("[data-look]")) {
    const { grid: [rows, columns], ...levels } = data.looks[Number(look.dataset.look)];
    const n = rows * columns;
    const shown = [...look.querySelectorAll("[data-shows]")].filter((host) => levels[host.dataset.shows]).map((host) => {
      const canvas = document.createElement("canvas");
      canvas.width = columns;
      canvas.height = rows;
      host.append(canvas);
      return { host, canvas, of: Uint8Array.from(atob(levels[host.dataset.shows]), (letter) => letter.charCodeAt(0)) };
    });
    const show = (event, host) => {
      const box = host.getBoundingClientRect();
      const place = (at, size, count) => Math.max(0, Math.min(count - 1, Math.floor((at / size) * count)));
      const row = place(event.clientY - box.top, box.height, rows), column = place(event.clientX - box.left, box.width, columns);
      const own = row * columns + column;
      for (const { canvas, of } of shown) {
        const image = new ImageData(columns, rows);
        // What has a low level is covered; the patch itself is marked.
        for (let k = 0; k < n; k++) image.data.set(k === own ? [255, 120, 0, 170] : [10, 12, 20, 235 - (of[own * n + k] * 235) / 255], k * 4);
        canvas.getContext("2d").putImageData(image, 0, 0);
      }
    };
    for (const { host } of shown) {
      host.addEventListener("click", (event) => show(event, host));
      host.addEventListener("pointermove", (event) => { if (event.buttons) show(event, host); });
    }
  }

  // What is told of what is pointed at.
  for (const element of document.querySelectorAll("[data-about]")) {
    element.addEventListener("pointermove", (event) => tell(event, element.dataset.about));
    element.addEventListener("pointerleave", hush);
  }
})();
