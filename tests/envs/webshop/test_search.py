"""Search lists against Lucene's, recorded with the official index settings."""

import pytest


def test_every_recorded_list_is_equal_in_order(recorded, read_lines, catalogue_of):
    for dataset, path in recorded("search-*").items():
        catalogue = catalogue_of(dataset)
        compared = 0
        for line in read_lines(path):
            compared += 1
            assert list(catalogue.search(line["query"])) == line["asins"], line["query"]
        assert compared > 100


def test_every_recorded_score_is_equal(recorded, read_lines, catalogue_of):
    """Recorded with four decimals."""
    for dataset, path in recorded("search-*").items():
        index = catalogue_of(dataset).index
        for line in read_lines(path):
            _, scores = index.search_one(line["query"], 50)
            assert scores.tolist() == pytest.approx(line["scores"], abs=6e-5)
