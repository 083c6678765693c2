"""The whole report: one page that needs nothing else, and tables that say the same."""

import csv
import re

import pytest
from train.report.made_up import HOSTILE, MadeUp, write_run, write_suite

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.report import report
from agentgym_train.report.findings import Findings
from agentgym_train.report.published import published_tables
from agentgym_train.report.runs import read_study
from agentgym_train.report.warnings import collapse_warnings

SMALL = MadeUp(algorithms=("grpo", "opd", "atod"), seeds=2, steps=12, every=4, tasks=12)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return report([write_suite(folder / "suite", SMALL)], folder / "out")


def test_the_page_asks_nobody_for_anything(written):
    page = written.html.read_text(encoding="utf-8")
    shell = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r'(src|href|action)="(?!#)', shell)
    assert "url(" not in shell
    assert "@import" not in shell
    assert "default-src 'none'" in page
    assert "unsafe" not in re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]


def test_page_and_tables_say_the_same(written):
    page = written.html.read_text(encoding="utf-8")
    said = written.markdown.read_text(encoding="utf-8")
    (path,) = written.csv.glob("headline-*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["algorithm"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"grpo", "opd", "atod", "random", "student", "teacher"}
    for name in ("grpo", "opd", "atod"):
        final = f"{100 * float(rows[name]['final']):.1f}"
        line = next(one for one in said.splitlines() if one.startswith(f"| {name} | 2 | "))
        assert f"| {final} |" in line
        assert f'<td class="n">{final}</td>' in page


def test_the_headline_is_the_mean_over_seeds_of_the_last_evaluation(tmp_path):
    study = read_study([write_suite(tmp_path, SMALL)])
    found = Findings(study, "alfworld")
    for one in found.standings:
        finals = [a.evaluations[-1] for a in study.of("alfworld", one.algorithm)]
        assert one.rate == pytest.approx(sum(f.rate for f in finals) / 2)
    ranks = [one.rank for one in found.standings]
    assert ranks == sorted(ranks)
    assert len(found.pairs) == 3


def test_the_same_runs_give_the_same_report(written, tmp_path):
    again = report([write_suite(tmp_path / "suite", SMALL)], tmp_path / "out")
    assert again.markdown.read_bytes() == written.markdown.read_bytes()
    page, same = written.html.read_text(encoding="utf-8"), again.html.read_text(encoding="utf-8")
    assert page == same


def test_an_older_report_is_replaced(tmp_path):
    suite = write_suite(tmp_path / "suite", SMALL)
    (tmp_path / "out" / "csv").mkdir(parents=True)
    (tmp_path / "out" / "csv" / "headline-9-old.csv").write_text("old", encoding="utf-8")
    paths = report([suite], tmp_path / "out")
    assert not (paths.csv / "headline-9-old.csv").exists()


def test_one_run_alone_is_a_report_too(tmp_path):
    run = write_run(tmp_path / "run", "alfworld", "grpo", 0, SMALL)
    said = report([run], tmp_path / "out").markdown.read_text(encoding="utf-8")
    assert "One seed each" in said
    line = next(one for one in said.splitlines() if one.startswith("| grpo | 1 | "))
    assert "–" in line  # no interval over seeds


def test_runs_without_episodes_are_still_shown(tmp_path):
    run = write_run(tmp_path / "run", "alfworld", "grpo", 0, SMALL)
    (run / "episodes.jsonl").unlink()
    page = report([run], tmp_path / "out").html.read_text(encoding="utf-8")
    assert "The runs kept no episodes." in page


def test_nothing_finished_yet_is_said(tmp_path):
    run = write_run(tmp_path / "run", "alfworld", "grpo", 0, SMALL, stop=4)
    said = report([run], tmp_path / "out").markdown.read_text(encoding="utf-8")
    assert "no run is finished yet" in said
    assert "grpo (running; at step 4)" in said


def test_hostile_text_stays_text(tmp_path):
    wanted = MadeUp(
        algorithms=("grpo",), seeds=2, steps=4, every=4, tasks=4, text=HOSTILE, title=HOSTILE,
        broken=("alfworld/grpo-1",),
    )  # fmt: skip
    paths = report([write_suite(tmp_path / "suite", wanted)], tmp_path / "out")
    page = paths.html.read_text(encoding="utf-8")
    assert "<img" not in page
    assert page.count("</script>") == page.count("<script")
    said = paths.markdown.read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<", said)


# -- warnings


def test_a_collapse_is_seen_and_a_sound_run_is_not_accused(tmp_path):
    wanted = MadeUp(
        algorithms=("tcod", "atod"), seeds=2, steps=40, every=5, tasks=64, collapsing="tcod"
    )
    found = collapse_warnings(read_study([write_suite(tmp_path, wanted)]).arms)
    assert {one.arm for one in found} == {"tcod, seed 0", "tcod, seed 1"}
    signs = {one.sign for one in found}
    assert {"success fell", "entropy collapsed", "replies are cut"} <= signs
    fell = next(one for one in found if one.sign == "success fell")
    assert fell.step == 40
    assert re.fullmatch(r"[\d.]+ %, after [\d.]+ % at step \d+", fell.numbers)


# -- what the papers print


def test_published_figures_are_given_for_what_ran():
    tables = published_tables("ALFWorld", {"grpo", "atod"})
    assert {"ATOD", "SDAR"} == {table.title.split()[1].rstrip(",") for table in tables}
    (atod,) = [table for table in tables if "ATOD" in table.title]
    rows = {row[0]: row[1:] for row in atod.rows}
    assert rows["atod"] == ("82.81 (15.84)", "80.47 (22.69)", "85.16 (16.75)")
    assert set(rows) == {"teacher", "untrained", "grpo", "atod"}


def test_an_environment_of_ones_own_has_no_published_figures():
    assert published_tables("Honey", BUILT_IN) == []


def test_every_published_row_is_of_an_algorithm_we_know():
    for family in ("ALFWorld", "WebShop", "SearchQA"):
        for table in published_tables(family, BUILT_IN):
            names = {str(row[0]).partition(",")[0] for row in table.rows}
            assert names <= {*BUILT_IN, "teacher", "untrained"}
            assert table.title.startswith("Published: ")


def test_published_and_ours_are_never_in_one_table(written):
    for path in written.csv.glob("*.csv"):
        head = path.read_text(encoding="utf-8").splitlines()[0]
        assert not ("published" in head and "measured" in head)
        assert path.name.startswith("published") == head.startswith("published")
