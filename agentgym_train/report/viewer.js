"use strict";
// Reads episodes that are stored in the page. Every text becomes a text node; nothing is fetched.
(() => {
  const ROW = 60; // pixels of a row in the list
  const LONG = 6000; // characters of a text shown at once
  const KEPT = 6; // unpacked blocks kept in memory
  const [RUN, NUMBER, STEP, PHASE, TASK, SUCCESS, SCORE, TURNS, INVALID, STOP, REASON, TRACED] = Array(12).keys();
  const EXPLAINED = {
    gap: "teacher minus student log-prob: blue, the teacher likes the token more",
    advantage: "what the token is worth in the update: blue, made likelier",
    gate: "how far the pull towards the teacher is let through",
    weight: "how much the turn counts",
    logprob: "log-prob of the token when it was sampled: the darker, the less likely",
  };

  const make = (tag, kind, ...inside) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    made.append(...inside); // strings become text nodes
    return made;
  };

  const short = (x) => {
    if (x === null || x === undefined) return "none";
    if (x === 0) return "0";
    return Math.abs(x) >= 0.001 && Math.abs(x) < 10000 ? String(+x.toPrecision(3)) : x.toExponential(1);
  };

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // A long text is cut, with a button that shows the rest.
  function prose(kind, text) {
    const box = make("div", `agv-text ${kind}`);
    if (text.length <= LONG) {
      box.append(text || "none");
      if (!text) box.classList.add("agv-nothing");
      return box;
    }
    const more = make("button", "agv-more", `show ${(text.length - LONG).toLocaleString("en")} more characters`);
    more.type = "button";
    more.addEventListener("click", () => box.replaceChildren(text));
    box.append(text.slice(0, LONG), "\u2026 ", more);
    return box;
  }

  function folded(title, value) {
    const box = make("details", "agv-fold", make("summary", "", title));
    box.addEventListener("toggle", () => {
      if (box.children.length > 1) return;
      const text = Array.isArray(value) && value.every((one) => typeof one === "string")
        ? value.join("\n") : JSON.stringify(value, null, 1);
      box.append(prose("agv-code", text));
    });
    return box;
  }

  // What a column's colours mean, the same in all episodes of a run: signed columns from orange over
  // nothing to blue, others in teal. The root spreads small numbers, and the largest twentieth looks
  // the same: gaps have long tails.
  function scaleOf([most, least, largest]) {
    const negative = least < 0;
    const tone = (x) => (!negative ? "13,148,136" : x < 0 ? "222,93,28" : "37,99,235");
    const colour = (x) => {
      if (x === null || !most) return "";
      return `rgba(${tone(x)},${(0.65 * Math.sqrt(Math.min(Math.abs(x) / most, 1))).toFixed(3)})`;
    };
    const low = negative ? -most : 0, high = largest > 0 || !negative ? most : 0;
    const told = (end, beyond, sign) => (beyond ? `${sign} ${short(end)}` : short(end));
    return { colour, low, high, from: told(low, least < low, "\u2264"), to: told(high, largest > high, "\u2265") };
  }

  class Viewer {
    constructor(root) {
      this.root = root;
      this.index = JSON.parse(root.querySelector(".agv-index").textContent);
      this.packed = JSON.parse(root.querySelector(".agv-blocks").textContent);
      this.blocks = new Map();
      this.rows = this.index.rows;
      this.shown = [];
      this.current = -1; // a row
      this.asked = 0; // counts requests to open, so that a late one is dropped
      this.searches = 0;
      this.found = null; // rows with the text searched for
      this.quantity = "";
      this.build();
      this.filter();
      const first = this.index.open;
      if (first !== null) this.open(first, true);
      else if (root.clientWidth >= 760 && this.shown.length) this.open(this.shown[0]);
    }

    build() {
      this.filters = make("div", "agv-filters");
      this.search = make("input", "agv-search");
      this.search.type = "search";
      this.search.placeholder = "search all texts";
      this.search.setAttribute("aria-label", "search all texts");
      this.filters.append(this.search);
      this.picks = [
        this.choice("outcome", ["solved", "failed", "not judged"], (row, i) => row[SUCCESS] === [1, 0, -1][i]),
        this.words("run", this.index.runs, (row) => row[RUN]),
        this.words("phase", this.index.phase, (row) => row[PHASE]),
        this.numbers("step", [...new Set(this.rows.map((row) => row[STEP]))].sort((a, b) => a - b), (row) => row[STEP]),
        this.kinds(),
      ];
      this.invalid = this.check("invalid turns");
      this.traced = this.check("token numbers");
      this.atLeast = make("input", "agv-turns");
      this.atLeast.type = "number";
      this.atLeast.min = "0";
      this.filters.append(make("label", "", "turns \u2265 ", this.atLeast));
      this.count = make("div", "agv-count");
      this.count.setAttribute("role", "status");
      this.list = make("div", "agv-list");
      this.list.tabIndex = 0;
      this.list.setAttribute("role", "listbox");
      this.list.setAttribute("aria-label", "episodes");
      this.page = make("article", "agv-page");
      const side = make("div", "agv-side", this.filters, this.count, this.list);
      this.root.append(make("div", "agv-panes", side, this.page));
      this.page.append(make("p", "agv-hint", "Choose an episode. Keys: n next, p previous, / search."));

      let wait = 0;
      this.search.addEventListener("input", () => {
        clearTimeout(wait);
        wait = setTimeout(() => this.seek(this.search.value.trim().toLowerCase()), 200);
      });
      this.filters.addEventListener("change", (event) => event.target !== this.search && this.filter());
      this.atLeast.addEventListener("input", () => this.filter());
      this.list.addEventListener("scroll", () => this.draw(), { passive: true });
      this.list.addEventListener("click", (event) => {
        const item = event.target.closest("[data-row]");
        if (item) this.open(+item.dataset.row, true);
      });
      new ResizeObserver(() => this.draw()).observe(this.list);
      const keys = this.root.classList.contains("agv-alone") ? document : this.root;
      keys.addEventListener("keydown", (event) => this.key(event));
    }

    // A drop-down of `words`; left out where there is nothing to choose. holds(row, i): is it word i?
    choice(title, words, holds) {
      const select = make("select");
      select.dataset.filter = title;
      select.setAttribute("aria-label", title);
      select.append(new Option(`any ${title}`, ""));
      words.forEach((word, i) => {
        if (this.rows.some((row) => holds(row, i))) select.append(new Option(String(word) || "none", i));
      });
      if (select.length > 2) this.filters.append(select);
      return (row) => select.value === "" || holds(row, +select.value);
    }

    words(title, words, of) {
      return this.choice(title, words, (row, i) => of(row) === i);
    }

    numbers(title, values, of) {
      return this.choice(title, values.map((x) => `${title} ${x}`), (row, i) => of(row) === values[i]);
    }

    kinds() {
      const kinds = [...new Set(this.index.task.map((task) => task[2]))].sort();
      return this.choice("task type", kinds, (row, i) => this.index.task[row[TASK]][2] === kinds[i]);
    }

    check(title) {
      const box = make("input");
      box.type = "checkbox";
      box.dataset.filter = title;
      this.filters.append(make("label", "", box, ` ${title}`));
      return box;
    }

    filter() {
      const least = +this.atLeast.value || 0;
      this.shown = [];
      this.rows.forEach((row, i) => {
        if (this.invalid.checked && !row[INVALID]) return;
        if (this.traced.checked && !row[TRACED]) return;
        if (row[TURNS] < least || (this.found && !this.found.has(i))) return;
        if (this.picks.every((pick) => pick(row))) this.shown.push(i);
      });
      const solved = this.shown.filter((i) => this.rows[i][SUCCESS] === 1).length;
      const judged = this.shown.filter((i) => this.rows[i][SUCCESS] >= 0).length;
      const some = (n) => n.toLocaleString("en");
      let told = `${some(this.shown.length)} of ${some(this.rows.length)} episodes`;
      if (judged) told += `, ${some(solved)} solved`;
      if (this.index.left_out) told += `; ${some(this.index.left_out)} others are not in this page`;
      this.count.textContent = told;
      const at = this.shown.indexOf(this.current);
      this.list.scrollTop = Math.max(0, at) * ROW;
      this.draw();
      this.place();
    }

    async seek(wanted) {
      const search = ++this.searches;
      if (!wanted) {
        this.found = null;
        return this.filter();
      }
      const found = new Set();
      for (let b = 0; b < this.packed.length; b++) {
        this.count.textContent = `searching: ${Math.round((100 * b) / this.packed.length)} %`;
        const some = await unpacked(this.packed[b]);
        if (search !== this.searches) return;
        some.forEach((one, i) => {
          const row = this.index.starts[b] + i;
          const texts = [this.index.task[this.rows[row][TASK]][0], one.goal, one.reason, one.outcome];
          for (const turn of one.turns) texts.push(turn[0], turn[1], turn[2]);
          if (texts.some((text) => text.toLowerCase().includes(wanted))) found.add(row);
        });
      }
      this.found = found;
      this.filter();
    }

    // Only the rows in sight exist.
    draw() {
      const first = Math.max(0, Math.floor(this.list.scrollTop / ROW) - 4);
      const last = Math.min(this.shown.length, first + Math.ceil(this.list.clientHeight / ROW) + 9);
      const all = make("div", "agv-all");
      all.style.height = `${this.shown.length * ROW}px`;
      for (let at = first; at < last; at++) {
        const item = this.item(this.shown[at]);
        item.style.top = `${at * ROW}px`;
        item.setAttribute("aria-posinset", at + 1);
        item.setAttribute("aria-setsize", this.shown.length);
        all.append(item);
      }
      if (!this.shown.length) all.append(make("p", "agv-hint", "No episode is like this."));
      this.list.replaceChildren(all);
    }

    item(i) {
      const row = this.rows[i];
      const task = this.index.task[row[TASK]];
      const facts = [`#${row[NUMBER]}`, `${row[TURNS]} turns`];
      if (this.index.runs.length > 1) facts.unshift(this.index.runs[row[RUN]]);
      if (row[INVALID]) facts.push(`${row[INVALID]} invalid`);
      if (row[TRACED]) facts.push("tokens");
      facts.push(`step ${row[STEP]}`, this.index.phase[row[PHASE]]);
      const item = make(
        "div", "agv-item", this.mark(row),
        make("span", "agv-goal", task[1]), make("span", "agv-facts", facts.filter(Boolean).join(" \u00b7 ")),
      );
      item.dataset.row = i;
      item.id = `${this.root.id}-row-${i}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(i === this.current));
      return item;
    }

    mark(row) {
      const kind = ["open", "bad", "good"][row[SUCCESS] + 1];
      const mark = make("span", `agv-mark agv-${kind}`, ["\u00b7", "\u2717", "\u2713"][row[SUCCESS] + 1]);
      mark.setAttribute("aria-label", ["not judged", "failed", "solved"][row[SUCCESS] + 1]);
      return mark;
    }

    block(b) {
      if (!this.blocks.has(b)) {
        this.blocks.set(b, unpacked(this.packed[b]));
        if (this.blocks.size > KEPT) this.blocks.delete(this.blocks.keys().next().value);
      }
      return this.blocks.get(b);
    }

    // byHand: somebody asked for it, so that on a narrow screen it takes the list's place.
    async open(i, byHand = false) {
      const asked = ++this.asked;
      this.current = i;
      this.list.setAttribute("aria-activedescendant", `${this.root.id}-row-${i}`);
      let b = this.index.starts.length - 1;
      while (this.index.starts[b] > i) b--;
      const detail = (await this.block(b))[i - this.index.starts[b]];
      if (asked !== this.asked) return;
      this.reveal(this.shown.indexOf(i));
      this.show(this.rows[i], detail);
      if (byHand) {
        this.root.classList.add("agv-reading");
        if (this.root.getBoundingClientRect().top < 0) this.root.scrollIntoView();
      }
      this.page.scrollTop = 0;
    }

    reveal(at) {
      const top = at * ROW;
      if (at >= 0 && (top < this.list.scrollTop || top + ROW > this.list.scrollTop + this.list.clientHeight)) {
        this.list.scrollTop = Math.max(0, top - this.list.clientHeight / 2);
      }
      this.draw();
    }

    move(by) {
      const at = this.shown.indexOf(this.current);
      const next = at < 0 ? 0 : Math.min(Math.max(at + by, 0), this.shown.length - 1);
      if (this.shown.length && this.shown[next] !== this.current) this.open(this.shown[next], true);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest("input, select, textarea")) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const inList = event.target === this.list;
      const by = { n: 1, j: 1, ArrowRight: 1, p: -1, k: -1, ArrowLeft: -1 }[event.key]
        || (inList && { ArrowDown: 1, ArrowUp: -1 }[event.key]);
      if (by) this.move(by);
      else if (event.key === "/") this.search.focus();
      else if (event.key === "Escape") this.root.classList.remove("agv-reading");
      else return;
      event.preventDefault();
    }

    place() {
      const at = this.shown.indexOf(this.current);
      const where = this.page.querySelector(".agv-where");
      if (where) where.textContent = at < 0 ? "not in the list" : `${at + 1} of ${this.shown.length}`;
    }

    show(row, detail) {
      const task = this.index.task[row[TASK]];
      const button = (text, title, act) => {
        const made = make("button", "", text);
        made.type = "button";
        made.title = title;
        made.addEventListener("click", act);
        return made;
      };
      const back = button("\u2190 list", "back to the list (Esc)", () => this.root.classList.remove("agv-reading"));
      back.classList.add("agv-back");
      const bar = make(
        "div", "agv-bar", back, button("\u2039 previous", "previous (p)", () => this.move(-1)),
        button("next \u203a", "next (n)", () => this.move(1)), make("span", "agv-where"),
      );
      const verdict = row[SUCCESS] < 0 ? "not judged"
        : `${row[SUCCESS] ? "solved" : "failed"}, score ${short(row[SCORE])}`;
      const facts = [
        ["run", this.index.runs[row[RUN]]], ["episode", `#${row[NUMBER]}`], ["step", row[STEP]],
        ["phase", this.index.phase[row[PHASE]]], ["type", task[2]], ["split", task[3]],
        ["turns", row[TURNS]], ["invalid", row[INVALID]], ["ended by", this.index.stop[row[STOP]]],
      ];
      const list = make("dl", "agv-about");
      for (const [name, value] of facts) {
        if (value !== "") list.append(make("div", "", make("dt", "", name), make("dd", "", String(value))));
      }
      const judged = make("p", "agv-verdict", this.mark(row), make("strong", "", verdict));
      if (detail.reason) judged.append(make("span", "agv-reason", detail.reason));
      this.page.replaceChildren(
        bar, make("h3", "agv-title", task[0]), judged, list, make("h4", "", "Goal"), prose("", detail.goal),
        folded("answer, expert and facts of the task", detail.about),
      );
      const shade = detail.trace && this.shading(detail.trace, this.index.scales[row[RUN]]);
      if (shade) this.page.append(shade.bar);
      detail.turns.forEach((turn, k) => this.page.append(this.turn(turn, k, shade)));
      this.page.append(make("h4", "", "What the environment said last"), prose("agv-seen", detail.outcome));
      if (shade) shade.paint();
      this.place();
    }

    turn([observation, response, action, admissible, facts, valid], k, shade) {
      const head = make("h4", "agv-head", `Turn ${k + 1}`);
      const box = make("section", `agv-turn${valid ? "" : " agv-invalid"}`, head);
      const said = shade && shade.tokens(k, head);
      if (!valid) head.append(make("span", "agv-flag", "invalid"));
      box.append(
        make("div", "agv-label", "observation"), prose("agv-seen", observation),
        make("div", "agv-label", said ? "response, token by token" : "response"), said || prose("agv-said", response),
        make("div", "agv-label", "action"), prose("agv-code", action),
      );
      const folds = make("div", "agv-folds");
      if (admissible.length) folds.append(folded(`${admissible.length} admissible actions`, admissible));
      if (Object.keys(facts).length) folds.append(folded("facts", facts));
      box.append(folds);
      return box;
    }

    // The bar that chooses what shades the tokens, and how a turn's tokens are made and painted.
    shading(trace, scales) {
      const turns = new Map(trace.turns.map((turn) => [turn.turn, turn]));
      const columns = Object.keys(trace.turns[0] || {}).filter((name) => !["turn", "reward", "pieces"].includes(name));
      if (!columns.length) return null;
      const rank = (name) => (Object.keys(EXPLAINED).indexOf(name) + 100) % 100;
      columns.sort((a, b) => rank(a) - rank(b));
      const select = make("select");
      select.dataset.shade = "";
      select.setAttribute("aria-label", "shade tokens by");
      for (const name of [...columns, "nothing"]) select.append(new Option(name, name));
      select.value = [...columns, "nothing"].includes(this.quantity) ? this.quantity : columns[0];
      const low = make("span"), strip = make("span", "agv-strip"), high = make("span");
      const ramp = make("span", "agv-ramp", low, strip, high);
      const meaning = make("span", "agv-meaning"), told = make("div", "agv-told", "Press a token for its numbers.");
      const bar = make("div", "agv-shade", make("label", "", "shade by ", select), ramp, meaning, told);
      if (trace.left_out) meaning.after(make("span", "agv-meaning", `${trace.left_out} later tokens have no numbers`));
      const made = []; // [span, turn, token]
      const means = []; // [span, turn]
      const tokens = (k, head) => {
        const turn = turns.get(k);
        if (!turn) return null;
        const box = make("div", "agv-text agv-said agv-tokens");
        turn.pieces.forEach((piece, i) => {
          const span = make("span", "agv-token", piece);
          span.dataset.at = made.length;
          made.push([span, turn, i]);
          box.append(span);
        });
        box.addEventListener("click", (event) => {
          const span = event.target.closest("[data-at]");
          if (!span) return;
          const [, of, i] = made[span.dataset.at];
          this.page.querySelector(".agv-chosen")?.classList.remove("agv-chosen");
          span.classList.add("agv-chosen");
          told.textContent = [JSON.stringify(of.pieces[i]), ...columns.map((name) => `${name} ${short(of[name][i])}`)].join("   ");
        });
        const mean = make("span", "agv-mean");
        head.append(mean);
        if (turn.reward) head.append(make("span", "agv-mean", `reward ${short(turn.reward)}`));
        means.push([mean, turn]);
        return box;
      };
      const paint = () => {
        const name = this.quantity = select.value;
        const off = name === "nothing";
        const scale = scaleOf((!off && scales[name]) || [0, 0, 0]);
        for (const [span, turn, i] of made) {
          span.style.backgroundColor = off ? "" : scale.colour(turn[name][i]);
          span.title = off ? "" : `${name} ${short(turn[name][i])}`;
        }
        for (const [span, turn] of means) {
          const known = off ? [] : turn[name].filter((x) => x !== null);
          span.textContent = known.length ? `mean ${name} ${short(known.reduce((a, b) => a + b, 0) / known.length)}` : "";
        }
        ramp.hidden = off;
        low.textContent = scale.from;
        high.textContent = scale.to;
        const steps = Array.from({ length: 9 }, (_, i) => scale.colour(scale.low + ((scale.high - scale.low) * i) / 8) || "transparent");
        strip.style.backgroundImage = `linear-gradient(to right, ${steps.join(", ")})`;
        meaning.textContent = off ? "" : EXPLAINED[name] || (name.startsWith("credit/") ? "one term of the advantage" : "");
      };
      select.addEventListener("change", paint);
      return { bar, tokens, paint };
    }
  }

  for (const root of document.querySelectorAll(".agv:not([data-ready])")) {
    root.dataset.ready = "";
    new Viewer(root);
  }
})();
