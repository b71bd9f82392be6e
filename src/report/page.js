// Turns the dial of every claim on the page. All comparisons are of exact rational numbers; only drawings are rounded.
"use strict";
(() => {
  /** An exact rational number. */
  class Rational {
    constructor(top, bottom) { this.top = top; this.bottom = bottom; }
    static parse(text) {
      const [, sign, whole, fraction = "", bottom] = /^(-?)(\d+)(?:\.(\d+)|\/(\d+))?$/.exec(text) ?? [];
      if (whole === undefined || (bottom && /^0+$/.test(bottom))) return null;
      const top = BigInt(whole + fraction);
      return new Rational(sign ? -top : top, bottom ? BigInt(bottom) : 10n ** BigInt(fraction.length));
    }
    plus(x) { return new Rational(this.top * x.bottom + x.top * this.bottom, this.bottom * x.bottom); }
    minus(x) { return this.plus(new Rational(-x.top, x.bottom)); }
    compare(x) { const d = this.top * x.bottom - x.top * this.bottom; return d < 0n ? -1 : d > 0n ? 1 : 0; }
    get size() { return this.top < 0n ? -this.top : this.top; }
    /** The nearest float, or one of its neighbours. */
    float() {
      const scale = BigInt(Math.max(0, this.bottom.toString(2).length - this.size.toString(2).length)) + 64n;
      const quotient = Number((this.size << scale) / this.bottom) / 2 ** Number(scale);
      return this.top < 0n ? -quotient : quotient;
    }
    /** Six digits, rounded up or down; with `up` undefined to the nearest, marked unless exact. */
    decimal(up) {
      if (this.top === 0n) return "0";
      let places = 0;
      for (let size = this.size; size < 100000n * this.bottom && places < 400; places++) size *= 10n;
      const scaled = this.top * 10n ** BigInt(places);
      let digits = scaled / this.bottom;
      const rest = scaled % this.bottom;
      if (rest !== 0n) {
        const away = up === undefined ? 2n * (rest < 0n ? -rest : rest) >= this.bottom : up === (this.top > 0n);
        if (away) digits += this.top > 0n ? 1n : -1n;
      }
      const text = (digits < 0n ? -digits : digits).toString().padStart(places + 1, "0");
      const whole = text.slice(0, text.length - places);
      const fraction = text.slice(text.length - places).replace(/0+$/, "");
      const mark = up === undefined && rest !== 0n ? "≈" : "";
      return mark + (this.top < 0n ? "-" : "") + whole + (fraction ? "." + fraction : "");
    }
  }
  const zero = new Rational(0n, 1n);
  const rational = (text) => text == null ? null : Rational.parse(text);
  /** A list of numbers over one denominator. */
  const list = (v) => v ? v.n.map((n) => new Rational(BigInt(n), BigInt(v.over))) : [];
  const floats = (v) => list(v).map((x) => x.float());
  const percent = (x) => Math.min(100, Math.max(0, 100 * x)).toFixed(3) + "%";
  const STATUS = {
    safe: { word: "safe to ignore", mark: "✓", style: "good" },
    relevant: { word: "relevant", mark: "✗", style: "bad" },
    unknown: { word: "unknown", mark: "?", style: "open" },
  };

  function pill(name) {
    const span = document.createElement("span");
    span.className = "pill " + STATUS[name].style;
    span.textContent = STATUS[name].mark + " " + STATUS[name].word;
    return span;
  }

  function sortable(table) {
    for (const [column, th] of [...table.tHead.rows[0].cells].entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => {
        const up = th.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (tr) => {
          const cell = tr.cells[column];
          const exact = rational(cell.querySelector("data")?.value ?? cell.textContent.trim());
          return exact ?? cell.textContent.trim();
        };
        // Numbers before words.
        const order = (a, b) => a instanceof Rational && b instanceof Rational ? a.compare(b)
          : a instanceof Rational ? -1 : b instanceof Rational ? 1 : a < b ? -1 : a > b ? 1 : 0;
        const body = table.tBodies[0];
        const keyed = [...body.rows].map((tr) => [key(tr), tr]);
        keyed.sort((a, b) => (up ? 1 : -1) * order(a[0], b[0]));
        body.append(...keyed.map(([, tr]) => tr));
      });
    }
  }

  /** Draws values into the shapes of a panel that are there. */
  function draw(panel, shape, values, low, high) {
    const svg = panel.querySelector("svg");
    const signed = svg.dataset.kind === "signed";
    const part = (x, l = low, h = high) => Math.min(1, Math.max(0, (x - l) / (h - l)));
    if (shape.kind === "image") {
      const plane = shape.height * shape.width;
      for (const [i, rect] of [...svg.querySelectorAll("rect")].entries()) {
        const value = values[i] ?? (signed ? 0 : low);
        if (signed) {
          const side = 0.92 * 10 * Math.min(1, Math.sqrt(Math.abs(value) / high));
          rect.setAttribute("class", value < 0 ? "down" : "up");
          rect.setAttribute("x", (i % shape.width) * 10 + (10 - side) / 2);
          rect.setAttribute("y", Math.floor(i / shape.width) * 10 + (10 - side) / 2);
          rect.setAttribute("width", side);
          rect.setAttribute("height", side);
        } else if (shape.channels === 3) {
          const colour = [0, 1, 2].map((c) => Math.round(255 * part(values[c * plane + i] ?? low)));
          rect.setAttribute("fill", "rgb(" + colour + ")");
        } else {
          rect.setAttribute("fill-opacity", part(value).toFixed(3));
        }
      }
      return;
    }
    const y = (x) => 60 * (1 - part(x, signed ? -high : low, high));
    const step = 120 / shape.count;
    const line = svg.querySelector("polyline");
    line?.setAttribute("points", Array.from({ length: shape.count }, (_, i) =>
      ((i + 0.5) * step).toFixed(3) + "," + y(values[i] ?? 0).toFixed(3)).join(" "));
    for (const [i, rect] of [...svg.querySelectorAll("rect")].entries()) {
      const value = values[i] ?? 0;
      rect.setAttribute("class", value < 0 ? "down" : "up");
      rect.setAttribute("y", y(Math.max(value, 0)));
      rect.setAttribute("height", y(Math.min(value, 0)) - y(Math.max(value, 0)));
    }
  }

  function claim(section) {
    const dial = JSON.parse(section.querySelector("script.data").textContent).dial;
    const box = section.querySelector(".dial");
    if (!dial || !box) return;
    const one = (selector, from = section) => from.querySelector(selector);
    let [level, amplitude, row] = dial.start;
    let tolerance = rational(dial.tolerance);

    const at = (l = level, a = amplitude) => dial.cells[l][a]?.map(exact);
    // Numbers are read when they are first needed, and once.
    function exact(cell) {
      if (cell && !("least" in cell)) {
        cell.least = rational(cell.attacked);
        cell.most = rational(cell.certified);
      }
      return cell;
    }
    function status(cell) {
      const relevant = cell.least && (dial.winner ? cell.least.compare(zero) <= 0 : cell.least.compare(tolerance) > 0);
      if (relevant) return "relevant";
      const safe = dial.winner ? cell.by !== null : cell.most && cell.most.compare(tolerance) <= 0;
      return safe ? "safe" : "unknown";
    }
    /** The worst of all rows. */
    function worst(cells) {
      const counts = { safe: 0, relevant: 0, unknown: 0 };
      let least = null, most = cells[0].most;
      for (const cell of cells) {
        counts[status(cell)]++;
        if (cell.least && (!least || (cell.least.compare(least) > 0) !== dial.winner)) least = cell.least;
        most = most && cell.most ? (cell.most.compare(most) > 0 ? cell.most : most) : null;
      }
      return { counts, least, most, status: counts.relevant ? "relevant" : counts.unknown ? "unknown" : "safe" };
    }
    const largest = rational(dial.largest).float();

    function brackets() {
      const axis = 1.05 * Math.max(largest, tolerance ? tolerance.float() : 0) || 1;
      for (const [l, tr] of [...section.querySelectorAll(".track-row")].entries()) {
        tr.classList.toggle("current", l === level);
        const [track, shown, state] = [one(".track", tr), one(".n", tr), one(".s", tr)];
        const cells = at(l);
        track.hidden = !cells;
        if (!cells) { shown.textContent = ""; state.textContent = "not claimed"; continue; }
        const { counts, least, most, status: name } = worst(cells);
        const bar = (selector) => {
          let i = one(selector, track);
          if (!i) { i = document.createElement("i"); i.className = selector.slice(1); track.prepend(i); }
          return i.style;
        };
        if (dial.winner) {
          bar(".open").width = percent(counts.safe / cells.length);
          bar(".happens").left = percent(counts.safe / cells.length);
          bar(".happens").width = percent(counts.relevant / cells.length);
          shown.textContent = counts.safe + " of " + cells.length;
        } else {
          bar(".happens").width = percent(least ? least.float() / axis : 0);
          bar(".open").width = percent(most ? most.float() / axis : 1);
          one(".open", track).classList.toggle("endless", !most);
          shown.textContent = least && most ? least.decimal(false) + " … " + most.decimal(true)
            : least ? "≥ " + least.decimal(false) : "nothing found";
          one(".limit", track).style.left = percent(tolerance.float() / axis);
        }
        state.replaceChildren(pill(name));
      }
      const sizes = one(".amplitude-now"), limit = one(".tolerance-now"), from = one(".tolerance-from");
      if (sizes) sizes.textContent = dial.amplitudes[amplitude];
      if (limit) limit.textContent = tolerance.decimal();
      if (from && tolerance && tolerance.compare(rational(dial.tolerance)) !== 0) from.textContent = " (as chosen below)";
    }

    function sentence(cell) {
      const line = one(".sentence", box);
      if (!cell) {
        line.textContent = "The claim says nothing about this scale at this amplitude.";
        return;
      }
      const size = dial.amplitudes[amplitude];
      const { hidden } = dial.levels[level];
      const numbers = dial.winner
        ? "Margin of the winner under attack " + (cell.least ? "≤ " + cell.least.decimal(true) : "not found") + "."
        : "Change of an output: attacked " + (cell.least ? "≥ " + cell.least.decimal(false) : "nothing found")
          + ", certified " + (cell.most ? "≤ " + cell.most.decimal(true) : "no bound") + ".";
      line.replaceChildren("Row " + dial.rows[row].row + (size ? ", amplitude " + size : "") + ": " + hidden + " – ",
        pill(status(cell)), ". " + numbers);
    }

    function pictures(cell) {
      const panels = one(".panels", box);
      if (!panels) return;
      const shared = dial.rows[row];
      const tensor = floats(shared.tensor ?? cell?.tensor), seen = floats(shared.tensor ? shared.seen[level] : cell?.seen);
      const delta = floats(cell?.delta);
      const [low, high, most] = [panels.dataset.low, panels.dataset.high, panels.dataset.delta].map(Number);
      const show = (name, values, l, h) => {
        const panel = one('[data-panel="' + name + '"]', panels);
        if (panel) draw(panel, dial.shape, values, l, h);
      };
      show("tensor", tensor, low, high);
      show("seen", seen, low, high);
      show("ignored", seen.length ? tensor.map((x, i) => x - seen[i]) : [], 0, high - low);
      show("delta", delta, 0, most);
      show("perturbed", delta.length && tensor.length ? tensor.map((x, i) => x + delta[i]) : tensor, low, high);
    }

    function outputs(cell) {
      const table = one("table.outputs", box);
      if (!table) return;
      const clean = list(dial.rows[row].clean ?? cell?.clean), there = list(cell?.perturbed);
      const [low, high] = [table.dataset.low, table.dataset.high].map(Number);
      const place = (x) => percent((x.float() - low) / (high - low));
      for (const [k, tr] of [...table.tBodies[0].rows].entries()) {
        const marks = { within: one(".within", tr), clean: one(".clean", tr), there: one(".there", tr) };
        const [, , own, moved, range] = tr.cells;
        marks.clean.hidden = !clean[k];
        marks.there.hidden = !there[k];
        marks.within.hidden = !(clean[k] && cell?.most);
        own.textContent = clean[k]?.decimal() ?? "";
        moved.textContent = there[k]?.decimal() ?? "";
        range.textContent = "no bound";
        if (clean[k]) marks.clean.style.left = place(clean[k]);
        if (there[k]) marks.there.style.left = place(there[k]);
        if (clean[k] && cell?.most) {
          const [a, b] = [clean[k].minus(cell.most), clean[k].plus(cell.most)];
          marks.within.style.left = place(a);
          marks.within.style.right = "calc(100% - " + place(b) + ")";
          range.textContent = a.decimal(false) + " … " + b.decimal(true);
        }
      }
    }

    const tables = [...section.querySelectorAll("details.cell")];
    /** Statuses in the tables depend on the tolerance. */
    function statuses() {
      const position = new Map(dial.rows.map((r, i) => [String(r.row), i]));
      for (const details of tables) {
        const cells = at(Number(details.dataset.level), Number(details.dataset.amplitude));
        for (const tr of one("tbody", details).rows) {
          one(".status", tr).replaceChildren(pill(status(cells[position.get(tr.cells[0].textContent.trim())])));
        }
        one(".fraction", details).textContent = worst(cells).counts.safe;
      }
    }

    function show() {
      const cell = at()?.[row];
      brackets();
      sentence(cell);
      pictures(cell);
      outputs(cell);
      one(".level-now", box).textContent = dial.levels[level].label;
      one(".size-now", box).textContent = dial.amplitudes[amplitude];
    }

    const controls = one(".controls", box);
    const listen = (selector, act) => one(selector, controls)?.addEventListener("input", (event) => { act(event.target); show(); });
    listen("input.level", (input) => {
      level = Number(input.value);
      input.setAttribute("aria-valuetext", dial.levels[level].label);
    });
    listen("input.amplitude", (input) => {
      amplitude = Number(input.value);
      input.setAttribute("aria-valuetext", dial.amplitudes[amplitude]);
    });
    listen("select.row", (select) => { row = Number(select.value); });
    listen("input.tolerance", (input) => {
      const chosen = Rational.parse(input.value.trim());
      input.setCustomValidity(chosen && chosen.top >= 0n ? "" : "a number such as 0.5 or 1/2");
      if (!chosen || chosen.top < 0n) return;
      tolerance = chosen;
      statuses();
    });
    for (const selector of ["input.level", "input.amplitude"]) {
      one(selector, controls)?.addEventListener("change", () => {
        for (const d of tables) d.open = Number(d.dataset.level) === level && Number(d.dataset.amplitude) === amplitude;
      });
    }
    controls.hidden = false;
    show();
  }

  for (const section of document.querySelectorAll("section.pair")) claim(section);
  for (const table of document.querySelectorAll("table.sortable")) sortable(table);
})();
