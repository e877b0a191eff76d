"""The wire, pure: bytes and dicts in, typed events, bodies and exceptions out.

No clock, no loop, no socket, no LangChain: a stranger can test every file of this folder with bytes.
"""
