"""BM25 by Lucene itself, through pyserini."""
