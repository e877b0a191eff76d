"""``RateLimit`` under its former address."""

from langchain_cerebras_demo.policy.limits import RateLimit

__all__ = ["RateLimit"]
