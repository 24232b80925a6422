// The timeline as one SVG per person: curves of all classes or numbers over time, and below them the predicted class.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150, STRIP = 18, TOP = 8, LEFT = 42, RIGHT = 10, BOTTOM = 22;
const BAR = 26, NAME = 110; // of the bars of a single answer: height, and where they begin
const NEAR = 1e-3; // seconds
const NAMED = 5; // classes in a sentence
const OTHERS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
export const UNCERTAIN = "uncertain";

/** Draws `timeline` (timeline.json) into `place`; `seek(seconds)` is called when a point in time is chosen. */
export function drawPlots(place, timeline, seek) {
  const curves = curvesOf(timeline);
  const plots = personsOf(timeline).map((person) => new Plot(timeline, person, curves, seek));
  const isLegendNeeded = plots.some((plot) => !plot.isSingle); // bars have the names of the classes beside them
  place.replaceChildren(...(isLegendNeeded ? [legend(curves, timeline)] : []), ...plots.flatMap((plot) => plot.parts));
  const draw = () => plots.forEach((plot) => plot.draw(place.clientWidth));
  draw();
  const watcher = new ResizeObserver(draw);
  watcher.observe(place);
  return { showTime: (seconds) => plots.forEach((plot) => plot.showTime(seconds)), close: () => watcher.disconnect() };
}

/** The rows of each person; where nobody was ever kept apart, those of the whole picture. */
export function personsOf(timeline) {
  const persons = timeline.persons.map((id) => ({
    id, title: `Person ${id}`, rows: timeline.rows.filter((row) => row.person === id),
  }));
  const rest = timeline.rows.filter((row) => row.person === null);
  if (persons.length === 0 || rest.some((row) => row.predicted || valuesOf(timeline, row).length)) {
    persons.push({ id: null, title: persons.length ? "Nobody in particular" : "The whole picture", rows: rest });
  }
  return persons;
}

function valuesOf(timeline, row) {
  return timeline.numbers.filter((name) => row[name] !== null && row[name] !== undefined);
}

/** What is drawn: probabilities of the classes, else valence and the like; action units stay in the table. */
function curvesOf(timeline) {
  if (timeline.classes.length) {
    return timeline.classes.map((name) => ({ name, key: `prob_${name}`, colour: timeline.colours[name] }));
  }
  const numbers = timeline.numbers.slice(0, OTHERS.length);
  return numbers.map((name, i) => ({ name, key: name, colour: OTHERS[i] }));
}

function legend(curves, timeline) {
  const list = document.createElement("ul");
  list.className = "legend";
  const entries = curves.map((curve) => [curve.colour, curve.name]);
  if (timeline.rows.some((row) => row.predicted === UNCERTAIN)) entries.push(["#bbbbbb", UNCERTAIN]);
  if (timeline.rows.some((row) => row.seen !== "face")) entries.push(["gap", "not seen, or no face found"]);
  for (const [colour, name] of entries) {
    const item = document.createElement("li");
    const mark = element("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
    mark.append(element("rect", { width: 10, height: 10, rx: 2, ...(colour === "gap" ? { class: "gap" } : { fill: colour }) }));
    item.append(mark, name);
    list.append(item);
  }
  return list;
}

class Plot {
  constructor(timeline, person, curves, seek) {
    Object.assign(this, { timeline, person, curves });
    this.isShare = timeline.classes.length > 0;
    this.answers = person.rows.filter((row) => curves.some((curve) => typeof row[curve.key] === "number"));
    this.isSingle = this.isShare && this.answers.length === 1; // shown as bars
    const end = Math.max(timeline.seconds, ...person.rows.slice(-1).map((row) => row.to), 0.1);
    this.end = end;
    this.svg = element("svg", { class: "plot", role: "img", "aria-label": `${person.title}. ${describe(person, timeline)}` });
    this.readout = document.createElement("p");
    this.readout.className = "readout quiet";
    const title = document.createElement("h3");
    title.textContent = person.title;
    this.parts = [title, this.svg, this.readout];
    this.svg.addEventListener("pointermove", (event) => this.read(this.secondsAt(event)));
    this.svg.addEventListener("pointerleave", () => this.read(this.now ?? null));
    this.svg.addEventListener("click", (event) => seek(this.secondsAt(event)));
  }

  secondsAt(event) {
    const share = (event.clientX - this.svg.getBoundingClientRect().left - LEFT) / this.inner;
    return Math.min(Math.max(share, 0), 1) * this.end;
  }

  x(seconds) { return LEFT + (seconds / this.end) * this.inner; }

  y(value) {
    const [low, high] = this.range;
    return TOP + HEIGHT * (1 - (value - low) / (high - low));
  }

  draw(width) {
    if (width < 50) return;
    this.inner = width - LEFT - RIGHT;
    this.range = this.isShare ? [0, 1] : rangeOf(this.person.rows, this.curves);
    const height = this.isSingle ? BAR * this.curves.length + TOP : TOP + HEIGHT + 6 + STRIP + BOTTOM;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    if (this.isSingle) {
      this.playing = element("line");
      this.svg.replaceChildren(...this.bars(this.answers[0], width));
      return;
    }
    const parts = [...this.gaps(), ...this.axes(width), ...this.lines(), ...this.strip()];
    this.playing = element("line", { class: "playing", y1: TOP, y2: TOP + HEIGHT + 6 + STRIP, visibility: "hidden" });
    this.svg.replaceChildren(...parts, this.playing);
    if (this.now !== undefined) this.showTime(this.now);
  }

  axes(width) {
    const [low, high] = this.range, parts = [], bottom = TOP + HEIGHT + 6 + STRIP;
    for (const value of [low, (low + high) / 2, high]) {
      parts.push(element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: this.y(value), y2: this.y(value) }));
      const label = this.isShare ? `${Math.round(100 * value)}\u00a0%` : value.toFixed(1);
      parts.push(text(label, { x: LEFT - 6, y: this.y(value) + 4, "text-anchor": "end" }));
    }
    const step = stepOf(this.end, Math.max(Math.floor(this.inner / 70), 2));
    for (let t = 0; t <= this.end + 1e-6; t += step) {
      const anchor = t === 0 ? "start" : this.x(t) > width - RIGHT - 14 ? "end" : "middle";
      parts.push(text(clock(t), { x: this.x(t), y: bottom + 16, "text-anchor": anchor }));
    }
    return parts;
  }

  /** One answer alone has no course over time: a bar for each class. */
  bars(row, width) {
    const room = width - NAME - RIGHT - LEFT;
    return this.curves.flatMap((curve, i) => {
      const value = row[curve.key], y = TOP + BAR * i;
      return [
        text(curve.name, { x: NAME - 8, y: y + 14, "text-anchor": "end" }),
        element("rect", { fill: curve.colour, x: NAME, y, width: Math.max(value * room, 1), height: BAR - 8, rx: 2 }),
        text(`${Math.round(100 * value)}\u00a0%`, { x: NAME + value * room + 6, y: y + 14 }),
      ];
    });
  }

  gaps() {
    return [...stretches(this.person.rows, (row) => (row.seen === "face" ? null : row.seen), this.end), ...holes(this.person.rows, this.end)]
      .filter((stretch) => stretch.key !== null)
      .map((stretch) => {
        const shape = element("rect", { class: "gap", x: this.x(stretch.from), y: TOP, width: this.x(stretch.to) - this.x(stretch.from), height: HEIGHT });
        shape.append(titled(`${stretch.key}, ${clock(stretch.from)} to ${clock(stretch.to)}`));
        return shape;
      });
  }

  lines() {
    return this.curves.flatMap((curve) => {
      const pieces = [[]];
      let last = null;
      for (const row of this.person.rows) {
        const value = row[curve.key];
        if (last && row.from > last.to + NEAR) pieces.push([]);
        last = row;
        if (value === null || value === undefined) pieces.push([]);
        else pieces.at(-1).push([this.x(middle(row)), this.y(value)]);
      }
      return pieces.filter((points) => points.length).map((points) => points.length > 1
        ? element("polyline", { class: "curve", stroke: curve.colour, points: points.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ") })
        : element("circle", { cx: points[0][0], cy: points[0][1], r: 3, fill: curve.colour }));
    });
  }

  strip() {
    if (!this.isShare) return [];
    return stretches(this.person.rows, (row) => row.predicted || null, this.end)
      .filter((stretch) => stretch.key !== null)
      .map((stretch) => {
        const fill = stretch.key === UNCERTAIN ? "#bbbbbb" : this.timeline.colours[stretch.key];
        const shape = element("rect", { fill, x: this.x(stretch.from), y: TOP + HEIGHT + 6, width: Math.max(this.x(stretch.to) - this.x(stretch.from), 1), height: STRIP });
        shape.append(titled(`${stretch.key}, ${clock(stretch.from)} to ${clock(stretch.to)}`));
        return shape;
      });
  }

  /** Where the video is. */
  showTime(seconds) {
    this.now = seconds;
    this.playing.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) this.playing.setAttribute(end, this.x(Math.min(seconds, this.end)));
    this.read(seconds);
  }

  /** The answers nearest to a point in time, in words. */
  read(seconds) {
    this.readout.textContent = seconds === null ? "" : this.describeAt(seconds);
  }

  describeAt(seconds) {
    const row = nearest(this.person.rows, seconds);
    if (!row) return `${clock(seconds, 1)}: not seen`;
    const values = this.curves
      .filter((curve) => row[curve.key] !== null && row[curve.key] !== undefined)
      .map((curve) => [curve.name, row[curve.key]]);
    if (this.isShare) values.sort((a, b) => b[1] - a[1]);
    const highest = values.slice(0, 3).map(([name, value]) => `${name} ${this.isShare ? `${Math.round(100 * value)}\u00a0%` : value.toFixed(2)}`);
    const seen = row.seen === "face" ? [] : [row.seen];
    return `${clock(seconds, 1)}: ${[...highest, ...seen].join(", ")}`;
  }
}

/** Neighbouring rows with the same key; each row holds around its middle, up to half way to the next. */
function stretches(rows, key, end) {
  const list = [];
  rows.forEach((row, i) => {
    const from = i === 0 ? row.from : edge(rows[i - 1], row);
    const to = i === rows.length - 1 ? Math.min(row.to, end) : edge(row, rows[i + 1]);
    const last = list.at(-1), current = key(row);
    if (last && last.key === current && last.to >= from - NEAR) last.to = to;
    else list.push({ key: current, from, to });
  });
  return list;
}

/** Where there is no row of a person at all. */
function holes(rows, end) {
  const list = [];
  let last = 0;
  for (const row of rows) {
    if (row.from > last + NEAR) list.push({ key: "not seen", from: last, to: row.from });
    last = Math.max(last, row.to);
  }
  if (end > last + NEAR) list.push({ key: "not seen", from: last, to: end });
  return list;
}

/** Half way between two windows; of those that do not touch, the end or the beginning of the gap. */
function edge(before, after) {
  return after.from > before.to ? before.to : (middle(before) + middle(after)) / 2;
}

const middle = (row) => (row.from + row.to) / 2;

function nearest(rows, seconds) {
  const covering = rows.filter((row) => row.from - 0.5 <= seconds && seconds <= row.to + 0.5);
  return covering.reduce((best, row) => (!best || Math.abs(middle(row) - seconds) < Math.abs(middle(best) - seconds) ? row : best), null);
}

function rangeOf(rows, curves) {
  const values = rows.flatMap((row) => curves.map((curve) => row[curve.key])).filter((value) => typeof value === "number");
  const [low, high] = [Math.min(...values, 0), Math.max(...values, 0)];
  return low >= -1 && high <= 1 ? [-1, 1] : [low, Math.max(high, low + 1)];
}

/** One sentence on a person: for those who do not see the plot. */
export function describe(person, timeline) {
  const counts = new Map();
  for (const row of person.rows) if (row.predicted) counts.set(row.predicted, (counts.get(row.predicted) ?? 0) + 1);
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]).slice(0, NAMED);
  const rest = total - sorted.reduce((sum, [, n]) => sum + n, 0);
  if (rest) sorted.push(["the rest", rest]);
  if (total === 1) return `${sorted[0][0]}.`;
  if (sorted.length) return `${sorted.map(([name, n]) => `${name} in ${n}`).join(", ")} of ${total} windows.`;
  const means = curvesOf(timeline).map((curve) => [curve.name, person.rows.map((row) => row[curve.key]).filter((v) => typeof v === "number")]);
  const averages = means.filter(([, v]) => v.length).map(([name, v]) => `${name} ${(v.reduce((a, b) => a + b) / v.length).toFixed(2)}`);
  return averages.length ? `On average: ${averages.join(", ")}.` : "No face was found, so there is no answer.";
}

export function clock(seconds, digits = 0) {
  const whole = digits ? seconds : Math.round(seconds);
  const minutes = Math.floor(whole / 60), rest = (whole - 60 * minutes).toFixed(digits);
  return `${minutes}:${rest.padStart(digits ? 3 + digits : 2, "0")}`;
}

function stepOf(end, most) {
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find((step) => end / step <= most) ?? 7200;
}

function element(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function text(content, attributes) {
  const node = element("text", attributes);
  node.textContent = content;
  return node;
}

function titled(content) {
  const node = element("title");
  node.textContent = content;
  return node;
}
