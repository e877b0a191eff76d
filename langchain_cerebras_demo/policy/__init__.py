"""Decisions, pure: time and chance come in as arguments, seconds and verdicts come out."""

from langchain_cerebras_demo.policy.limits import RateLimit
from langchain_cerebras_demo.policy.pacing import Pacer, Wait
from langchain_cerebras_demo.policy.retry import RetryPolicy
from langchain_cerebras_demo.policy.timeout import Timeout

__all__ = ["Pacer", "RateLimit", "RetryPolicy", "Timeout", "Wait"]
