"""``ray_map_chat``: a column of prompts in, a column of answers out."""

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
from langchain_cerebras_demo.ray.actor import AskRows, Columns, Order
from langchain_cerebras_demo.ray.done import drop_done, read_ids
from langchain_cerebras_demo.ray.limiting import find_desk

__all__ = ["ray_map_chat"]

_pickle: Any = ray.cloudpickle  # untyped

# Two blocks at once in an actor: while the last rows of one are under way, the next one's keep the line busy.
_BLOCKS_AT_ONCE = 2

_KEY = re.compile(rb"csk-[\w-]{8,}")
_WHERE_KEYS_ARE = (
    "each worker reads it itself: set CEREBRAS_API_KEY in the environment of `ray start` on every node, or give "
    "key_resolver=KeyFile(path), a file of mode 0600 on every node. Ray would show it in its plans and logs"
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
    """The dataset with a column of answers. Nothing is asked until it is written or read.

    One output row for each input row: what goes wrong with a row stands in its error column. A row is sent at least once: after
    a crash of an actor or of the driver, rows of blocks that were not written yet are sent, and billed, again.

    Args:
        ds: the rows. Ids have to be unique; that is not looked after.
        model: a model, or the name of one. Its key is none of the arguments: each worker reads the variable
            ``CEREBRAS_API_KEY`` of its own environment, or asks the model's ``key_resolver``, such as a ``KeyFile``.
        id_column: names the row.
        prompt_column: a text, or a list of messages as the API has them.
        output_column: the answer's text; null where there is none.
        error_column: null, or the error's class and message.
        record_column: the whole record as JSON (usage, reasoning, tool calls, finish reason), where wanted.
        rate_limit: as the model's, over the model's own. Numbers are of the account and shared by all actors, and by all jobs
            of the cluster that give the same ones; without them each actor heeds what the service announces, by itself.
        account: the name under which numbers are shared; another for another account.
        concurrency: actors; ``(least, most)`` grows and shrinks with the work.
        in_flight: rows that one actor asks at once.
        rows_per_block: the unit of writing, so of what is sent again after a crash, and of spreading over actors.
        done: Parquet files, or folders of such, written before: rows whose id stands there are left out, failed ones too.
            What is not there yet holds no rows, so that the first run and the next are one line.
        num_cpus: that one actor reserves.

    Raises:
        ValueError: an argument that is none; the message names it. ``BulkInputError``: a column, or a file of ``done``.
        KeyHostError: the model holds a key, or cookies.

    When it runs, ``BulkStoppedError`` ends it where the key or the account is refused or a limit of the day is used up; what
    was written stays, and a run with ``done`` goes on from there.
    """
    columns = Columns(id_column, prompt_column, output_column, error_column, record_column)
    known = ds.schema(fetch_if_missing=False)
    if known is not None:
        columns.check(known.names)
    for name, count in (("in_flight", in_flight), ("rows_per_block", rows_per_block)):
        if count < 1:
            raise ValueError(f"{name}={count!r}: give 1 or more")
    asks, is_shared = to_model(model, rate_limit)
    least, most = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency
    ids = None if done is None else read_ids(done, id_column)
    if ids is not None:
        ds = ds.map_batches(
            functools.partial(drop_done, id_column=id_column, done=ray.put(ids)),
            batch_size=None,
            batch_format="pyarrow",
        )
    desk = find_desk(account) if is_shared else None
    return ds.repartition(target_num_rows_per_block=rows_per_block, strict=True).map_batches(
        AskRows,
        batch_size=None,  # a whole block: rows wait for none but the slowest of all
        batch_format="pyarrow",
        fn_constructor_kwargs={"order": Order(asks, columns, in_flight, account, desk)},
        compute=ActorPoolStrategy(min_size=least, max_size=most, max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE),
        num_cpus=num_cpus,
        udf_modifying_row_count=False,
    )


def to_model(model: ChatCerebrasDemo | str, rate_limit: Any) -> tuple[ChatCerebrasDemo, bool]:
    """The model that the actors ask, and whether its limits are numbers to be shared.

    Raises:
        KeyHostError: it holds a key, or cookies.
        TypeError: it cannot travel.
    """
    made = ChatCerebrasDemo(model=model) if isinstance(model, str) else model
    for name in ("api_key", "cookies"):
        if getattr(made, name) is not None:
            raise errors.KeyHostError(
                f"the model has {name}=…, which must not travel to the workers; {_WHERE_KEYS_ARE}"
            )
    limit = RateLimit.from_value(made.rate_limit if rate_limit == "auto" else rate_limit)
    made = made.model_copy(update={"rate_limit": limit})
    try:
        pickled: bytes = _pickle.dumps(made)
    except Exception as error:  # noqa: BLE001 - whatever a user's own object raises
        raise TypeError(
            f"the model cannot be pickled ({type(error).__name__}): leave out a transport or a callback of its own"
        ) from None
    if _KEY.search(pickled):
        raise errors.KeyHostError(f"a key stands in the model's resolver or headers; {_WHERE_KEYS_ARE}")
    return made, limit is not None and limit != RateLimit()
