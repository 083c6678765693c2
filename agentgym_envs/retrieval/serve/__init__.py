"""A retriever over HTTP: the server, its dialects, and the client of such a server."""
