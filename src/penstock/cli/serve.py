"""penstock serve: a configuration file, nothing adopted."""

import os

from penstock.cli import options
from penstock.cli.output import USAGE, fail, note, told

EXAMPLE = "Example: penstock serve -c penstock.yaml --port 8600"


def serve(
    *,
    config: options.Config = None,
    host: options.Host = None,
    port: options.Port = None,
    workers: options.Workers = None,
    data_dir: options.DataDir = None,
    log_level: options.LogLevel = None,
    ready_file: options.ReadyFile = None,
) -> None:
    """Serve what a configuration file says.

    Unlike `up`, it adopts nothing from the environment. Keys come from the file; a file without keys is
    served on loopback only, with the key in the data folder.
    """
    from penstock.cli import prepare
    from penstock.cli.serving import serve_prepared
    from penstock.config.load import Flags

    if config is None and not os.environ.get("PENSTOCK_CONFIG"):
        fail("serve needs a file: -c FILE or PENSTOCK_CONFIG. Without one, use `penstock up`.", code=USAGE)
    with told():
        flags = Flags(config, host, port, data_dir, log_level, workers)
        prepared = prepare.prepare(flags, is_up=False)
        path = prepare.ready_file(ready_file)

        def on_ready(url: str) -> None:
            note(f"penstock serves {prepared.loaded.origin} at {url}")
            if prepared.has_minted:
                note(f"key: in {prepared.loaded.data_dir / 'key'}, because the file has no keys")

        serve_prepared(prepared, ready_path=path, on_ready=on_ready, workers=prepared.settings.server.workers)
