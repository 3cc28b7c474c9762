"""Runs the server under a terminal: the ready file, a line per model, a bar while one loads."""

from collections.abc import Callable
from pathlib import Path

from penstock.cli import minted
from penstock.cli.output import fail, note
from penstock.cli.prepare import Prepared
from penstock.cli.watching import Watch


def serve_prepared(
    prepared: Prepared, *, ready_path: Path | None, on_ready: Callable[[str], None], workers: int
) -> None:
    """Serves until a signal; exits 1 when the address cannot be had."""
    from penstock import serve, supervisor
    from penstock.telemetry import log
    from penstock.types.ledger import LedgerUnavailable
    from penstock.workers.crew import WorkerFailed

    watch = Watch(is_open=False)

    def ready(url: str) -> None:
        on_ready(url)
        _announce(prepared.loaded.data_dir, url)
        watch.is_open = True
        if ready_path is not None:
            minted.say_ready(ready_path, url, prepared.key)

    server = prepared.settings.server
    writer = log.configure(prepared.settings.telemetry.log_level)
    try:
        with watch:
            options = serve.Options(
                snapshot=prepared.snapshot,
                host=server.host,
                port=server.port,
                live=serve.Live(prepared.source, prepared.settings, prepared.loaded.store_url),
                data_dir=prepared.loaded.data_dir,
                workers=workers,
                log_level=prepared.settings.telemetry.log_level,
                on_ready=ready,
                on_status=watch,
            )
            if options.workers == 1:
                serve.run(options)
            else:
                supervisor.run(options)
    except (serve.CannotListen, WorkerFailed, LedgerUnavailable) as exc:
        fail(f"error: {exc}")
    finally:
        writer.close()
        minted.withdraw(prepared.loaded.data_dir)
        if ready_path is not None:
            minted.unsay_ready(ready_path)


def _announce(data_dir: Path, url: str) -> None:
    """A server that other commands cannot find is a server all the same."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        minted.announce(data_dir, url)
    except OSError as exc:
        note(
            f"{data_dir / 'up.json'} cannot be written ({exc.strerror}): other commands here need --url {url}"
        )
