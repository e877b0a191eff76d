"""One conversation with the service: the settings of a client, its calls, and the process-wide queue that they wait in."""

from langchain_cerebras_demo.client.client import Client

__all__ = ["Client"]
