// Draws the report from the JSON beside it. Texts reach the page by textContent only.
(() => {
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const AXES = ["episodes", "timesteps", "update", "wall time", "step", "epoch"];
const RESULT = ["return_mean", "running_reward", "success", "evaluation", "length_mean", "accuracy", "mean_reciprocal_rank",
  "loss"];
const LEARNING = ["entropy", "approx_kl", "clip_fraction", "explained_variance", "policy_loss", "value_loss", "grad_norm_actor",
  "grad_norm_critic", "kl_to_reference", "kl_to_reference_k3", "kl_coefficient", "train_loss", "learning_rate"];
const ELSEWHERE = [...AXES, "seconds", "evaluation_low", "evaluation_high", "difficulty", "cut"];
const UPDATES = ["return_mean", "success", "length_mean", "entropy", "approx_kl", "clip_fraction", "explained_variance", "policy_loss",
  "value_loss", "grad_norm_actor", "seconds", "steps_per_second"];
const COLOURS = 6, DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const MINUS = "\u2212";

let data = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set();  // folders of runs that are not shown
const orders = new Map();  // of each table the column that it is sorted by, and which way
const state = {axis: null, smooth: 0, differing: false};
const $ = id => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const known = values => values.filter(value => value !== null && value !== undefined);
const colour = i => `var(--c${i % COLOURS})`;
const dash = i => DASHES[Math.floor(i / COLOURS) % DASHES.length];
const runs = () => data.runs.map((run, index) => ({...run, index})).filter(run => !hidden.has(run.folder));
const pretty = name => name.replaceAll("_", " ");

function format(value) {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  let text;
  if (size < 1e-9) text = "0";
  else if (size >= 1e6 || size < 1e-3) text = value.toExponential(1);
  else if (Number.isInteger(value)) text = value.toLocaleString("en");
  else text = value.toLocaleString("en", {maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 3});
  return text.replace(/-/g, MINUS);
}
function duration(seconds) {
  if (seconds === null || seconds === undefined) return "\u2013";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min`;
}

// ---- charts

function smoothed(values) {
  // Exponential moving average, corrected for its start as Adam's moments are.
  const keep = state.smooth / 100;
  let mean = 0, weight = 0;
  return values.map(value => {
    if (value === null || value === undefined) return null;
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return mean / weight;
  });
}
function points(run, name) {
  const x = run.columns[state.axis] ?? [], y = smoothed(run.columns[name] ?? []);
  const low = name === "evaluation" ? run.columns.evaluation_low : null, high = name === "evaluation" ? run.columns.evaluation_high : null;
  return y.map((value, i) => ({x: x[i], y: value, low: low?.[i] ?? null, high: high?.[i] ?? null}))
    .filter(point => point.y !== null && point.x !== null && point.x !== undefined);
}
function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1, rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(size => size >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}
function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return format(value / 1e6) + "M";
  if (size >= 1e4) return format(value / 1e3) + "k";
  return format(value);
}
// series: [{name, index, points}]. One chart, read with the pointer or, once it has the focus, with the arrow keys. `beside`: the
// points of all charts whose axes it shares.
function draw(holder, series, label, beside) {
  const width = Math.max(240, holder.clientWidth), height = Math.round(Math.min(260, Math.max(170, width * .5)));
  const own = series.flatMap(one => one.points), all = beside ?? own;
  let [x0, x1] = [Math.min(...all.map(p => p.x)), Math.max(...all.map(p => p.x))];
  const ys = all.flatMap(p => known([p.y, p.low, p.high]));
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (x0 === x1) [x0, x1] = [x0 - .5, x1 + .5];
  if (y0 > 0 && (beside || y0 < .35 * y1)) y0 = 0;
  const pad = (y1 - y0) * .06 || Math.abs(y1) * .1 || .5;
  [y0, y1] = [y0 === 0 ? 0 : y0 - pad, y1 + pad];
  const marks = ticks(y0, y1, 4), texts = marks.map(tickText);
  const left = 10 + 6.6 * Math.max(...texts.map(text => text.length), 2), right = 10, top = 8, bottom = 24;
  const X = x => left + (x - x0) / (x1 - x0) * (width - left - right), Y = y => top + (y1 - y) / (y1 - y0) * (height - top - bottom);
  const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: 0, "aria-label": label});
  marks.forEach((mark, i) => picture.append(
    svg("path", {class: mark === 0 ? "grid zero" : "grid", d: `M${left} ${Y(mark)}H${width - right}`}),
    svg("text", {x: left - 7, y: Y(mark) + 4, "text-anchor": "end"}, texts[i])));
  for (const mark of ticks(x0, x1, width > 420 ? 6 : 4)) {
    picture.append(svg("text", {x: X(mark), y: height - 6, "text-anchor": X(mark) > width - 30 ? "end" : "middle"}, tickText(mark)));
  }
  for (const one of series) {
    const band = one.points.filter(p => p.low !== null && p.high !== null);
    if (band.length > 1) {
      const path = [...band.map(p => `${X(p.x)} ${Y(p.high)}`), ...band.toReversed().map(p => `${X(p.x)} ${Y(p.low)}`)];
      picture.append(svg("path", {class: "band", d: `M${path.join("L")}Z`, style: `fill:${colour(one.index)}`}));
    }
    const line = one.points.map(p => `${X(p.x).toFixed(1)} ${Y(p.y).toFixed(1)}`);
    picture.append(svg("path", {class: "line", d: `M${line.join("L")}`, style: `stroke:${colour(one.index)}`, "stroke-dasharray": dash(one.index)}));
    if (one.points.length < 13) {
      for (const p of one.points) picture.append(svg("circle", {cx: X(p.x), cy: Y(p.y), r: 2.6, style: `fill:${colour(one.index)}`}));
    }
  }
  const cursor = svg("g", {class: "cursor"});
  picture.append(cursor);
  const stops = [...new Set(own.map(p => p.x))].sort((a, b) => a - b);
  let at = stops.length - 1;
  const nearest = x => stops.reduce((best, stop, i) => Math.abs(stop - x) < Math.abs(stops[best] - x) ? i : best, 0);
  function show(i, clientX) {
    at = i;
    const x = stops[i], lines = [];
    cursor.replaceChildren(svg("path", {d: `M${X(x)} ${top}V${height - bottom}`}));
    for (const one of series) {
      const p = one.points.reduce((best, q) => best === null || Math.abs(q.x - x) < Math.abs(best.x - x) ? q : best, null);
      if (!p) continue;
      cursor.append(svg("circle", {cx: X(p.x), cy: Y(p.y), r: 4, style: `fill:${colour(one.index)}`}));
      lines.push([p.y, el("div", {}, el("i", {style: `background:${colour(one.index)}`}), el("span", {}, one.name),
        el("b", {}, format(p.y) + (p.low === null ? "" : ` (${format(p.low)} to ${format(p.high)})`)))]);
    }
    lines.sort((a, b) => b[0] - a[0]);
    const where = state.axis === "wall time" ? duration(x) : `${state.axis} ${format(x)}`;
    $("tip").replaceChildren(el("div", {class: "where"}, where), ...lines.slice(0, 14).map(line => line[1]));
    const frame = picture.getBoundingClientRect(), tip = $("tip");
    tip.hidden = false;
    const pointer = clientX ?? frame.left + X(x);
    tip.style.left = Math.max(6, Math.min(pointer + 16, document.documentElement.clientWidth - tip.offsetWidth - 6)) + "px";
    const below = frame.bottom + 4;
    tip.style.top = (below + tip.offsetHeight < innerHeight ? below : Math.max(6, frame.top - tip.offsetHeight - 4)) + "px";
  }
  function leave() { cursor.replaceChildren(); $("tip").hidden = true; }
  picture.addEventListener("pointermove", event => {
    const frame = picture.getBoundingClientRect(), x = (event.clientX - frame.left) * width / frame.width;
    show(nearest(x0 + (x - left) / (width - left - right) * (x1 - x0)), event.clientX);
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("focus", () => { if (picture.matches(":focus-visible")) show(at); });
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", event => {
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: stops.length - 1}[event.key];
    if (event.key === "Escape") leave();
    if (to === undefined) return;
    event.preventDefault();
    show(Math.max(0, Math.min(stops.length - 1, to)));
  });
  holder.replaceChildren(picture);
}
const drawers = new Map();  // holder -> what draws it anew
const resized = new ResizeObserver(entries => entries.forEach(entry => {
  const width = Math.round(entry.contentRect.width);
  if (width && entry.target.dataset.width !== String(width)) {
    entry.target.dataset.width = width;
    drawers.get(entry.target)?.();
  }
}));
function chart(title, series, explained, beside) {
  series = series.filter(one => one.points.length);
  if (!series.length) return null;
  const label = `${title}: ` + series.map(one => `${one.name} from ${format(one.points[0].y)} to ${format(one.points.at(-1).y)}`).join("; ");
  const holder = el("div", {class: "plot"});
  drawers.set(holder, () => draw(holder, series, label, beside));
  resized.observe(holder);
  const last = series.length === 1 ? el("b", {class: "last"}, format(series[0].points.at(-1).y)) : null;
  return el("figure", {class: "chart", "data-chart": title}, el("figcaption", {}, el("span", {}, pretty(title)), last), holder,
    beside ? el("div", {class: "lines"}, ...series.map(one => el("span", {}, el("i", {style: `background:${colour(one.index)}`}), one.name))) : null,
    explained ? el("p", {class: "meaning"}, explained[0], explained[1] ? el("span", {class: "healthy"}, el("b", {}, "healthy: "), explained[1]) : null) : null);
}
const statistic = name => chart(name, runs().map(run => ({name: run.name, index: run.index, points: points(run, name)})), data.explained[name]);
// The columns prefix/NAME: a chart for each run, a line for each name, in the same colours and on the same axes.
function family(prefix, title) {
  const names = [...new Set(data.runs.flatMap(run => Object.keys(run.columns)))].filter(name => name.startsWith(prefix + "/")).sort();
  const lines = runs().map(run => [run, names.map((name, index) => ({name: name.slice(prefix.length + 1), index, points: points(run, name)}))]);
  const beside = lines.flatMap(([, series]) => series.flatMap(one => one.points));
  const charts = lines.map(([run, series]) => chart(run.name, series, null, beside)).filter(Boolean);
  const [meaning, healthy] = data.explained[names[0]] ?? ["", ""];
  return charts.length ? [el("h3", {}, title), el("p", {class: "meaning lead"}, meaning, healthy ? el("span", {class: "healthy"},
    el("b", {}, "healthy: "), healthy) : null), grid(charts)] : [];
}
const grid = charts => el("div", {class: "grid"}, ...charts.filter(Boolean));
const none = text => el("p", {class: "none"}, text);

// ---- tables

// columns: [{name, help, text}], rows: [[value, ...]]; a value may be {value, node}.
function table(id, columns, rows) {
  const order = orders.get(id), value = cell => cell !== null && typeof cell === "object" ? cell.value : cell;
  if (order) {
    rows = rows.toSorted((one, other) => {
      const [a, b] = [value(one[order.column]), value(other[order.column])];
      if (a === b) return 0;
      if (a === null || a === undefined) return 1;
      if (b === null || b === undefined) return -1;
      return (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true})) * order.way;
    });
  }
  const heads = columns.map((column, i) => {
    const way = order?.column === i ? order.way : 0;
    return el("th", {scope: "col", class: column.text ? "text" : "", "aria-sort": way ? (way > 0 ? "ascending" : "descending") : "none"}, el("button", {type: "button",
      title: column.help ? `${column.help}\n(sorts the table)` : "sorts the table", onclick: () => {
        orders.set(id, {column: i, way: way ? -way : column.text ? 1 : -1});
        const holder = made.parentElement, again = table(id, columns, rows);
        holder.replaceChild(again, made);
        again.querySelectorAll("th button")[i].focus();
      }}, column.name, el("span", {class: "arrow", "aria-hidden": "true"}, way > 0 ? "\u25b2" : way < 0 ? "\u25bc" : "\u21c5")));
  });
  const made = el("table", {id}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows.map(row => el("tr", {},
    ...row.map((cell, i) => el("td", {class: columns[i].text ? "text" : ""}, cell !== null && typeof cell === "object" ? cell.node : format(cell)))))));
  return made;
}
const scroll = (...children) => el("div", {class: "scroll"}, ...children);
const tag = run => ({value: run.name, node: el("span", {class: "tag"}, el("i", {style: `background:${colour(run.index)}`}), run.name)});
const asTime = seconds => ({value: seconds, node: document.createTextNode(duration(seconds))});

// ---- sections

function cards() {
  $("runs").replaceChildren(...data.runs.map((run, index) => {
    const shown = !hidden.has(run.folder), curve = run.curve, returns = known(run.columns.return_mean ?? []);
    const box = el("input", {type: "checkbox", checked: shown, "aria-label": `show ${run.name}`, onchange: event => {
      event.target.checked ? hidden.delete(run.folder) : hidden.add(run.folder);
      render();
      $("runs").querySelectorAll("input")[index].focus();
    }});
    const facts = [["last return", curve ? format(curve.last) : "\u2013"], ["first return", curve ? format(curve.first) : "\u2013"],
      ["success", known(run.columns.success ?? []).length ? format(known(run.columns.success).at(-1)) : null],
      ["episodes", format(known(run.columns.episodes ?? []).at(-1))], ["updates", format(run.updates)], ["trained for", duration(run.seconds)]];
    return el("label", {class: shown ? "card" : "card off", style: `--own:${colour(index)}`}, el("span", {class: "top"}, box,
      el("span", {class: "name"}, run.name)), spark(returns, index), el("dl", {}, ...facts.filter(fact => fact[1] !== null).map(([name, text]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, text)))), el("span", {class: "folder", title: run.folder}, run.folder.split(/[\\/]/).slice(-2).join("/")));
  }));
}
function spark(values, index) {
  const picture = svg("svg", {class: "spark", viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true"});
  if (values.length > 1) {
    const low = Math.min(...values), span = Math.max(...values) - low || 1;
    const line = values.map((value, i) => `${(i / (values.length - 1) * 100).toFixed(2)} ${(26 - (value - low) / span * 24).toFixed(2)}`).join("L");
    picture.append(svg("path", {class: "under", d: `M0 28L${line}L100 28Z`}), svg("path", {d: `M${line}`, "stroke-dasharray": dash(index)}));
  }
  return picture;
}
function analysis() {
  const shown = runs().filter(run => run.curve);
  if (!shown.length) return [none("No episode has ended yet.")];
  const columns = [{name: "run", text: true}, {name: "first", help: "mean return of the first tenth of the updates"},
    {name: "last", help: "mean return of the last tenth of the updates"}, {name: "best", help: "highest mean return of one update"},
    {name: "best at update"}, {name: "slope / 100 episodes", help: "least-squares line over the whole run"},
    {name: "late slope", help: "the same over the last third: near 0, it learns no more"},
    {name: "plateau from episode", help: "from here on the running mean stays within a tenth of its range of its end; \u2013: it still moves"},
    {name: "mean height", help: "area under the curve divided by its width: high is soon and good"},
    {name: "threshold", help: "given, or nine tenths of the way from the lowest beginning to the highest point of the runs of this environment"},
    {name: "episodes to it"}, {name: "time to it"}];
  const rows = shown.map(run => [tag(run), run.curve.first, run.curve.last, run.curve.best, run.curve.best_update, run.curve.slope,
    run.curve.late_slope, run.curve.plateau, run.curve.area, run.threshold, run.curve.reached, asTime(run.curve.reached_seconds)]);
  const repeated = data.spreads.filter(one => one.runs > 1);
  const spreads = !repeated.length ? [none("No two runs differ in their seed only, so nothing is known of the spread between seeds.")]
    : [el("h3", {}, "Spread between seeds"), scroll(table("spreads", [{name: "runs that differ in their seed only", text: true}, {name: "seeds"},
      {name: "mean of last"}, {name: "standard deviation"}, {name: "least"}, {name: "most"}, {name: "mean height"}],
      repeated.map(one => [one.name, one.runs, one.mean, one.deviation, one.least, one.most, one.area])))];
  const meanings = columns.filter(column => column.help).flatMap(column => [el("dt", {}, column.name), el("dd", {}, column.help)]);
  return [el("p", {class: "lead"}, "Of the mean return of each update, over the episodes played."), scroll(table("curves", columns, rows)),
    el("details", {class: "more"}, el("summary", {}, "what the headings mean"), el("dl", {class: "meanings"}, ...meanings)), ...spreads];
}
function learning() {
  const names = [...new Set(runs().flatMap(run => Object.keys(run.columns)))];
  const others = names.filter(name => ![...RESULT, ...LEARNING, ...ELSEWHERE].includes(name) && !name.includes("/"));
  return [grid(LEARNING.map(statistic)), others.length ? el("details", {class: "more"}, el("summary", {}, "further statistics"), grid(others.sort().map(statistic))) : null];
}
function tasks() {
  const rows = [];
  for (const run of runs()) {
    const mine = Object.entries(run.totals).filter(([name]) => name.startsWith("task/"));
    const all = mine.reduce((sum, [, count]) => sum + count, 0);
    for (const [name, count] of mine) {
      const task = name.slice(5), success = known(run.columns[`success/${task}`] ?? []), difficulty = known(run.columns[`difficulty/${task}`] ?? []);
      const share = el("span", {class: "share"}, el("i", {style: `width:${count / all * 100}%;background:${colour(run.index)}`}), el("b", {}, `${(count / all * 100).toFixed(1)}%`));
      rows.push([task, tag(run), count, {value: count / all, node: share}, success[0] ?? null, success.at(-1) ?? null, difficulty.at(-1) ?? null]);
    }
  }
  if (!rows.length) return [none("The environments of these runs do not say of what kind a task is (info[\"task\"]).")];
  return [scroll(table("distribution", [{name: "task", text: true}, {name: "run", text: true}, {name: "episodes"}, {name: "share"},
    {name: "success at first"}, {name: "success at last"}, {name: "difficulty at last"}], rows)), ...family("success", "Success by task"), ...family("task", "Episodes by task")];
}
function difficulty() {
  const all = statistic("difficulty"), charts = [all && grid([all]), ...family("difficulty", "Difficulty by task")].filter(Boolean);
  return charts.length ? charts : [none("The environments of these runs tell of no difficulty (info[\"difficulty\"]).")];
}
function rewards() {
  const charts = family("reward", "Reward terms by run");
  return charts.length ? charts : [none("The rewards of these runs are single numbers, or their terms are not told (info[\"reward_terms\"]).")];
}
function safety() {
  const rows = runs().flatMap(run => Object.entries(run.totals).filter(([name]) => name.startsWith("safety/")).map(([name, count]) => {
    const [, policy, ...task] = name.split("/");
    return [policy, task.join("/") || "all", tag(run), count];
  }));
  if (!rows.length) return [none("No safety monitor watched these runs.")];
  return [scroll(table("violations", [{name: "policy", text: true}, {name: "task", text: true}, {name: "run", text: true}, {name: "violations"}], rows)),
    ...family("safety", "Violations in each update")];
}
function updates() {
  const shown = runs(), columns = UPDATES.filter(name => shown.some(run => known(run.columns[name] ?? []).length));
  const rows = shown.flatMap(run => (run.columns.update ?? run.columns.step ?? []).map((update, i) => [tag(run), update, ...columns.map(name => run.columns[name]?.[i] ?? null)]));
  const thinned = shown.find(run => run.every > 1);
  return [thinned ? el("p", {class: "lead"}, `Long runs are told by means over neighbouring updates (${thinned.every} of ${thinned.name}).`) : null,
    el("div", {class: "scroll tall"}, table("records", [{name: "run", text: true}, {name: "update"}, ...columns.map(name => ({name: pretty(name), help: data.explained[name]?.[0]}))], rows))];
}
function config() {
  const shown = runs(), keys = [...new Set(shown.flatMap(run => Object.keys(run.config)))];
  const differs = key => new Set(shown.map(run => run.config[key] ?? "")).size > 1;
  const box = el("input", {type: "checkbox", checked: state.differing, onchange: event => { state.differing = event.target.checked; fill("config", config()); }});
  const rows = keys.filter(key => state.differing ? differs(key) : shown.some(run => run.config[key])).map(key => [{value: key, node: el("span", {class: differs(key) && shown.length > 1 ? "differs" : ""}, key)},
    ...shown.map(run => ({value: run.config[key] ?? "", node: document.createTextNode(run.config[key] ?? "")}))]);
  if (!keys.length) return [none("These folders hold no config.json.")];
  return [shown.length > 1 ? el("label", {class: "only"}, box, " only what differs") : null,
    scroll(table("settings", [{name: "setting", text: true}, ...shown.map(run => ({name: run.name, text: true}))], rows))];
}
// A section that has nothing but a remark is its heading with the remark beside it.
function fill(id, content) {
  content = content.filter(Boolean);
  const section = $(id), empty = content.length === 1 && content[0].className === "none";
  section.classList.toggle("empty", empty);
  section.querySelector(".note").textContent = empty ? content[0].textContent : "";
  section.querySelector(".fill").replaceChildren(...(empty ? [] : content));
}

// ---- the page

const SECTIONS = {analysis, learning, tasks, difficulty, rewards, safety, updates, config};
function render() {
  const axes = AXES.filter(name => data.runs.some(run => known(run.columns[name] ?? []).length));
  if (!axes.includes(state.axis)) state.axis = axes[0] ?? "update";
  $("axis").replaceChildren(...axes.map(name => el("option", {value: name, selected: name === state.axis}, name)));
  drawers.clear();
  resized.disconnect();
  cards();
  const shown = runs(), charts = RESULT.map(statistic).filter(Boolean);
  fill("result", [shown.length ? null : none("No run is chosen."), charts.length || !shown.length ? grid(charts) : none("No episode has ended yet.")]);
  for (const [id, section] of Object.entries(SECTIONS)) fill(id, shown.length ? section() : [none("No run is chosen.")]);
  document.querySelectorAll(".of-run").forEach(part => { part.hidden = hidden.has(data.runs[part.dataset.run]?.folder); });
  $("made").textContent = `${data.runs.length} run${data.runs.length === 1 ? "" : "s"} \u00b7 ${data.live ? "live" : `written ${data.made}`}`;
}
$("axis").addEventListener("change", event => { state.axis = event.target.value; render(); });
$("smooth").addEventListener("input", event => {
  state.smooth = +event.target.value;
  $("smoothed").textContent = state.smooth ? `${state.smooth}%` : "off";
  render();
});
const sections = [...document.querySelectorAll("details.section")];
$("nav").append(...sections.map(section => el("a", {href: `#${section.id}`, onclick: () => { section.open = true; }}, section.dataset.short)));
$("fold").addEventListener("click", event => {
  const open = sections.some(section => section.open);
  sections.forEach(section => { section.open = !open; });
  event.target.textContent = open ? "Unfold all" : "Fold all";
});
const THEMES = ["auto", "light", "dark"];
$("theme").addEventListener("click", event => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
  document.documentElement.dataset.theme = next;
  event.target.textContent = `Theme: ${next}`;
});
addEventListener("scroll", () => { $("tip").hidden = true; }, {passive: true});

// The sample episodes are in the page already; they are a remark where there are none.
function samples() {
  const fill = $("episodes").querySelector(".fill"), remark = fill.querySelector(":scope > .none");
  $("episodes").classList.toggle("empty", remark !== null);
  $("episodes").querySelector(".note").textContent = remark?.textContent ?? "";
}

// ---- live: the server that serves this page is asked for what is new

async function refresh() {
  const badge = $("live");
  try {
    const answer = await fetch("data.json");
    if (!answer.ok) throw new Error(await answer.text());
    const text = await answer.text();
    if (text !== refresh.last) {
      const first = refresh.last === undefined;
      refresh.last = text;
      const {samples: html, ...fresh} = JSON.parse(text);
      data = fresh;
      if (html !== refresh.samples && !first) {
        $("episodes").querySelector(".fill").innerHTML = html;  // escaped by the server, whose content policy lets no script in it run
        samples();
      }
      refresh.samples = html;
      if (!document.activeElement?.closest?.(".fill, .cards")) render(); else refresh.late = true;
    } else if (refresh.late && !document.activeElement?.closest?.(".fill, .cards")) { refresh.late = false; render(); }
    badge.className = "on";
    badge.lastElementChild.textContent = `live \u00b7 ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    badge.className = "lost";
    badge.lastElementChild.textContent = "no answer from gymformer watch";
  }
  setTimeout(refresh, 2000);
}
samples();
render();
if (data.live) { $("live").hidden = false; refresh(); }
})();
