"""Bulk runs on Ray Data, for tables that are too large for one machine. Each actor runs a client.

    from langchain_cerebras_demo.ray import ray_map_chat

    ray_map_chat(ds, model="gpt-oss-120b", rate_limit={"requests_per_minute": 3000}, done="out").write_parquet("out")

The caller starts and stops Ray.
"""

from __future__ import annotations

try:
    import ray.data as _  # noqa: F401 - to raise an error that says how to install it
except ImportError:
    raise ModuleNotFoundError('Ray Data is missing: pip install "langchain-cerebras-demo[ray]"', name="ray") from None

from langchain_cerebras_demo.ray.key_file import KeyFile
from langchain_cerebras_demo.ray.mapping import ray_map_chat

__all__ = ["KeyFile", "ray_map_chat"]
