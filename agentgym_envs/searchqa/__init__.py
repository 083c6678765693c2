"""Search-QA: questions answered by searching a corpus, after Search-R1's protocol."""
