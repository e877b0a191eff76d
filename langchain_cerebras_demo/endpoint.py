"""The former address of ``PlainHttpWarning``; ``langchain_cerebras_demo`` has it, too."""

from langchain_cerebras_demo.keys.hosts import PlainHttpWarning

__all__ = ["PlainHttpWarning"]
