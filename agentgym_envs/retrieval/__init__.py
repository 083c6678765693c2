"""Retrieval over a corpus of passages: one small protocol, several engines.

Here are the protocol (`types`), corpora, `open_retriever` and what works with any retriever;
in `bm25`, `dense` and `lucene` an engine each; in `serve` the server and its client.
"""
