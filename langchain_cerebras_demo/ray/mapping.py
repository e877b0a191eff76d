"""``ray_map_chat``: adds a column of answers to a column of prompts."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.chat_models import ChatCerebrasDemo
from langchain_cerebras_demo.policy import RateLimit
from langchain_cerebras_demo.ray.actor import ActorOptions, AskRows, Columns, current_trace
from langchain_cerebras_demo.ray.done import drop_done, read_ids
from langchain_cerebras_demo.ray.limiting import find_limiter

__all__ = ["ray_map_chat"]

_pickle: Any = ray.cloudpickle  # untyped

# Two blocks per actor at once, so that the next block's rows are sent while the last rows of a block are in flight.
_BLOCKS_PER_ACTOR = 2

_KEY = re.compile(rb"csk-[\w-]{8,}")
_WHERE_KEYS_ARE = (
    "each worker reads its own: set CEREBRAS_API_KEY in the environment of `ray start` on every node, or use "
    "key_resolver=KeyFile(path), a file of mode 0600 on every node. Ray would show a key in its plans and logs"
)


def ray_map_chat(
    ds: Dataset,
    *,
    model: ChatCerebrasDemo | str,
    id_column: str = "id",
    prompt_column: str = "prompt",
    output_column: str = "answer",
    error_column: str = "error",
    record_column: str | None = None,
    rate_limit: RateLimit | Mapping[str, Any] | str | None = "auto",
    account: str = "cerebras",
    concurrency: int | tuple[int, int] = 1,
    in_flight: int = 64,
    rows_per_block: int = 1000,
    done: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    num_cpus: float = 0.5,
) -> Dataset:
    """Return the dataset with a column of answers. Nothing is sent until it is written or read.

    There is one output row for each input row; a row that fails has an error in its error column. A row is sent at least once:
    after a crash of an actor or of the driver, the rows of blocks that were not written yet are sent, and billed, again.

    Args:
        ds: the rows. Their ids must be unique, which is not checked.
        model: a model, or the name of one. It must not contain a key: each worker reads ``CEREBRAS_API_KEY`` from its own
            environment, or uses the model's ``key_resolver``, such as a ``KeyFile``.
        id_column: the rows' ids.
        prompt_column: a text, or a list of messages in the API's form.
        output_column: the answer's text; null if there is none.
        error_column: null, or the error's class and message.
        record_column: the whole record as JSON (usage, reasoning, tool calls, finish reason); ``None`` for no such column.
        rate_limit: replaces the model's ``rate_limit``; "auto" keeps it. Explicit limits are those of the account: all actors share
            them, and all jobs of the cluster with the same limits. Without any, each actor keeps the announced limits.
        account: the name under which limits are shared; use a different one for each account.
        concurrency: the number of actors; ``(least, most)`` adapts to the work.
        in_flight: rows that one actor sends at once.
        rows_per_block: the number of rows that are distributed, written and, after a crash, sent again together.
        done: Parquet files, or folders of them, from an earlier run: rows whose ids they contain are skipped, failed ones included.
            They need not exist, so that the first and a resumed run are the same call.
        num_cpus: CPUs that one actor reserves.

    Raises:
        ValueError: an invalid argument; the message names it. ``BulkInputError`` for a column or a file of ``done``.
        KeyHostError: the model contains a key or cookies.

    While it runs, ``BulkStoppedError`` ends it if the key or the account is refused, or if a limit is used up for more than two
    minutes. The written files are kept, and a run with ``done`` continues from there.
    """
    columns = Columns(id_column, prompt_column, output_column, error_column, record_column)
    known = ds.schema(fetch_if_missing=False)
    if known is not None:
        columns.check(known.names)
    for name, count in (("in_flight", in_flight), ("rows_per_block", rows_per_block)):
        if count < 1:
            raise ValueError(f"{name}={count!r}: use 1 or more")
    sent_model, is_shared = to_model(model, rate_limit)
    least, most = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency
    ids = None if done is None else read_ids(done, id_column)
    if ids is not None:
        ds = ds.map_batches(
            functools.partial(drop_done, id_column=id_column, done=ray.put(ids)),
            batch_size=None,
            batch_format="pyarrow",
        )
    limiter = find_limiter(account) if is_shared else None
    return ds.repartition(target_num_rows_per_block=rows_per_block, strict=True).map_batches(
        AskRows,
        batch_size=None,  # a whole block; each smaller batch would wait for its slowest row
        batch_format="pyarrow",
        fn_constructor_kwargs={
            "options": ActorOptions(sent_model, columns, in_flight, account, limiter, trace=current_trace())
        },
        compute=ActorPoolStrategy(min_size=least, max_size=most, max_concurrent_calls_per_actor=_BLOCKS_PER_ACTOR),
        num_cpus=num_cpus,
        udf_modifying_row_count=False,
    )


def to_model(model: ChatCerebrasDemo | str, rate_limit: Any) -> tuple[ChatCerebrasDemo, bool]:
    """Return the model for the actors, and whether it has explicit limits, which are shared.

    Raises:
        KeyHostError: the model contains a key or cookies.
        TypeError: the model cannot be pickled.
    """
    made = ChatCerebrasDemo(model=model) if isinstance(model, str) else model
    for name in ("api_key", "cookies"):
        if getattr(made, name) is not None:
            raise errors.KeyHostError(
                f"the model has {name}=…, which must not be sent to the workers; {_WHERE_KEYS_ARE}"
            )
    limit = RateLimit.from_value(made.rate_limit if rate_limit == "auto" else rate_limit)
    made = made.model_copy(update={"rate_limit": limit})
    try:
        pickled: bytes = _pickle.dumps(made)
    except Exception as error:  # noqa: BLE001 - the user's objects may raise anything
        raise TypeError(
            f"the model cannot be pickled ({type(error).__name__}): remove its transport or callbacks"
        ) from None
    if _KEY.search(pickled):
        raise errors.KeyHostError(f"the model's resolver or headers contain a key; {_WHERE_KEYS_ARE}")
    return made, limit is not None and limit != RateLimit()
