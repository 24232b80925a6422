// Send a video, ask for its state until it is done, fetch the answer into this tab, and let the server remove it.

import { clock, describe, drawPlots, personsOf } from "./plot.js";

const ASK_EVERY = 500; // milliseconds
const LONGEST_TABLE = 500;
const DOWNLOADS = [
  ["timeline.csv", "Table (CSV)"], ["timeline.json", "Data (JSON)"], ["overlay.mp4", "Video (MP4)"], ["overlay.jpg", "Picture (JPEG)"],
  ["timeline.png", "Timeline (PNG)"],
];
const WORDS = ["predicted", "seen"]; // columns of the table that hold no numbers
const find = (id) => document.getElementById(id);
let limits = null; // of the server
let current = null; // the video that is being sent or analysed
let display = { urls: [], plots: null };

class Problem extends Error {}

async function begin() {
  const about = await getJson("api/health");
  limits = about.limits;
  const classes = Object.keys(about.classes);
  find("model").textContent = `${about.model} (${about.family})${classes.length ? `: ${classes.join(", ")}` : ""}`;
  find("trained").textContent = about.trained_on ? `Note of its training set: ${about.trained_on}` : "";
  find("caution").textContent = about.caution;
  find("limits").textContent = `At most ${limits.megabytes} MB and ${limits.minutes} minutes.`;
  const minutes = Math.max(Math.ceil(limits.forgotten / 60), 1);
  find("forgotten").textContent = minutes === 1 ? "a minute" : `${minutes} minutes`;
}

async function analyse(file) {
  if (current) return;
  clearAnswer();
  show("work");
  current = { file, request: null, job: null, received: false, stopped: false };
  const task = current;
  try {
    check(file);
    task.job = await send(task);
    await finish(task);
    await showAnswer(task);
  } catch (error) {
    if (task.stopped) {
      await forget(task);
      say("Stopped; the video was removed.");
    } else complain(error instanceof Problem ? error.message : "The server does not answer. Is it still running?");
    show("send");
  } finally {
    forget(task);
    current = null;
  }
}

function check(file) {
  if (!file.size) throw new Problem("This file is empty.");
  if (limits && file.size > limits.megabytes * 1e6) {
    throw new Problem(`This file has ${(file.size / 1e6).toFixed(1)} MB; at most ${limits.megabytes} MB are accepted.`);
  }
}

/** Resolves to the job's number; the bar shows how much has been sent. */
function send(task) {
  return new Promise((resolve, reject) => {
    const request = (task.request = new XMLHttpRequest());
    request.open("POST", "api/videos");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => progress("Sending", event.loaded / event.total, "");
    request.upload.onload = () => {
      task.received = true;
      progress("Checking the file", null, "");
    };
    request.onload = () => {
      const answer = parse(request.responseText);
      if (request.status === 201) resolve(answer.job);
      else reject(new Problem(answer.error ?? `The server answered with status ${request.status}.`));
    };
    request.onerror = request.onabort = () => reject(new Error("no connection"));
    request.send(task.file);
  });
}

async function finish(task) {
  for (;;) {
    if (task.stopped) throw new Error("stopped");
    const state = await getJson(`api/videos/${task.job}`);
    if (state.state === "done") return (task.files = state.files);
    if (state.state === "failed") throw new Problem(state.error);
    if (state.state === "waiting") progress("Waiting for another video", null, "");
    else progress("Analysing", state.progress, `${clock(state.seconds)} of the video analysed`);
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
  }
}

/** Everything into this tab; afterwards the server has nothing left of it. */
async function showAnswer(task) {
  progress("Fetching the answer", null, "");
  const urls = {};
  let timeline = null;
  for (const name of task.files) {
    const response = await fetch(`api/videos/${task.job}/${name}`);
    if (!response.ok) throw new Problem((await response.json()).error);
    const blob = await response.blob();
    if (name === "timeline.json") timeline = JSON.parse(await blob.text());
    display.urls.push((urls[name] = URL.createObjectURL(blob)));
  }
  forget(task);
  show("answer");
  const isPicture = Boolean(urls["overlay.jpg"]);
  find("summary").textContent = summarise(timeline, isPicture);
  find("overlay").hidden = !urls["overlay.mp4"];
  if (urls["overlay.mp4"]) find("overlay").src = urls["overlay.mp4"];
  find("picture").hidden = !isPicture;
  if (isPicture) find("picture").src = urls["overlay.jpg"];
  display.plots = drawPlots(find("plot"), timeline, (seconds) => { find("overlay").currentTime = seconds; });
  fillTable(timeline);
  const stem = task.file.name.replace(/\.[^.]*$/, "") || "answer";
  find("downloads").replaceChildren(...DOWNLOADS.filter(([name]) => urls[name]).map(([name, label]) => {
    const link = document.createElement("a");
    Object.assign(link, { href: urls[name], download: `${stem}-${name}`, className: "button", textContent: label });
    return link;
  }));
  find("answer").focus();
  say("The answer is ready.");
}

function summarise(timeline, isPicture) {
  const persons = personsOf(timeline).map((person) => `${person.title}: ${describe(person, timeline)}`);
  const damaged = timeline.damaged ? ` The file is damaged: ${timeline.damaged}.` : "";
  const sure = timeline.calibrated ? "" : " Confidences are not calibrated.";
  const length = isPicture ? "" : `${clock(timeline.seconds)} of video. `;
  return `${length}${persons.join(" ")}${damaged}${timeline.classes.length ? sure : ""}`;
}

function fillTable(timeline) {
  const values = [...timeline.classes.map((name) => [`prob_${name}`, name]), ...timeline.numbers.map((name) => [name, name])];
  const columns = [["from", "from"], ["to", "to"], ["person", "person"], ...(timeline.classes.length ? [["predicted", "predicted"]] : []), ["seen", "seen"], ...values];
  const head = row("th", columns.map(([key, name]) => [key, name]));
  const lines = timeline.rows.slice(0, LONGEST_TABLE).map((cells) => row("td", columns.map(([key]) => [key, cell(key, cells[key])])));
  const caption = document.createElement("caption");
  const cut = timeline.rows.length > LONGEST_TABLE ? ` The first ${LONGEST_TABLE} of ${timeline.rows.length} rows; the CSV has all.` : "";
  caption.textContent = `Start and end in seconds, and the model's answer for each person.${cut}`;
  find("table").replaceChildren(caption, head, ...lines);
}

function row(kind, values) {
  const line = document.createElement("tr");
  line.append(...values.map(([key, value]) => {
    const entry = document.createElement(kind);
    if (kind === "th") entry.scope = "col";
    if (WORDS.includes(key)) entry.className = "word";
    entry.textContent = value;
    return entry;
  }));
  return line;
}

function cell(key, value) {
  if (value === null || value === undefined) return "";
  if (key.startsWith("prob_")) return `${(100 * value).toFixed(1)}\u00a0%`;
  return typeof value === "number" && key !== "person" ? value.toFixed(2) : value;
}

/** The server removes what it has of it; also when this page is left. */
async function forget(task) {
  const job = task.job;
  task.job = null;
  if (job) await fetch(`api/videos/${job}`, { method: "DELETE", keepalive: true }).catch(() => {});
}

/** The server drops a video that it has not received completely. Later, its answer has the number to remove it by. */
function stop() {
  if (!current) return;
  current.stopped = true;
  if (!current.received) current.request?.abort();
  else progress("Stopping", null, "");
}

function clearAnswer() {
  display.plots?.close();
  display.urls.forEach((url) => URL.revokeObjectURL(url));
  display = { urls: [], plots: null };
  find("overlay").removeAttribute("src");
  find("overlay").load();
  find("picture").removeAttribute("src");
  complain("");
}

async function getJson(address) {
  const response = await fetch(address);
  const answer = parse(await response.text());
  if (!response.ok) throw new Problem(answer.error ?? `The server answered with status ${response.status}.`);
  return answer;
}

function parse(text) {
  try { return JSON.parse(text); } catch { return {}; }
}

function show(id) {
  for (const section of ["send", "work", "answer"]) find(section).hidden = section !== id;
}

function progress(title, share, step) {
  if (find("work-title").textContent !== title) say(title);
  find("work-title").textContent = title;
  find("step").textContent = share === null ? step : `${Math.round(100 * share)}\u00a0%${step ? `, ${step}` : ""}`;
  if (share === null) find("bar").removeAttribute("value");
  else find("bar").value = share;
}

function say(text) { find("announcement").textContent = text; }

function complain(text) { find("error").textContent = text; }

const drop = find("drop");
find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) analyse(file);
  event.target.value = "";
});
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
drop.addEventListener("dragover", () => drop.classList.add("over"));
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) analyse(file);
});
find("stop").addEventListener("click", stop);
find("again").addEventListener("click", () => { clearAnswer(); show("send"); find("file").focus(); });
find("overlay").addEventListener("timeupdate", () => display.plots?.showTime(find("overlay").currentTime));
addEventListener("pagehide", () => { if (current) forget(current); });
begin().catch(() => complain("The server does not answer. Is it still running?"));
