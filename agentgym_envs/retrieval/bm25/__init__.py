"""BM25 as Lucene scores it, without Java: analysis of text, building, files and searches."""
