"""The former module of ``RateLimit``."""

from langchain_cerebras_demo.policy.limits import RateLimit

__all__ = ["RateLimit"]
