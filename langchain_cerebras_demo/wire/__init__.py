"""The service's API: converts bytes and dicts to typed events, request bodies and exceptions.

Nothing here uses a clock, an event loop, a socket or LangChain, so every module can be tested with bytes alone.
"""
