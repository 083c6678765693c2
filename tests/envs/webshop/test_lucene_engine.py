"""WebShop searched by pyserini: the same shop, with Lucene's own lists."""

import importlib.util
from itertools import islice

import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.lucene.retriever import LuceneRetriever, build_lucene_index
from agentgym_envs.retrieval.types import Passage
from agentgym_envs.webshop.catalogue import Catalogue
from agentgym_envs.webshop.cleaning import index_text
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.generate import generated
from agentgym_envs.webshop.tasks import open_goals

TINY = {"difficulty": "tiny", "products": 60, "splits": "all"}


class Lists:
    """Stands where LuceneRetriever does: every search brings the same three ids."""

    def __init__(self, index: str) -> None:
        self.index = index

    def search_ids(self, queries, k):
        return [(["GONE1", *self.found], [3.0, 2.0, 1.0]) for _ in queries]


@pytest.fixture
def fresh():
    """Nothing opened before or after sees the stand-in."""
    open_goals.cache_clear()
    yield
    open_goals.cache_clear()


def test_products_the_catalogue_lacks_are_left_out(monkeypatch, fresh):
    rows = generated(60, 0, "tiny")
    Lists.found = [row["asin"] for row in rows.products[:2]]
    monkeypatch.setattr("agentgym_envs.retrieval.lucene.retriever.LuceneRetriever", Lists)
    env = WebShopEnv(**TINY, engine="lucene", index="some/index")
    env.reset(seed=0)
    _, _, _, _, info = env.step("search[anything]")
    shown = [name.upper() for name in info["clickables"][2:]]
    assert shown == Lists.found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "lucene"}, "needs index=FOLDER"),
        ({"index": "some/index"}, "only that engine takes one"),
        ({"engine": "elastic"}, "engine is one of bm25, lucene"),
    ],
)
def test_an_engine_and_its_index_belong_together(settings, message):
    with pytest.raises(ValueError, match=message):
        WebShopEnv(**TINY, **settings)


@pytest.mark.skipif(
    importlib.util.find_spec("pyserini") is None, reason="pyserini is not installed"
)
def test_lucene_ranks_as_the_built_in_engine(tmp_path):
    """Words of 60 instructions over 600 products: equal lists, ties included."""
    rows = generated(600, 0, "tiny")
    catalogue = Catalogue.build(rows.products, rows.attributes, rows.human)
    passages = [Passage(asin, index_text(catalogue.product(asin))) for asin in catalogue.asins]
    build_lucene_index(Corpus.of(passages), tmp_path / "index")
    env = WebShopEnv(difficulty="tiny", engine="lucene", index=tmp_path / "index")
    for task_id in islice(env.tasks.ids, 60):
        _, info = env.reset(options={"task_id": task_id})
        assert env.shelf.search(info["goal"]) == catalogue.search(info["goal"])
    assert isinstance(LuceneRetriever(tmp_path / "index"), LuceneRetriever)
