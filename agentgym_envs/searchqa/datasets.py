"""The seven Search-QA sets from files: FlashRAG's jsonl, Search-R1's and verl-agent's parquet.

Rows become `Question`s as they are read, so that 170,000 of them take about 100 MB: of a row's
metadata only its plain values and its evidence are kept, not the contexts that some sets carry.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentgym_envs.searchqa.question import Question
from agentgym_envs.searchqa.rows import RowError, read_rows

SETS = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
GROUPS = {
    "in_domain": ("nq", "hotpotqa"),  # trained on, in the published setting
    "out_of_domain": ("triviaqa", "popqa", "2wikimultihopqa", "musique", "bamboogle"),
}
SPLITS = ("train", "dev", "test")
CHOICES = (*SPLITS, "evaluate", "all")
EVALUATED = ("test", "dev", "train")  # the first of these that a set has is the one evaluated
_SPLIT_WORDS = {
    **{split: split for split in SPLITS},
    **dict.fromkeys(("validation", "valid", "val"), "dev"),
}
_SUFFIXES = (".jsonl", ".parquet")


class QuestionSet:
    """Questions in a fixed order, found by id: "nq/test_12" is question test_12 of nq."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._by_id: dict[str, Question] = {}
        for question in questions:
            if question.id in self._by_id:
                raise ValueError(
                    f"two questions are {question.id!r}: was one file given twice, or are splits "
                    "in files whose names do not tell?"
                )
            self._by_id[question.id] = question

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Question]:
        return iter(self._by_id.values())

    def __contains__(self, question_id: object) -> bool:
        return question_id in self._by_id

    def __getitem__(self, question_id: str) -> Question:
        return self._by_id[question_id]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many questions each set has in each split."""
        found: dict[str, dict[str, int]] = {}
        for question in self:
            splits = found.setdefault(question.data_source, {})
            splits[question.split] = splits.get(question.split, 0) + 1
        return found

    def chosen(self, split: str, datasets: Sequence[str] | None = None) -> "QuestionSet":
        """The questions of a split, one of CHOICES.

        "evaluate" takes from each set its test rows, else its dev rows, else its train rows: the
        published choice. "dev" and "test" are exact, and "train" is of the sets that are trained
        on: those that have such rows. `datasets`: names of sets, or of GROUPS.
        Raises ValueError where a set asked for is not there, or a set has no rows of the split: a
        column would be missing from the table.
        """
        wanted = _expanded(datasets)
        counts = self.counts
        if missing := sorted(set(wanted or ()) - set(counts)):
            raise ValueError(f"no questions of {missing[0]!r}; there are: {', '.join(counts)}")
        names = [name for name in counts if wanted is None or name in wanted]
        splits = {name: _taken(name, counts[name], split) for name in names}
        if not any(splits.values()):
            raise ValueError(f"no {split!r} questions; there are: {_listed(counts)}")
        empty = {name: counts[name] for name in names if not splits[name]}
        if empty and (wanted or split != "train"):
            full = [name for name in names if splits[name]]
            raise ValueError(
                f"{', '.join(empty)}: no {split!r} questions but {_listed(empty)}. "
                "split='evaluate' takes of every set its test, else dev, else train questions; "
                f"for {split!r} alone choose sets that have it: datasets={full}"
            )
        return QuestionSet(
            question for question in self if question.split in splits.get(question.data_source, ())
        )


def read_questions(data: str | Path | Sequence[str | Path]) -> QuestionSet:
    """The questions of a file, of several, or of a folder with the usual names.

    Files: `.jsonl` (one FlashRAG row a line: `id`, `question`, `golden_answers`, `metadata`) or
    `.parquet` (Search-R1's and verl-agent's; needs pyarrow). Folders: `<set>/<split>.jsonl`,
    `<set>_<split>.jsonl`, `<set>.jsonl`, `<split>.parquet`, and a written world's `<split>.jsonl`;
    files of other things (a corpus) are left alone, and questions under another name refused.

    A row's set is its `data_source`, else what the file's name says. Its split is what the file's
    name says, else `extra_info.split`, else the beginning of its id ("dev_12"); a row that tells
    none has split "" and is found under split="all" only. Gold passages, the expert's searches,
    the facts behind its thoughts and a kind may be in the metadata: `gold_doc_ids` (written worlds
    call it `gold`), `queries`, `evidence`, `kind`.

    Raises FileNotFoundError, and ValueError naming file, line and what is wrong with it.
    """
    places = [data] if isinstance(data, str | Path) else list(data)
    files = [file for place in places for file in _files(Path(place))]
    return QuestionSet(question for file in files for question in _questions(file))


def _files(place: Path) -> list[Path]:
    if place.is_file():
        if place.suffix not in _SUFFIXES:
            raise ValueError(f"{place}: questions are read from .jsonl and .parquet files")
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"no question file or folder {place}")
    inside = [*place.iterdir(), *(file for name in SETS for file in (place / name).glob("*"))]
    inside = [file for file in inside if file.suffix in _SUFFIXES]
    files = [file for file in inside if _usual(file)]
    for file in sorted(set(inside) - set(files)):
        if _asks(file):
            raise ValueError(
                f"{file} holds questions, but its name tells no set{_nearest(file)}: call it "
                "<set>.jsonl or <set>_<split>.jsonl, or give the files themselves as data"
            )
    if not files:
        raise FileNotFoundError(
            f"no questions in {place}: expected files such as nq.jsonl, hotpotqa_train.jsonl, "
            "nq/test.jsonl or test.parquet"
        )
    return sorted(files, key=_order)


def _usual(file: Path) -> bool:
    name, split = _named(file)
    return name in SETS or (bool(split) and not name)


def _asks(file: Path) -> bool:
    """Whether a file's first row is a question. A corpus and other things are none."""
    try:
        _, row = next(read_rows(file))
    except (RowError, StopIteration):
        return False
    return any(name in row for name in ("golden_answers", "reward_model", "env_kwargs"))


def _nearest(file: Path) -> str:
    near = get_close_matches(_named(file)[0].lower(), SETS, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _order(file: Path) -> tuple[int, str]:
    """The published order of sets; it decides which questions share a batch."""
    name, _ = _named(file)
    return (SETS.index(name) if name in SETS else len(SETS), str(file))


def _named(file: Path) -> tuple[str, str]:
    """The set and the split that a file's name says, "" where it does not."""
    if file.stem in _SPLIT_WORDS:
        folder = file.parent.name
        return (folder if folder in SETS else ""), _SPLIT_WORDS[file.stem]
    name, _, word = file.stem.rpartition("_")
    if name and word in _SPLIT_WORDS:
        return name, _SPLIT_WORDS[word]
    return file.stem, ""


def _questions(file: Path) -> Iterator[Question]:
    name, split = _named(file)
    for place, row in read_rows(file):
        try:
            yield question_of(row, name, split)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error


def question_of(row: Mapping[str, Any], name: str, split: str) -> Question:
    """A row of either layout as a question; `name` and `split` are what its file is called by.

    Raises RowError (a ValueError) saying what is missing or of the wrong kind.
    """
    extra, kwargs = _object(row, "extra_info"), _object(row, "env_kwargs")
    metadata = _object(row, "metadata")
    told = (row.get("data_source"), kwargs.get("data_source"), metadata.get("data_source"))
    source = next((one for one in told if one), name)
    if not isinstance(source, str) or not source:
        raise RowError("no 'data_source', and the file's name does not tell the set")
    split = split or _SPLIT_WORDS.get(str(extra.get("split")), "")
    own = row.get("id")
    if own is None and "index" in extra:
        own = f"{split}_{extra['index']}"
    if not isinstance(own, str | int):
        raise RowError("no 'id' (nor an 'extra_info.index')")
    question = row.get("question") or kwargs.get("question")
    if not isinstance(question, str) or not question.strip():
        raise RowError("no 'question', or not a text")
    return Question(
        id=f"{source}/{own}",
        question=question,
        answers=_answers(row, kwargs),
        data_source=source,
        gold=_texts(metadata.get("gold_doc_ids", metadata.get("gold", ())), "gold_doc_ids"),
        queries=_texts(metadata.get("queries", ()), "queries"),
        kind=str(metadata.get("kind", source)),
        split=split or _SPLIT_WORDS.get(str(own).partition("_")[0], ""),
        metadata=_kept(metadata),
    )


def _answers(row: Mapping[str, Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    targets = row.get("golden_answers")
    if targets is None:
        rule = _object(row, "reward_model")
        targets = _object(rule or kwargs, "ground_truth").get("target")
    answers = tuple(text for text in _texts(targets, "golden_answers") if text.strip())
    if not answers:
        raise RowError("'golden_answers' names no answer")
    return answers


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RowError(f"{name!r} is {value!r:.60}, expected an object")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts, a NumPy array of them, or a bare text, as a tuple."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence) or not all(isinstance(text, str) for text in value):
        raise RowError(f"{name!r} is {value!r:.60}, expected a list of texts")
    return tuple(value)


def _kept(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its plain values, and `evidence` where that is facts: [subject, relation, value] each."""
    kept: dict[str, Any] = {
        key: item for key, item in metadata.items() if isinstance(item, str | int | float)
    }
    evidence = metadata.get("evidence")
    if isinstance(evidence, Sequence) and all(map(_is_fact, evidence)):
        kept["evidence"] = tuple(map(tuple, evidence))
    return kept


def _is_fact(value: object) -> bool:
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return len(parts) == 3 and all(isinstance(part, str) for part in parts)


def _expanded(datasets: Sequence[str] | None) -> set[str] | None:
    if datasets is None:
        return None
    names = [datasets] if isinstance(datasets, str) else datasets
    return {name for given in names for name in GROUPS.get(given, (given,))}


def _taken(name: str, counts: Mapping[str, int], split: str) -> tuple[str, ...]:
    """The splits whose rows stand for `split` in a set with these counts."""
    if split == "all":
        return tuple(counts)
    if split == "evaluate":
        return next(((choice,) for choice in EVALUATED if choice in counts), ())
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(CHOICES)}")
    return (split,) if split in counts else ()


def _listed(counts: Mapping[str, Mapping[str, int]]) -> str:
    return ", ".join(
        f"{count} {split or 'unlabelled'} of {name}"
        for name, splits in counts.items()
        for split, count in splits.items()
    )
