"""Decisions, pure: time and chance come in as arguments, seconds and verdicts come out."""

from langchain_cerebras_demo.policy.retry import RetryPolicy
from langchain_cerebras_demo.policy.timeout import Timeout

__all__ = ["RetryPolicy", "Timeout"]
