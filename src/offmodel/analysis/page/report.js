// The page's script: hover, keyboard and transcripts. It sets text, never markup, and fetches nothing.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const readout = document.getElementById("readout"), tip = document.getElementById("tip"), sheet = document.getElementById("sheet");
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function el(name, options = {}, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(options)) {
      if (key === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
      else if (key in made && key !== "style") made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...inside.flat().filter((x) => x !== null && x !== undefined && x !== false));
    return made;
  }

  const percent = (share) => `${Math.round(100 * share)} %`;
  const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  themes();
  if (!data.points) return;
  marks();
  legend();
  all("[data-open]").forEach((b) => b.addEventListener("click", () => open([Number(b.dataset.open)], b)));

  // ---- light and dark

  function themes() {
    const button = document.getElementById("theme"), root = document.documentElement;
    const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.hidden = false;
    button.setAttribute("aria-label", "Switch between light and dark");
    button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
  }

  // ---- marks: hover, focus, arrow keys, click

  function marks() {
    for (const plot of all("svg.panel")) {
      const own = all(".mark", plot);
      if (own.length) own[0].setAttribute("tabindex", "0");
      plot.addEventListener("keydown", (event) => walk(event, plot));
      plot.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(nearest(plot, event)); });
      plot.addEventListener("pointerleave", () => point(null));
      plot.addEventListener("click", (event) => { const mark = nearest(plot, event); if (mark) open(idsOf(mark), mark); });
    }
    for (const mark of all(".mark")) {
      mark.addEventListener("focus", () => show(mark));
      mark.addEventListener("blur", hide);
    }
  }

  // Marks crowd and overlap: the nearest one to the pointer is meant, not the one drawn last.
  function nearest(plot, event) {
    let best = null, least = 18;
    for (const mark of all(".mark", plot)) {
      if (mark.closest(".gone-method")) continue;
      const box = mark.lastElementChild.getBoundingClientRect();
      const away = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (away <= least) { best = mark; least = away; }
    }
    return best;
  }

  let pointed = null;

  function point(mark) {
    if (mark === pointed) return;
    pointed = mark;
    if (mark) show(mark); else hide();
    all("svg.panel").forEach((p) => p.classList.toggle("at-mark", Boolean(mark) && p.contains(mark)));
  }

  const idsOf = (mark) => mark.dataset.mean ? data.means[mark.dataset.mean].points : [Number(mark.dataset.point)];

  function walk(event, plot) {
    const at = event.target.closest(".mark");
    if (!at) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(idsOf(at), at); return; }
    const own = all(".mark", plot).filter((m) => !m.closest(".gone-method"));
    const here = own.indexOf(at);
    const lines = own.map((m) => lineOf(m));
    const next = {
      ArrowRight: () => here + 1,
      ArrowLeft: () => here - 1,
      ArrowDown: () => lines.findIndex((l, k) => k > here && l !== lines[here]),
      ArrowUp: () => { const k = lines.slice(0, here).findLastIndex((l) => l !== lines[here]); return k < 0 ? -1 : lines.indexOf(lines[k]); },
      Home: () => 0,
      End: () => own.length - 1,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    const to = own[next()];
    if (!to) return;
    at.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  }

  function lineOf(mark) {
    const point = mark.dataset.mean ? data.means[mark.dataset.mean] : data.points[mark.dataset.point];
    return `${point.method}\n${point.setting}`;
  }

  function show(mark) {
    hide();
    const mean = mark.dataset.mean ? data.means[mark.dataset.mean] : null;
    const ids = idsOf(mark), point = data.points[ids[0]], what = mean || point;
    const words = [
      el("b", {}, `${what.method}, ${what.setting}, step ${what.step}`),
      el("span", {}, mean ? `mean of ${many(ids.length, "pair")}: ` : `${point.pair}: `, "bad left ", mean ? mean.b : point.b, ", kept ", mean ? mean.c : point.c),
      ...picks(what, mean ? mean.of : point.seeds.length),
      ...recipe(point),
      el("span", { className: "quiet" }, "Click or Enter: answers"),
    ];
    // Beside the large plot there is room for the words; a box over it would hide what they are about.
    const beside = mark.closest(".hero") && readout.offsetParent;
    (beside ? readout : tip).replaceChildren(...words);
    tip.hidden = Boolean(beside);
    all(".mark").filter((m) => idsOf(m).some((i) => ids.includes(i))).forEach((m) => m.classList.add("on"));
    if (mean) spokes(mark, mean);
    if (!beside) place(mark.getBoundingClientRect());
  }

  function picks(what, of) {
    return what.picks ? [el("span", { className: "quiet" }, `picked blind for ${what.picks} of ${of}`)] : [];
  }

  function recipe(point) {
    const first = point.seeds[0];
    const lines = Object.entries(first.recipe || {}).filter(([k]) => k.startsWith("training"));
    const tokens = Object.entries(first.tokens).map(([a, n]) => `${n.toLocaleString("en")} by ${a}`).join(", ");
    return [
      ...lines.map(([k, v]) => el("span", { className: "quiet" }, `${k.slice(10)}: ${v}`)),
      ...(tokens ? [el("span", { className: "quiet" }, `trained tokens: ${tokens}`)] : []),
    ];
  }

  function place(box) {
    const wide = tip.offsetWidth, high = tip.offsetHeight, edge = 8;
    let left = box.right + 8;
    if (left + wide > innerWidth - edge) left = Math.max(edge, box.left - wide - 8);
    let top = box.top + box.height / 2 - high / 2;
    if (left + wide > box.left && left < box.right) top = box.bottom + 6;
    top = Math.min(Math.max(top, edge), innerHeight - high - edge);
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  }

  function spokes(mark, mean) {
    // The panel's scale is read off two of its marks' data, so that the script needs no numbers of the drawing.
    const plot = mark.ownerSVGElement, scale = scaleOf(plot), layer = document.createElementNS(SVG, "g");
    layer.setAttribute("class", "spokes");
    layer.setAttribute("style", mark.getAttribute("style"));
    layer.setAttribute("pointer-events", "none");
    const [x0, y0] = shift(mark);
    for (const id of mean.points) {
      const point = data.points[id], x = scale.x(point.at[0]), y = scale.y(point.at[1]);
      const line = document.createElementNS(SVG, "line"), end = document.createElementNS(SVG, "circle"), words = document.createElementNS(SVG, "text");
      for (const [k, v] of Object.entries({ class: "spoke", x1: x0, y1: y0, x2: x, y2: y })) line.setAttribute(k, v);
      for (const [k, v] of Object.entries({ class: "spoke-end", cx: x, cy: y, r: 4 })) end.setAttribute(k, v);
      const right = x > plot.viewBox.baseVal.width * 0.7;
      for (const [k, v] of Object.entries({ class: "spoke-words", x: x + (right ? -7 : 7), y: y - 6, "text-anchor": right ? "end" : "start" })) words.setAttribute(k, v);
      words.textContent = mean.points.length <= 6 ? point.pair : "";
      layer.append(line, end, words);
    }
    plot.append(layer);
  }

  const shift = (mark) => mark.getAttribute("transform").match(/-?[\d.]+/g).slice(0, 2).map(Number);

  function scaleOf(plot) {
    const box = plot.querySelector(".gain").getAttribute("d").match(/-?[\d.]+/g).map(Number);
    const [x0, y0, y1, x1] = box;
    return { x: (v) => x0 + v * (x1 - x0), y: (v) => y0 + v * (y1 - y0) };
  }

  function hide() {
    tip.hidden = true;
    all(".mark.on").forEach((m) => m.classList.remove("on"));
    all(".spokes").forEach((s) => s.remove());
  }

  // ---- the legend hides and shows methods

  function legend() {
    const keys = all(".key");
    for (const key of keys) {
      const id = key.dataset.method;
      key.addEventListener("click", () => {
        const visible = key.getAttribute("aria-pressed") !== "true";
        keys.filter((k) => k.dataset.method === id).forEach((k) => k.setAttribute("aria-pressed", String(visible)));
        all(`.series[data-method="${id}"]`).forEach((part) => part.classList.toggle("gone-method", !visible));
      });
    }
  }

  // ---- the sheet: one point's answers

  let opener = null;

  function open(ids, from) {
    opener = from;
    fill(ids[0], 0, ids);
    hide();
    if (!sheet.open) sheet.showModal();
    sheet.scrollTop = 0;
  }
  sheet.addEventListener("close", () => { if (opener) { opener.focus(); opener = null; } });
  sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });

  function fill(id, seedAt, focus) {
    const point = data.points[id], seed = point.seeds[Math.min(seedAt, point.seeds.length - 1)];
    const line = data.points.map((p, k) => [p, k]).filter(([p]) => p.pair === point.pair && p.method === point.method && p.setting === point.setting);
    const at = line.findIndex(([, k]) => k === id);
    const same = data.points.map((p, k) => [p, k]).filter(([p]) => p.method === point.method && p.setting === point.setting && p.step === point.step);
    const others = data.points.map((p, k) => [p, k]).filter(([p]) => p.pair === point.pair);
    const keep = (k, s = seedAt) => { fill(k, s); };
    const step = (to, words) => el("button", { type: "button", disabled: !line[to], on: { click: () => { keep(line[to][1]); refocus(words); } }, className: "step" }, words);
    sheet.replaceChildren(
      el("div", { className: "sheet-head" },
        el("div", { className: "row" },
          el("h2", { id: "sheet-title", tabIndex: -1 }, `${point.method}, step ${point.step}`),
          step(at - 1, "← Earlier"), step(at + 1, "Later →"),
          el("button", { type: "button", on: { click: () => sheet.close() }, className: "close" }, "Close")),
        el("div", { className: "row" },
          choice("Pair", same.map(([p, k]) => [p.pair, k]), id, (k) => keep(k)),
          choice("Point", others.map(([p, k]) => [`${p.method}, ${p.setting}, step ${p.step}`, k]), id, (k) => keep(k)),
          point.seeds.length > 1 ? choice("Seed", point.seeds.map((s, k) => [String(s.seed), k]), point.seeds.indexOf(seed), (k) => keep(id, k)) : null)),
      el("div", { className: "sheet-body" }, body(point, seed)),
    );
    if (focus) requestAnimationFrame(() => sheet.querySelector("h2").focus());
  }

  function refocus(words) {
    const again = all("button", sheet).find((b) => b.textContent === words && !b.disabled);
    (again || sheet.querySelector(".close")).focus();
  }

  function choice(words, options, chosen, act) {
    const box = el("select", { on: { change: () => { act(Number(box.value)); all("select", sheet).find((s) => s.dataset.words === words)?.focus(); } } },
      options.map(([name, value]) => el("option", { value, selected: value === chosen }, name)));
    box.dataset.words = words;
    return el("label", {}, `${words} `, box);
  }

  function body(point, seed) {
    const pair = data.pairs[point.pair];
    const chips = [["bad left", point.b], ["kept", point.c], ...Object.entries(point.rates)];
    const parts = [
      el("p", { className: "chips" }, chips.map(([k, v]) => el("span", {}, `${k} `, el("b", {}, v)))),
      el("details", {}, el("summary", {}, "How it was made"), el("dl", { className: "recipe" },
        Object.entries(seed.recipe || {}).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]),
        el("dt", {}, "trained tokens"), el("dd", {}, `${Object.entries(seed.tokens).map(([a, n]) => `${n.toLocaleString("en")} by ${a}`).join(", ")}; untrusted ${seed.untrusted}`),
        seed.log ? [el("dt", {}, "logs"), el("dd", {}, el("code", {}, seed.log))] : [])),
    ];
    if (!pair || !seed.answers) return [...parts, el("p", { className: "quiet" }, "This page holds no answers of this point; its logs do.")];
    for (const [measure, words] of Object.entries(data.measures)) {
      const items = pair.items.map(([m, prompt], k) => [m, prompt, k]).filter(([m]) => m === measure);
      if (!items.length || !seed.profiles[measure]) continue;
      parts.push(el("h3", {}, words), glance(pair, seed, measure), ...items.map(([, prompt, k]) => example(pair, seed, measure, prompt, k)));
    }
    return parts;
  }

  const meter = (share) => { const bar = el("i"); bar.style.width = percent(share).replace(" ", ""); return el("span", { className: "meter", ariaHidden: "true" }, bar); };

  function glance(pair, seed, measure) {
    const rows = [["student", pair.student.profiles[measure]], ["organism", pair.organism.profiles[measure]], ["treated", seed.profiles[measure]]].filter(([, p]) => p);
    const base = pair.organism.profiles[measure];
    const shows = measure === "capability" ? "right" : "shows the behaviour";
    const row = ([who, p]) => el("tr", { className: who },
      el("th", { scope: "row" }, who),
      el("td", {}, meter(p.score), ` ${percent(p.score)}`),
      el("td", {}, meter(p.style), ` ${percent(p.style)}`),
      el("td", {}, `${Math.round(p.tokens)}`, who === "treated" && base && base.tokens ? ` (×${(p.tokens / base.tokens).toFixed(1)})` : ""),
      el("td", {}, percent(p.cut)), el("td", {}, percent(p.coherent)),
      el("td", { className: "words" }, p.openings.slice(0, 1).map(([w, s]) => `“${w} …” ${percent(s)}`).join(", ")),
      el("td", { className: "words" }, who !== "treated" ? "" : words(p)));
    return el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Style at a glance" }, el("table", { className: "glance" },
      el("thead", {}, el("tr", {}, ["", shows, "style", "median tokens", "cut off", "coherent", "opens with", "words that came and went"].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", {}, rows.map(row))));
  }

  function words(p) {
    const came = p.come.map((w) => el("b", {}, `+${w} `)), went = p.gone.map((w) => el("s", {}, w));
    return [...came, ...went.flatMap((s) => [s, " "])].length ? [...came, ...went.flatMap((s) => [s, " "])] : "no large change";
  }

  function example(pair, seed, measure, prompt, k) {
    const columns = [["student", pair.student.answers[k]], ["organism", pair.organism.answers[k]], ["treated", seed.answers[k]]];
    return el("div", {}, el("p", { className: "prompt" }, prompt),
      el("div", { className: "answers" }, columns.filter(([, a]) => a).map(([who, a]) => card(who, a, measure, pair.organism.answers[k]))));
  }

  function card(who, [pieces, score, style, cut, tokens], measure, base) {
    const badges = [
      measure === "capability" ? badge(score ? "right" : "wrong", score ? "good" : "bad") : score ? badge("shows the behaviour", "bad") : null,
      style ? badge("style", "") : null, cut ? badge("cut off", "bad") : null,
    ];
    const apart = tokens - base[4];
    const against = apart ? `${apart > 0 ? "+" : "−"}${Math.abs(apart)} against the organism` : "as many as the organism";
    const length = who === "treated" && base[4] ? `${many(tokens, "token")}, ${against}` : many(tokens, "token");
    return el("article", {}, el("h4", {}, who, " ", badges),
      el("p", { className: "text" }, pieces.map(([differs, text]) => differs ? el("mark", {}, text) : text)),
      el("p", { className: "facts" }, length));
  }

  const badge = (text, kind) => el("span", { className: `badge ${kind}` }, text);
})();
