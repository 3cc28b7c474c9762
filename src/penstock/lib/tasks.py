"""The only place where asyncio tasks are made.

    who owns it         how its end is seen
    ------------------  -------------------------------------------------------------------------
    a TaskGroup         the group waits for it; its exception cancels the group and is raised there
    a set (`Tasks`)     the set keeps the strong reference until it ends; its exception is logged
                        as an error, because nobody waits for it

A bare `asyncio.create_task` may be collected half-way and takes its exception with it.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Tasks = set[asyncio.Task[Any]]

_log = logging.getLogger(__name__)


def spawn(owner: asyncio.TaskGroup | Tasks, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start `coro` as a task that `owner` keeps alive."""
    if isinstance(owner, asyncio.TaskGroup):
        return owner.create_task(coro, name=name)
    task = asyncio.get_running_loop().create_task(coro, name=name)
    owner.add(task)
    task.add_done_callback(owner.discard)
    task.add_done_callback(_log_failure)
    return task


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait until it has really ended; its own exception is dropped.

    A cancellation of the caller while it waits is not swallowed.
    """
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        _log.error("task %r failed", task.get_name(), exc_info=exc)
