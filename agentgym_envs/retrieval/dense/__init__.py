"""Search by vectors: encoders, passage vectors on disk, exact search and indexes of faiss."""
