"""The whole report: one page that needs nothing else, and tables that say the same."""

import csv
import json
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from train.report.made_up import HOSTILE, MadeUp, write_run, write_suite

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.report import report
from agentgym_train.report.comparison import by_kind, headline, ours, pairs, summary
from agentgym_train.report.findings import Findings
from agentgym_train.report.published import published_tables
from agentgym_train.report.ran import runs, settings_diff, shared
from agentgym_train.report.stats import holm
from agentgym_train.report.study import read_study
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
    assert "grpo (stopped; at step 4)" in said


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


# -- what is said of the result


def found_of(folder, **wanted) -> Findings:
    suite = write_suite(folder, replace(SMALL, **wanted))
    return Findings(read_study([suite]), "alfworld")


def decide(found: Findings, **outcomes) -> Findings:
    """The findings with these final outcomes in place of the made-up ones."""
    found.outcomes = {name: np.array(told, float) for name, told in outcomes.items()}
    for name, told in outcomes.items():
        rates = [sum(one) / len(one) for one in told]
        found.done[name] = [
            replace(arm, evaluations=[replace(arm.evaluations[-1], rate=rate)])
            for arm, rate in zip(found.done[name], rates, strict=True)
        ]
    return found


def test_equals_share_the_lead_and_are_a_tie(tmp_path):
    half = [[1, 0] * 8, [0, 1] * 8]
    found = decide(found_of(tmp_path), grpo=half, opd=half, atod=[[0] * 16, [0] * 16])
    assert summary(found).startswith(
        "alfworld: grpo and opd have the highest final success, 50.0 %"
    )
    readings = {row[:2]: row[-1] for row in pairs(0, found).rows}
    assert readings["grpo", "opd"] == "tie"


def test_runs_that_differ_are_told_apart_from_algorithms_that_would(tmp_path):
    """Two seeds far apart: these runs differ, new seeds might not."""
    found = decide(
        found_of(tmp_path),
        grpo=[[1] * 15 + [0], [1] * 9 + [0] * 7],
        opd=[[1] * 9 + [0] * 7, [0] * 15 + [1]],
        atod=[[0, 1] * 8, [0, 1] * 8],
    )
    readings = {row[:2]: row[-1] for row in pairs(0, found).rows}
    assert readings["grpo", "opd"] == "grpo ahead in these runs"
    assert "With new seeds and tasks, grpo is not told apart from opd and atod." in summary(found)


def test_one_seed_speaks_of_these_runs_alone(tmp_path):
    found = found_of(tmp_path, seeds=1, tasks=48)
    told = summary(found)
    assert "Of these runs alone, not of new seeds: " in told
    assert "With new seeds" not in told
    for row in headline(0, found).rows[:3]:
        assert row[3] is not None and row[4] is row[5] is None
    assert all(pair.p_holm is None and not pair.ahead for pair in found.pairs)


def test_who_is_not_compared_is_named(tmp_path):
    found = found_of(tmp_path, unfinished=("alfworld/opd-0", "alfworld/opd-1"))
    assert "Not compared, for want of a finished run: opd." in summary(found)


def test_other_seeds_of_an_algorithm_are_compared_all_the_same(tmp_path):
    """Seeds belong to one algorithm; only tasks are shared."""
    found = found_of(tmp_path, broken=("alfworld/grpo-1", "alfworld/opd-0"))
    assert {frozenset((one.first, one.second)) for one in found.pairs} == {
        frozenset(pair) for pair in combinations(SMALL.algorithms, 2)
    }


def test_with_a_baseline_the_others_are_held_against_it_alone(tmp_path):
    """Holm's correction is over as many pairs as there are questions."""
    found = found_of(tmp_path, baseline="opd")
    assert {(one.first, one.second) for one in found.pairs} == {("grpo", "opd"), ("atod", "opd")}
    known = [one.difference.p for one in found.pairs]
    assert [one.p_holm for one in found.pairs] == holm([p for p in known if p is not None])
    assert "The others are held against opd." in headline(0, found).note
    assert ", opd is " in summary(found)


def test_success_with_skills_is_a_row_of_its_own(tmp_path):
    found = found_of(tmp_path, algorithms=("grpo", "skill_grpo"))
    name = "skill_grpo, skills at evaluation"
    rows = {str(row[0]): row for row in headline(0, found).rows}
    assert rows[name][2] == 1.0 > rows["skill_grpo"][2]
    kinds = {row[0]: row[1:] for row in by_kind(0, found).rows}
    assert kinds[name] == (1.0, 1.0, 1.0)
    assert [row[3] for row in ours(0, found).rows if row[0] == name] == [1.0]
    published = published_tables("ALFWorld", {"skill_grpo"})
    assert any(row[0] == name for table in published for row in table.rows)


# -- what ran


def test_models_are_told_with_their_recipes_and_hashes(tmp_path):
    study = read_study([write_suite(tmp_path, SMALL)])
    rows = {row[1]: row[2:] for row in shared(study).rows}
    recipe, name = rows["student"]
    assert name == SMALL.student
    assert "2,500 episodes of the expert, 40% of their turns random, 450 steps of 8 rows" in recipe
    assert rows["teacher"][0] == "what other/grpo-0 ends with"


def test_settings_that_change_nothing_are_not_shown(tmp_path):
    """The tiny model's shape is read only where it is made; memory changes no result."""
    for name, width, lr in (("a", 32, 0.1), ("b", 64, 0.2)):
        tiny = {"name": "warm/student/model", "tiny": {"width": width}}
        own = {"model": tiny, "learning": {"lr": lr, "micro_tokens": width}, "threads": width}
        write_run(tmp_path / name, "alfworld", "grpo", 0, replace(SMALL, settings=own))
    found = Findings(read_study([tmp_path]), "ALFWorld")
    assert [row[0] for row in settings_diff(0, found).rows] == ["learning.lr"]
    write_run(
        tmp_path / "c",
        "alfworld",
        "grpo",
        0,
        replace(SMALL, settings={"model": {"name": "tiny", "tiny": {"width": 16}}}),
    )
    found = Findings(read_study([tmp_path]), "ALFWorld")
    assert "model.tiny.width" in [row[0] for row in settings_diff(0, found).rows]


def test_a_broken_run_is_shown_with_its_reason_in_a_line(tmp_path):
    suite = write_suite(tmp_path, replace(SMALL, broken=("alfworld/opd-0",), text="why\nlog"))
    rows = {(row[1], row[2]): row for row in runs(read_study([suite])).rows}
    assert rows["opd", 0][-1] == "RuntimeError: out of memory why"


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


def test_entropy_that_explodes_is_a_sign_too(tmp_path):
    home = write_run(tmp_path / "run", "alfworld", "grpo", 0, replace(SMALL, steps=20))
    lines = [json.loads(line) for line in (home / "metrics.jsonl").read_text().splitlines()]
    for step, line in enumerate(lines):
        line["actor/entropy_loss"] = 0.5 + 0.1 * step
    (home / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    signs = {one.sign: one for one in collapse_warnings(read_study([home]).arms)}
    # The mean of steps 0 to 4 (0.7) at first; twice that is passed by the mean of 8 to 12.
    assert signs["entropy exploded"].step == 12
    assert signs["entropy exploded"].numbers == "1.50 nats a token, 0.70 at first"


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
