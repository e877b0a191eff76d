"""The client of the service: its settings, its calls, and the process-wide queue in which they wait for rate limits."""

from langchain_cerebras_demo.client.client import Client

__all__ = ["Client"]
