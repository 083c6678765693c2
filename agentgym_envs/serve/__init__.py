"""Environments over HTTP and WebSocket, in OpenEnv's messages, and the client of such a server."""
