"""Fetches a model with a bar on the terminal; Ctrl-C stops it and keeps what is there for the next try."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from penstock.cli.output import err
from penstock.models import PullCancelled, ResolvedModel, parse_source, resolve
from penstock.models.store import Progress as Report

_POLL_S = 0.2


def pull_with_progress(text: str) -> ResolvedModel:
    """Raises PenstockError and KeyboardInterrupt."""
    source = parse_source(text)
    cancel = threading.Event()
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bars, ThreadPoolExecutor(1) as thread:
        bar = bars.add_task(text, total=None)

        def show(report: Report) -> None:
            said = f"{report.source}: {report.step} {report.note}".rstrip()
            bars.update(bar, description=said, completed=report.done_bytes, total=report.total_bytes)

        future = thread.submit(resolve, source, show, cancel)
        try:
            while not future.done():
                wait((future,), timeout=_POLL_S)
            return future.result()
        except KeyboardInterrupt:
            cancel.set()
            raise PullCancelled(f"fetching {text} was cancelled") from None
