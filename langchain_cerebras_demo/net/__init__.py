"""Bytes out, bytes in: connections, proxies, and the loop for synchronous callers. Nothing here knows about chat."""
