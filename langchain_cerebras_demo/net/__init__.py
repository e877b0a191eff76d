"""Bytes out, bytes in: connections, proxies and the loop that serves synchronous callers. Nothing here knows of chat."""
