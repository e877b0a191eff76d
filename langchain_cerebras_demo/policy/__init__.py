"""Decisions about retries, waits, time limits and model capabilities. Time and random numbers are arguments."""

from langchain_cerebras_demo.policy.limits import RateLimit
from langchain_cerebras_demo.policy.pacing import Pacer, Wait
from langchain_cerebras_demo.policy.retry import RetryPolicy
from langchain_cerebras_demo.policy.timeout import Timeout

__all__ = ["Pacer", "RateLimit", "RetryPolicy", "Timeout", "Wait"]
