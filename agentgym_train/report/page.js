"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("hover").textContent);

  // Light and dark: the reader's system decides until the button is pressed.
  document.getElementById("shade").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.classList.contains("dark") ||
      (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
    root.classList.remove("light", "dark");
    root.classList.add(dark ? "light" : "dark");
  });

  // Tabs, by pointer and by arrow keys.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
    }
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      const next = tabs[(i + move + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });

  // A name in a key, pointed at or focused, dims all other lines of the page.
  const lines = [...document.querySelectorAll("[data-series]")];
  const light = (name) => {
    document.documentElement.classList.toggle("dim", name !== null);
    for (const one of lines) one.classList.toggle("lit", one.dataset.series === name);
  };
  for (const key of document.querySelectorAll("[data-key]")) {
    for (const on of ["pointerenter", "focus"]) key.addEventListener(on, () => light(key.dataset.key));
    for (const off of ["pointerleave", "blur"]) key.addEventListener(off, () => light(null));
  }

  // Values under the pointer. Names reach the page as text nodes only.
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const percent = (value) => (100 * value).toFixed(1);
  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 });

  const nearest = (points, x) =>
    points.reduce((best, one) => (Math.abs(one[0] - x) < Math.abs(best[0] - x) ? one : best));

  const fill = (tip, plot, x) => {
    tip.replaceChildren(element("b", number(x)));
    const rows = plot.series
      .filter((one) => one.points[0][0] <= x * 1.0001 && x <= one.points.at(-1)[0] * 1.0001)
      .map((one) => [one, nearest(one.points, x)])
      .sort((a, b) => b[1][1] - a[1][1]);
    for (const [one, [, y, low, high, step]] of rows) {
      const row = element("div", undefined, "s" + (one.style % 7));
      row.append(element("i"), document.createTextNode(one.name));
      const value = element("span", percent(y) + " ");
      const band = high > low ? percent(low) + "–" + percent(high) + ", " : "";
      value.append(element("small", band + "step " + step));
      row.append(value);
      tip.append(row);
    }
  };

  for (const holder of document.querySelectorAll(".plot")) {
    const plot = plots[Number(holder.dataset.plot)];
    const xs = [...new Set(plot.series.flatMap((one) => one.points.map((point) => point[0])))];
    if (!xs.length) continue;
    const svg = holder.querySelector("svg");
    const cursor = svg.querySelector(".cursor");
    const tip = element("div", undefined, "tip");
    tip.hidden = true;
    holder.append(tip);
    const leave = () => {
      tip.hidden = true;
      cursor.setAttribute("x1", -9);
      cursor.setAttribute("x2", -9);
    };
    holder.addEventListener("pointerleave", leave);
    holder.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * plot.width;
      if (place < plot.left - 6 || place > plot.right + 6) return leave();
      const [low, high] = plot.x;
      const wanted = low + ((place - plot.left) / (plot.right - plot.left)) * (high - low);
      const x = xs.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best));
      const at = plot.left + ((plot.right - plot.left) * (x - low)) / (high - low);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      fill(tip, plot, x);
      tip.hidden = false;
      const left = (at / plot.width) * box.width;
      const room = holder.clientWidth - tip.offsetWidth;
      const beside = left > box.width / 2 ? left - tip.offsetWidth - 14 : left + 14;
      tip.style.left = Math.max(0, Math.min(beside, room)) + "px";
    });
  }
})();
