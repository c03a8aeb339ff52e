// The page of the lake's coverage. All that comes from data is set as text, never as markup.
const WORDS = {
  c: ["Proved", "The object holds as many records as the exchange states. The stronger the colour, the more of them."],
  e: ["Proved empty", "The exchange stated that there was nothing, while it still remembered."],
  l: ["More than the exchange", "The object holds more than the exchange states today: it has forgotten some. Nothing to do."],
  q: ["Claim", "Empty or loaded so long after the day that the exchange may have forgotten what there was. It proves nothing; loading again would not either."],
  "+": ["Loaded since", "A run has loaded the day after the last audit. The next audit says how it is."],
  m: ["Missing", "There is no object. To be loaded."],
  s: ["Short", "The object holds fewer records than the exchange states. To be loaded."],
  x: ["Corrupt", "The object has not the bytes that were written. To be loaded."],
  u: ["Unfinished", "Some rows were in a state that may still change. To be loaded."],
  f: ["Foreign", "Under the key lies what another dataset, account, scope or program wrote. It is never overwritten: look at it."],
  ".": ["Not looked at", "No audit has looked at the whole of this day, or it is not over yet."],
};
const LEVELS = { certain: "Liquidation", takeover: "Liquidation by takeover", candidate: "Possible liquidation" };
const OPEN = "msxu", PROVED = "cel", GRAVEST = "fxmsuq+.lce", NUMBERLESS = "e.+";
const DAY = 86400000, CELL = 13, MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SVG = "http://www.w3.org/2000/svg", FIELDS = ["dataset", "account", "scope", "year"];
const $ = (selector) => document.querySelector(selector);
const iso = (ms) => new Date(ms).toISOString();
const date = (ms) => iso(ms).slice(0, 10);
const count = (number) => number.toLocaleString("en");
const days = (number) => `${count(number)} ${number === 1 ? "day" : "days"}`;
const records = (number) => `${count(number)} ${number === 1 ? "record" : "records"}`;
const name = (lake) => `${lake.dataset} · ${lake.scope}`;
let data, lakes = [], shown, busy = false, told = false;

function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
const shape = (id, x = 0, y = 0, more = {}) => make("svg:use", { href: `#d${id}`, x, y, ...more });
const swatch = (id) => make("svg:svg", { viewBox: "-1 -1 13 13", class: "swatch", "aria-hidden": true }, shape(id));

// -- data -------------------------------------------------------------------------------------------------------------

function decode(value) {
  const base = Date.UTC(value.year, 0, 1), numbers = value.records.values(), found = [];
  for (const [, letter, times] of value.days.matchAll(/([a-z.+])(\d*)/g)) {
    for (let left = Number(times || 1); left > 0; left--) {
      const has = NUMBERLESS.includes(letter) ? 0 : numbers.next().value;
      const total = value.totals[found.length] ?? Math.max(has, 0);
      found.push({ at: base + found.length * DAY, letter, records: has, total, audited: value.audited });
    }
  }
  return found;
}

function gather(values) {
  const found = new Map();
  for (const value of values) {
    const key = JSON.stringify([value.dataset, value.account, value.scope]);
    if (!found.has(key)) found.set(key, { dataset: value.dataset, account: value.account, scope: value.scope, years: new Map(), audited: "" });
    const lake = found.get(key);
    lake.years.set(value.year, decode(value));
    if ((value.audited ?? "") > lake.audited) Object.assign(lake, { audited: value.audited, dag: value.dag });
  }
  return [...found.values()];
}

const daysOf = (lake, year) => [...lake.years].filter(([each]) => !year || each === Number(year)).sort((a, b) => a[0] - b[0]).flatMap(([, found]) => found);

function runsOf(found, letters) {
  const runs = [];
  for (const day of found) {
    if (letters && !letters.includes(day.letter)) continue;
    const last = runs.at(-1);
    if (last && last.letter === day.letter && last.end === day.at) {
      last.end += DAY; last.records += Math.max(day.records, 0); last.total += day.total;
    } else runs.push({ ...day, start: day.at, end: day.at + DAY, records: Math.max(day.records, 0) });
  }
  return runs;
}

function sums(found) {
  const seen = found.filter((day) => day.letter !== ".");
  const proved = seen.filter((day) => PROVED.includes(day.letter)).length;
  const open = seen.filter((day) => OPEN.includes(day.letter)).length;
  return { seen: seen.length, proved, open, records: seen.reduce((all, day) => all + Math.max(day.records, 0), 0), first: seen[0]?.at };
}

const liquidations = (lake) => new Map(data.liquidations.filter((each) => each[0] === lake.account && each[1] === lake.scope).map((each) => [each[2], each[3]]));

function say(day) {
  const [word] = WORDS[day.letter];
  if (day.records === -1) return `${word}\nIts records are counted with the first day of the object`;
  if (NUMBERLESS.includes(day.letter)) return word;
  return `${word}\n${records(day.records)}${day.total === day.records ? "" : `, the exchange states ${count(day.total)}`}`;
}

// -- drawing ----------------------------------------------------------------------------------------------------------

function draw() {
  const found = daysOf(shown, shown.year), all = sums(found);
  document.title = `Binance margin: ${name(shown)}`;
  $("#about").textContent = all.first === undefined ? "No day has been looked at" : `Day by day since ${date(all.first)}, as the last audit found it, at ${shown.audited.slice(0, 16).replace("T", " ")} UTC`;
  const share = all.seen ? Math.floor((all.proved / all.seen) * 1000) / 10 : 0;
  $("#figures").replaceChildren(...[
    [`${share} %`, `${count(all.proved)} of ${days(all.seen)} proved`], [count(all.records), "records"],
    [count(all.open), all.open === 1 ? "day to be loaded" : "days to be loaded"],
    [count(found.filter((day) => day.letter === "q").length), "days that are only a claim"],
  ].map(([number, words]) => make("div", {}, make("b", {}, number), make("span", {}, words))));
  drawCalendar(found);
  drawGaps(found);
  drawLakes();
  drawMonths();
  const head = make("thead", {}, row("th", "From", "To", "Verdict", "Records"));
  $("#runs table").replaceChildren(head, make("tbody", {}, ...runsOf(found).map((run) => row("td", date(run.start), date(run.end - DAY), WORDS[run.letter][0], count(run.records)))));
  $("main").removeAttribute("aria-busy");
}

const row = (kind, ...cells) => make("tr", {}, ...cells.map((cell) => make(kind, /^[\d, ]+$/.test(cell) ? { class: "n" } : {}, cell)));

function drawCalendar(found) {
  const most = Math.max(...found.map((day) => (day.letter === "c" ? day.records : 0)), 1);
  const level = (day) => (day.letter !== "c" ? day.letter : `c${day.records < 0 ? 1 : 1 + Math.min(3, Math.floor((4 * Math.log(day.records)) / Math.log(most + 1)))}`);
  const marks = liquidations(shown), parts = innerWidth < 700 ? [[0, 6], [6, 12]] : [[0, 12]];
  const figures = [...shown.years.keys()].filter((year) => !shown.year || year === Number(shown.year)).sort().reverse().map((year) => {
    const own = shown.years.get(year), all = sums(own);
    const words = [`${count(all.proved)} proved`, all.open && `${count(all.open)} to be loaded`, records(all.records)].filter(Boolean).join(", ");
    const strips = parts.map(([from, to]) => strip(own.filter((day) => { const month = new Date(day.at).getUTCMonth(); return month >= from && month < to; }), level, marks, `${year}: ${words}`, parts.length));
    return make("figure", {}, make("figcaption", {}, make("b", {}, String(year)), words), ...strips);
  });
  $("#calendar").replaceChildren(...figures);
}

function strip(own, level, marks, label, parts) {
  const weekday = (at) => (new Date(at).getUTCDay() + 6) % 7, offset = weekday(own[0].at), place = new Map();
  const svg = make("svg:svg", { viewBox: `0 0 ${26 + (parts > 1 ? 27 : 54) * CELL} ${14 + 7 * CELL}`, tabindex: 0, role: "application", "aria-label": `Calendar of ${label}. Arrow keys move from day to day, Enter shows one` });
  ["Mon", "Wed", "Fri"].forEach((text, n) => svg.append(make("svg:text", { x: 0, y: 23 + 2 * n * CELL }, text)));
  own.forEach((day, n) => {
    const x = 26 + Math.floor((n + offset) / 7) * CELL, y = 14 + ((n + offset) % 7) * CELL;
    place.set(n, [x, y]);
    if (new Date(day.at).getUTCDate() === 1) svg.append(make("svg:text", { x: x + (weekday(day.at) ? CELL : 0), y: 9 }, MONTHS[new Date(day.at).getUTCMonth()]));
    svg.append(shape(level(day), x, y, { "data-n": n, "data-day": date(day.at) }));
    if (marks.has(date(day.at))) svg.append(make("svg:use", { href: "#mark", x, y }));
  });
  const cursor = make("svg:rect", { class: "cursor", width: 13, height: 13, rx: 3, visibility: "hidden" });
  svg.append(cursor);
  let at = Math.max(0, own.findLastIndex((day) => day.letter !== "."));
  const show = (n, spot) => {
    at = Math.min(Math.max(n, 0), own.length - 1);
    const [x, y] = place.get(at), day = own[at], mark = marks.get(date(day.at));
    cursor.setAttribute("x", x - 1); cursor.setAttribute("y", y - 1); cursor.setAttribute("visibility", "visible");
    tip(`${date(day.at)}\n${say(day)}${mark ? `\n◆ ${LEVELS[mark] ?? mark}` : ""}`, spot ?? svg.querySelector(`[data-n="${at}"]`).getBoundingClientRect());
  };
  const hide = () => { cursor.setAttribute("visibility", "hidden"); tip(); };
  svg.addEventListener("pointermove", (event) => ("n" in event.target.dataset ? show(Number(event.target.dataset.n), event.target.getBoundingClientRect()) : hide()));
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(at));
  svg.addEventListener("blur", hide);
  svg.addEventListener("click", (event) => "n" in event.target.dataset && open(own[event.target.dataset.n]));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7, Home: -at, End: own.length }[event.key];
    if (event.key === "Escape") hide();
    else if (event.key === "Enter" || event.key === " ") open(own[at]);
    else if (step !== undefined) show(at + step);
    else return;
    event.preventDefault();
  });
  return svg;
}

function tip(text, spot) {
  const box = $("#tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(spot.left + spot.width / 2 - width / 2, innerWidth - width - 4))}px`;
  box.style.top = `${spot.top - height - 8 > 0 ? spot.top - height - 8 : spot.bottom + 8}px`;
}

function drawGaps(found) {
  const gaps = runsOf(found, OPEN), foreign = runsOf(found, "f"), reason = hindrance(gaps);
  const body = [...gaps, ...foreign].slice(0, 50).map((run) => make("tr", {},
    make("td", {}, swatch(run.letter), ` ${date(run.start)}`, make("div", { class: "soft" }, `${WORDS[run.letter][0]}, ${days((run.end - run.start) / DAY)}`)),
    make("td", { class: "n" }, run.letter === "f" ? "" : make("button", { type: "button", disabled: reason !== "" && "", "aria-label": `Load from ${date(run.start)} to ${date(run.end - DAY)}`, onclick: () => load(run.start, run.end) }, "Load"))));
  const more = gaps.length + foreign.length - body.length;
  $("#gap-rows").replaceChildren(body.length ? make("table", {}, make("tbody", {}, ...body)) : make("p", { class: "soft" }, "Nothing. Every day that was looked at is there."), more > 0 ? make("p", { class: "note" }, `and ${count(more)} more, in the table below`) : "");
  $("#load").hidden = !gaps.length;
  $("#load").disabled = reason !== "";
  $("#load").onclick = () => load(gaps[0].start, gaps.at(-1).end);
  if (!told) $("#load-says").textContent = reason; // what a run has come to stays until something else is chosen
}

function hindrance(gaps) {
  const dag = data.dags[shown.dag];
  if (!gaps.length) return "";
  if (!dag) return "The DAG of the last audit is gone, or your role may not read it. Run the audit again to load from here.";
  if (!dag.loads) return `DAG ${shown.dag} takes no window. Give it the params start and end, as the example of the audit has them, and run it once.`;
  if (!dag.may_load) return `Your role may read this, but start no runs of DAG ${shown.dag}. Ask for the right to create its DAG runs.`;
  if (dag.paused) return `DAG ${shown.dag} is paused, so a run would only wait. Unpause it first.`;
  return busy ? "A run is under way." : "";
}

function drawLakes() {
  const to = Math.max(...lakes.flatMap((lake) => [...lake.years.keys()])), from = Math.min(...lakes.flatMap((lake) => [...lake.years.keys()]));
  const span = from === to ? `${to}` : `${from} to ${to}, month by month`;
  const head = make("thead", {}, make("tr", {}, ...["Dataset", "Scope", span, "Proved", "To load"].map((text, n) => make("th", n > 2 ? { class: "n" } : {}, text))));
  const body = lakes.map((lake) => {
    const found = daysOf(lake), all = sums(found), months = new Map();
    for (const day of found) {
      const key = new Date(day.at).getUTCFullYear() * 12 + new Date(day.at).getUTCMonth(), known = months.get(key);
      if (day.letter !== "." && (!known || GRAVEST.indexOf(day.letter) < GRAVEST.indexOf(known))) months.set(key, day.letter);
    }
    const svg = make("svg:svg", { viewBox: `0 0 ${(to - from + 1) * 12 * 12.5} 11`, class: "strip", role: "img", "aria-label": `${days(all.open)} to be loaded` });
    for (let n = 0; n < (to - from + 1) * 12; n++) { const letter = months.get(from * 12 + n) ?? "."; svg.append(shape(letter === "c" ? "c2" : letter, n * 12.5, 0)); }
    const choose = () => select(lake);
    return make("tr", { "aria-selected": lake === shown, onclick: choose }, make("td", {}, make("button", { type: "button" }, lake.dataset)), make("td", {}, lakes.some((other) => other.account !== lake.account) ? `${lake.account} · ${lake.scope}` : lake.scope), make("td", {}, svg), make("td", { class: "n" }, all.seen ? `${Math.floor((100 * all.proved) / all.seen)} %` : "–"), make("td", { class: "n" }, all.open ? count(all.open) : "–"));
  });
  $("#lakes table").replaceChildren(head, make("tbody", {}, ...body));
}

function drawMonths() {
  const siblings = lakes.filter((lake) => lake.dataset === shown.dataset && lake.account === shown.account);
  const years = [...new Set(siblings.flatMap((lake) => [...lake.years.keys()]))].filter((year) => !shown.year || year === Number(shown.year)).sort().reverse();
  const body = years.flatMap((year) => siblings.filter((lake) => lake.years.has(year)).map((lake) => {
    const months = Array(12).fill(0);
    for (const day of lake.years.get(year)) months[new Date(day.at).getUTCMonth()] += Math.max(day.records, 0);
    const cells = [...months, months.reduce((all, number) => all + number, 0)].map((number) => make("td", { class: "n" }, number ? count(number) : "–"));
    return make("tr", {}, make("th", { scope: "row" }, String(year)), make("th", { scope: "row" }, lake.scope), ...cells);
  }));
  $("#months table").replaceChildren(make("thead", {}, make("tr", {}, ...["Year", "Scope", ...MONTHS, "All"].map((text, n) => make("th", n > 1 ? { class: "n" } : {}, text)))), make("tbody", {}, ...body));
}

async function open(day) {
  const box = $("#day div"), base = new URL("..", location).pathname;
  const line = (word, ...what) => [make("dt", { class: "soft" }, word), make("dd", {}, ...what)];
  const lines = [line("Verdict", make("b", {}, WORDS[day.letter][0]), ` ${WORDS[day.letter][1]}`), line("Records", say(day).split("\n")[1] ?? "none")];
  $("#day h2").textContent = date(day.at);
  const list = make("dl", {}, ...lines.flat());
  box.replaceChildren(list);
  $("#day").scrollIntoView({ block: "nearest" });
  const mark = liquidations(shown).get(date(day.at));
  if (mark) list.append(...line("Report", LEVELS[mark] ?? mark));
  const query = new URLSearchParams({ dataset: shown.dataset, account: shown.account, scope: shown.scope, day: date(day.at) });
  const answer = await fetch(`day?${query}`);
  if (!answer.ok || $("#day h2").textContent !== date(day.at)) return;
  const { audit, objects, loads } = await answer.json();
  const links = (run) => {
    const path = `${base}dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}`;
    const task = `${path}/tasks/${encodeURIComponent(run.task_id)}${run.map_index < 0 ? "" : `/mapped/${run.map_index}`}`;
    return [link(path, run.run_id), ", ", link(task, "log"), make("div", {}, `${run.dag_id}, ${run.when.slice(0, 16).replace("T", " ")} UTC`)];
  };
  if (objects.length) list.append(...line("Object", make("code", {}, objects[0]), objects.length > 1 ? ` and ${objects.length - 1} more` : ""));
  for (const run of loads) list.append(...line("Loaded", ...links(run)));
  if (audit) list.append(...line("Audited", ...links(audit)));
}

// In Airflow's frame a link must be followed by the host's own router; outside of it, it is a link.
function link(path, text) {
  return make("a", { href: path, onclick: (event) => {
    if (parent === window) return;
    event.preventDefault();
    try {
      parent.history.pushState({}, "", path);
      parent.dispatchEvent(new parent.PopStateEvent("popstate", { state: {} }));
    } catch { event.target.replaceWith(make("code", {}, path)); }
  } }, text);
}

function drawLegend() {
  const entries = Object.entries(WORDS).map(([letter, words]) => [letter === "c" ? "c3" : letter, ...words]);
  const mark = make("svg:svg", { viewBox: "-1 -1 13 13", class: "swatch" }, make("svg:use", { href: "#mark" }));
  $("#legend dl").replaceChildren(...entries.flatMap(([id, word, why]) => [make("dt", {}, swatch(id)), make("dd", {}, make("b", {}, word), ` ${why}`)]), make("dt", {}, mark), make("dd", {}, make("b", {}, "Liquidation"), " The report has found one on this day."));
}

// -- doing ------------------------------------------------------------------------------------------------------------

async function load(start, end) {
  const dag = shown.dag, runs = `../api/v2/dags/${encodeURIComponent(dag)}/dagRuns`;
  const tell = (...words) => $("#load-says").replaceChildren(...words);
  const stillOpen = () => daysOf(shown, shown.year).filter((day) => day.at >= start && day.at < end && OPEN.includes(day.letter)).length;
  busy = told = true;
  drawGaps(daysOf(shown, shown.year));
  tell("Asking for a run …");
  try {
    const body = JSON.stringify({ logical_date: null, conf: { start: iso(start).replace(".000", ""), end: iso(end).replace(".000", "") } });
    const asked = await fetch(runs, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    let run = await asked.json();
    if (!asked.ok) throw new Error(asked.status === 403 ? "your role may not start it" : `${asked.status} ${JSON.stringify(run.detail ?? "")}`);
    const id = run.dag_run_id, path = `${new URL("..", location).pathname}dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(id)}`;
    while (!["success", "failed"].includes(run.state)) {
      tell(`Loading ${date(start)} to ${date(end - DAY)}: `, link(path, id), ` is ${run.state}.`);
      await new Promise((done) => setTimeout(done, 1500));
      const answer = await fetch(`${runs}/${encodeURIComponent(id)}`);
      if (!answer.ok) throw new Error(`its state is not known (${answer.status})`);
      run = await answer.json();
    }
    await refresh();
    const left = stillOpen() ? `${days(stillOpen())} still to be loaded, see ` : "nothing is missing from there any more, by ";
    tell(run.state === "success" ? `Done: ${left}` : "The run failed, see ", link(path, id), ".");
  } catch (error) {
    tell(`DAG ${dag} was not run to its end: ${error.message}.`);
  }
  busy = false;
  drawGaps(daysOf(shown, shown.year));
}

function select(lake, year = shown?.year ?? "") {
  shown = Object.assign(lake, { year: lake.years.has(Number(year)) ? String(year) : "" });
  told = false;
  const form = $("#choice"), fill = (field, values, value) => {
    form.elements[field].replaceChildren(...values.map((each) => make("option", { value: each }, each || "All years")));
    form.elements[field].value = value;
    form.elements[field].parentElement.hidden = field === "account" && values.length < 2;
  };
  const unique = (field, where) => [...new Set(lakes.filter(where).map((each) => each[field]))];
  fill("dataset", unique("dataset", () => true), shown.dataset);
  fill("account", unique("account", (each) => each.dataset === shown.dataset), shown.account);
  fill("scope", unique("scope", (each) => each.dataset === shown.dataset && each.account === shown.account), shown.scope);
  fill("year", ["", ...[...shown.years.keys()].sort().reverse().map(String)], shown.year);
  const query = new URLSearchParams(FIELDS.filter((field) => shown[field]).map((field) => [field, shown[field]]));
  history.replaceState(null, "", `?${query}`);
  $("#day h2").textContent = "A day";
  $("#day div").replaceChildren(make("p", { class: "soft" }, "Choose a day to see its object, the run that loaded it and the log."));
  draw();
}

function choose() {
  const form = $("#choice"), wanted = Object.fromEntries(FIELDS.map((field) => [field, form.elements[field].value]));
  const fits = (fields) => lakes.find((lake) => fields.every((field) => lake[field] === wanted[field]));
  select(fits(["dataset", "account", "scope"]) ?? fits(["dataset", "account"]) ?? fits(["dataset"]), wanted.year);
}

async function refresh() {
  const answer = await fetch("coverage");
  if (!answer.ok) throw Object.assign(new Error(`the answer was ${answer.status}`), { status: answer.status });
  data = await answer.json();
  lakes = gather(data.lakes);
  if (shown) { const { dataset, account, scope, year } = shown; shown = Object.assign(lakes.find((lake) => lake.dataset === dataset && lake.account === account && lake.scope === scope) ?? lakes[0], { year }); draw(); }
}

function teach(title, ...lines) {
  $("#notice").append(make("b", {}, title), ...lines.map((line) => (typeof line === "string" ? make("p", {}, line) : line)));
  $("#notice").hidden = false;
}

function teachOf() {
  $("#notice").replaceChildren();
  if (data.elsewhere) teach("Some coverage is kept where this page cannot look", "The option [workers] state_store_backend keeps what audits store outside of Airflow's database. Leave the lake's asset out of the audit's inlets: it then hands over its days as an XCom, which this page reads.");
  if (data.hidden) teach("Some coverage is not shown", "It was stored by DAGs that your role may not read. Ask for the right to read them.");
  if (!lakes.length && !data.hidden && !data.elsewhere) teach("No audit has been here yet", "This page shows what audits find, day by day. Give the audit the asset that your loading tasks have as outlet, and run it once:", make("pre", {}, 'MarginHistoryAuditOperator(\n    task_id="audit", dataset="interest", grain="day",\n    s3_bucket="my-lake", inlets=[Asset("my_lake")],\n)'), "The example DAG binance_force_liquidation_audit has it all, the button's params too.");
  if (!data.store && lakes.length) teach("As far as the last runs tell", `Airflow ${data.airflow} has no state store, which came with 3.3. What is shown are XComs of audits: they go when their runs are deleted or the database is cleaned.`);
}

async function start() {
  drawLegend();
  try {
    await refresh();
  } catch (error) {
    if (error.status === 401) teach("You are not signed in", "Sign in to Airflow, then open this page again.");
    else if (error.status === 403) teach("Your role may not read this", "It needs the right to read assets. With Airflow's FAB roles that is “can read on Assets”; the menu's entry needs “can read on Plugins” besides.");
    else teach("The coverage could not be read", `${error.message}. The API server's log says why.`);
  }
  if (data) teachOf();
  if (!lakes.length) { for (const part of ["#figures", "#columns", "#choice"]) $(part).hidden = true; return; }
  const wanted = Object.fromEntries(new URLSearchParams(location.search));
  const score = (lake) => FIELDS.slice(0, 3).filter((field) => lake[field] === wanted[field]).length;
  select(lakes.reduce((best, lake) => (score(lake) > score(best) ? lake : best)), wanted.year ?? "");
  $("#choice").addEventListener("change", choose);
  let narrow = innerWidth < 700;
  addEventListener("resize", () => { if (innerWidth < 700 !== narrow) { narrow = !narrow; draw(); } });
}
start();
