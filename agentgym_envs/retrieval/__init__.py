"""Retrieval over a corpus of passages: one small protocol, several engines."""
