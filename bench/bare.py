"""A gateway without rows of usage; with `error` for the log's level, which nothing here reaches, it writes nothing
down: what writing is measured against.

python bench/bare.py penstock.yaml error
"""

import sys
from pathlib import Path

from penstock import serve
from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.telemetry import log


def main() -> None:
    settings = load_text(Path(sys.argv[1]).read_text("utf-8"))
    writer = log.configure(sys.argv[2])
    try:
        snapshot = compile_settings(settings, secret=b"bench" * 8)
        serve.run(serve.Options(snapshot, host=settings.server.host, port=settings.server.port))
    finally:
        writer.close()


if __name__ == "__main__":
    main()
