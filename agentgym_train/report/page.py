"""The page: one HTML file with figures, tables and episodes, which needs nothing outside itself."""

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files

from agentgym_envs.markup import Html, joined, tag
from agentgym_train.report.charts import (
    FEW,
    Frame,
    Series,
    strip,
    success_chart,
    success_frame,
    swatch,
    tile,
)
from agentgym_train.report.contents import Contents, EnvTables
from agentgym_train.report.curves import AXES, Axis, diagnostics, levels, success_series
from agentgym_train.report.findings import Findings
from agentgym_train.report.study import Study
from agentgym_train.report.tables import Column, Table, shown
from agentgym_train.report.viewer import content_policy, embedded_json, viewer_fragment

WIDTHS = {"wide": 860, "narrow": 350}  # a figure is drawn for desktops and for telephones
EPISODES = 1200  # shown in the page, shared between the runs; `agentgym-train view` shows all
_PARTS = (
    ("standing", "Results"),
    ("curves", "Curves"),
    ("tests", "Tests"),
    ("kinds", "Kinds of task"),
    ("cost", "Cost"),
    ("why", "Diagnostics"),
    ("warnings", "Warnings"),
    ("papers", "Published and ours"),
    ("ran", "What ran"),
    ("play", "Episodes"),
)


def page(title: str, study: Study, findings: Mapping[str, Findings], contents: Contents) -> str:
    """The whole page. Raises what reading the runs' episodes raises."""
    styles = {name: i for i, name in enumerate(study.algorithms())}
    numbered = _Numbers()
    curves, hover = _curves(findings, styles, numbered)
    body = tag(
        "main",
        _head(title, study, contents),
        _standing(findings, contents, styles, numbered),
        curves,
        _each("tests", contents, lambda one: one.pairs, numbered, _TESTS),
        _each("kinds", contents, lambda one: one.kinds, numbered),
        _each("cost", contents, lambda one: one.cost, numbered),
        _diagnostics(findings, styles, numbered),
        _warnings(contents, numbered),
        _papers(contents, numbered),
        _ran(contents, numbered),
        _episodes(study),
    )
    data = Html(f'<script type="application/json" id="hover">{embedded_json(hover)}</script>')
    style = Html(f"<style>{_asset('page.css')}</style>")
    script = Html(f"<script>{_asset('page.js')}</script>")
    policy = content_policy(f"{style}{body}{script}")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        style,
    )
    everything = tag("html", head, tag("body", _bar(), body, data, script), lang="en")
    return f"<!doctype html>\n{everything}\n"


class _Numbers:
    """Figure 1, Figure 2, Table 1, ... in reading order."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def next(self, what: str) -> Html:
        self._given[what] = self._given.get(what, 0) + 1
        return tag("b", f"{what} {self._given[what]}.")


def _bar() -> Html:
    links = [tag("a", name, href=f"#{part}") for part, name in _PARTS]
    button = tag("button", "light / dark", id="shade", type="button")
    return tag("nav", *links, button, aria_label="Sections")


def _head(title: str, study: Study, contents: Contents) -> Html:
    done = sum(arm.done for arm in study.arms)
    states = {s: sum(a.state == s for a in study.arms) for s in ("running", "waiting", "broken")}
    others = "".join(f", {count} {state}" for state, count in states.items() if count)
    seeds = len({arm.seed for arm in study.arms})
    said = (
        f"{_count(len(study.algorithms()), 'algorithm')}, "
        f"{_count(len(study.envs), 'environment')}, {_count(seeds, 'seed')}: "
        f"{_count(done, 'finished run')}{others}."
    )
    summary = tag("ul", *(tag("li", one) for one in contents.summary))
    return tag("header", tag("h1", title), tag("p", said, class_="lead"), summary)


# -- results

_STRIPS = (
    " Drawn from 0 to 100 %: the mean, its interval over seeds (thick), over seeds and tasks, or "
    "with one seed over tasks alone (thin), and the yardsticks (ticks)."
)


def _standing(
    findings: Mapping[str, Findings],
    contents: Contents,
    styles: Mapping[str, int],
    numbered: _Numbers,
) -> Html:
    parts = [_table(contents.overview, numbered, titled=True)] if len(findings) > 1 else []
    for i, (env, found) in enumerate(findings.items()):
        table = contents.envs[env].headline
        legend = "" if i else _STRIPS
        parts += [tag("h3", env), _headline(table, found, styles, numbered, legend)]
    return _section("standing", *parts)


def _headline(
    table: Table, found: Findings, styles: Mapping[str, int], numbered: _Numbers, legend: str
) -> Html:
    """The headline table with each row's intervals drawn."""
    lines = levels(found)
    standings = {one.algorithm: one for one in found.standings}
    pictures, leads = [], []
    for row in table.rows:
        name, rate = str(row[0]), row[2]
        trained = row[1] != "yardstick"
        one = standings.get(name) if trained else None
        leads.append(swatch(styles[name]) if trained and name in styles else Html(""))
        if not isinstance(rate, float):
            pictures.append(Html(""))
        elif one is None:
            pictures.append(strip(rate, None, None, lines if trained else [], None))
        else:
            wide = one.both_interval or one.tasks_interval
            pictures.append(strip(rate, one.seeds_interval, wide, lines, styles[name]))
    return _table(table, numbered, pictures=pictures, leads=leads, more=legend)


# -- curves

_CURVES = (
    f" Lines: mean over seeds. Of {FEW} lines at most, bands: lowest to highest seed; thin: single "
    "seeds. Dotted: seeds that are not finished, and yardsticks across."
)


def _curves(
    findings: Mapping[str, Findings], styles: Mapping[str, int], numbered: _Numbers
) -> tuple[Html, list]:
    hover: list = []
    tabs = [
        tag(
            "button",
            axis.title,
            type="button",
            role="tab",
            id=f"tab-{axis.key}",
            aria_selected="false" if i else "true",
            aria_controls=f"panel-{axis.key}",
            tabindex="-1" if i else "0",
        )
        for i, axis in enumerate(AXES)
    ]
    panels = []
    for i, axis in enumerate(AXES):
        figures = [
            _curve(
                found, axis, styles, hover, numbered if not i else None, "" if place else _CURVES
            )
            for place, found in enumerate(findings.values())
        ]
        panels.append(
            tag(
                "div",
                *figures,
                id=f"panel-{axis.key}",
                role="tabpanel",
                aria_labelledby=f"tab-{axis.key}",
                hidden=bool(i),
            )
        )
    tablist = tag("div", *tabs, role="tablist", aria_label="Success against")
    return _section("curves", tablist, *panels), hover


def _curve(
    found: Findings,
    axis: Axis,
    styles: Mapping[str, int],
    hover: list,
    numbered: _Numbers | None,
    how: str,
) -> Html:
    series = success_series(found, axis, styles)
    plots = []
    for kind, width in WIDTHS.items():
        frame = success_frame(series, levels(found), width)
        chart = success_chart(series, levels(found), frame, axis=axis.title, name=found.env)
        key = Html("") if frame.named else _key([one.name for one in series], styles)
        plots.append(
            tag("div", key, tag("div", chart, class_="plot", data_plot=len(hover)), class_=kind)
        )
        hover.append(_hover(series, frame))
    missing = [name for name in found.algorithms if name not in {one.name for one in series}]
    left_out = f" Not drawn: {', '.join(missing)}." if missing else ""
    number = joined(numbered.next("Figure"), " ") if numbered else ""
    caption = tag(
        "figcaption",
        number,
        tag("b", found.env),
        f", success on held-out tasks against {axis.title}.{how}{left_out}",
    )
    return tag("figure", tag("div", *plots), caption, class_="curve")


def _key(names: Sequence[str], styles: Mapping[str, int]) -> Html:
    """Which line is whose; pointing at a name dims the others."""
    keys = (
        tag("span", swatch(styles[name]), " ", name, class_="key", data_key=name, tabindex="0")
        for name in names
    )
    return tag("p", *keys, class_="keys")


def _hover(series: Sequence[Series], frame: Frame) -> dict:
    """What the page's script needs to tell the values under a pointer."""
    return {
        "left": frame.left,
        "right": frame.width - frame.right,
        "width": frame.width,
        "x": frame.x,
        "series": [
            {
                "name": one.name,
                "style": one.style,
                "points": [[p.x, p.y, p.low, p.high, p.step] for p in one.points],
            }
            for one in series
        ],
    }


# -- diagnostics

_INSIDE = (
    " Means over seeds, with bands from the lowest to the highest seed, against the training step "
    "or the turn of an episode (mean of the last quarter of training). An algorithm is missing "
    "where it has no such number."
)


def _diagnostics(
    findings: Mapping[str, Findings], styles: Mapping[str, int], numbered: _Numbers
) -> Html:
    parts = []
    for env, found in findings.items():
        figures = diagnostics(found, styles)
        key = _key(found.algorithms, styles)
        tiles = [tile(title, series, axis=axis) for title, axis, series in figures]
        caption = tag(
            "p",
            numbered.next("Figure"),
            " ",
            tag("b", env),
            ", what happened inside.",
            "" if parts else _INSIDE,
            class_="note",
        )
        parts += [tag("h3", env), key, tag("div", *tiles, class_="multiples"), caption]
    return _section("why", *parts)


# -- tables


_TESTS = "Whether two algorithms differ, asked in two ways."


def _each(
    part: str,
    contents: Contents,
    pick: Callable[[EnvTables], Table],
    numbered: _Numbers,
    said: str = "",
) -> Html:
    parts = [tag("p", said)] if said else []
    for env, tables in contents.envs.items():
        parts += [tag("h3", env), _table(pick(tables), numbered)]
    return _section(part, *parts)


def _warnings(contents: Contents, numbered: _Numbers) -> Html:
    table = contents.warnings
    if table.rows:
        return _section("warnings", _table(table, numbered))
    return _section("warnings", tag("p", "No run shows any of the signs that are looked for."))


def _papers(contents: Contents, numbered: _Numbers) -> Html:
    parts = [
        tag(
            "p",
            "Left what papers print, right what was measured here. They are of different models, "
            "tasks and metrics: compare orders, not cells.",
        )
    ]
    for env, tables in contents.envs.items():
        parts += [tag("h3", env), _both(tables, numbered)]
    return _section("papers", *parts)


def _both(tables: EnvTables, numbered: _Numbers) -> Html:
    printed = [_table(one, numbered, titled=True) for one in tables.published]
    nothing = tag("p", "No paper that is known here prints figures for this environment.")
    measured = _table(tables.ours, numbered, titled=True)
    return tag(
        "div",
        tag("div", *(printed or [nothing]), class_="published"),
        tag("div", measured, class_="ours"),
        class_="both",
    )


def _ran(contents: Contents, numbered: _Numbers) -> Html:
    tables = [contents.versions, contents.shared, contents.tasks, contents.arms]
    tables += [one.settings for one in contents.envs.values()]
    folded = [
        tag(
            "details",
            tag("summary", f"{one.title} ({_count(len(one.rows), 'row')})"),
            _table(one, numbered, titled=True),
            open=not i,
        )
        for i, one in enumerate(tables)
    ]
    return _section("ran", *folded)


def _episodes(study: Study) -> Html:
    kept = [arm for arm in study.arms if (arm.folder / "episodes.jsonl").exists()]
    if not kept:
        return _section("play", tag("p", "The runs kept no episodes."))
    names = [f"{arm.env}: {arm.name}" for arm in kept]
    fragment = viewer_fragment([arm.folder for arm in kept], names=names, limit=EPISODES)
    return _section("play", Html(fragment))


def _table(
    table: Table,
    numbered: _Numbers,
    *,
    titled: bool = False,
    pictures: Sequence[Html] = (),
    leads: Sequence[Html] = (),
    more: str = "",
) -> Html:
    """A table with its caption. pictures: one a row, as fourth cell; leads: before its name."""
    heads = [tag("th", c.title, scope="col", class_=_kind(c)) for c in table.columns]
    if pictures:
        heads.insert(3, tag("th", "", scope="col"))
    rows = []
    for i, row in enumerate(table.rows):
        lead = leads[i] if leads else Html("")
        cells = [
            tag("td", shown(column, cell), class_=_kind(column))
            for column, cell in zip(table.columns[1:], row[1:], strict=True)
        ]
        if pictures:
            cells.insert(2, tag("td", pictures[i]))
        name = tag("span", shown(table.columns[0], row[0]))
        first = tag("th", tag("div", lead, name, class_="named"), scope="row")
        quiet = "quiet" if len(row) > 1 and row[1] == "yardstick" else None
        rows.append(tag("tr", first, *cells, class_=quiet))
    caption = joined(
        numbered.next("Table"),
        " ",
        joined(tag("b", table.title), ". ") if titled else "",
        table.note,
        more,
    )
    grid = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    return tag(
        "figure",
        tag("figcaption", caption),
        tag("div", grid, class_="scroll", tabindex="0") if table.rows else tag("p", "Nothing yet."),
        class_="table",
        data_table=table.key,
    )


def _kind(column: Column) -> str | None:
    return None if column.kind == "text" else "n"


def _section(part: str, *inside: Html) -> Html:
    return tag("section", tag("h2", dict(_PARTS)[part]), *inside, id=part)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _asset(name: str) -> str:
    return (files("agentgym_train.report") / name).read_text(encoding="utf-8")
