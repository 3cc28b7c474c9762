"""penstock up: everything on embedded defaults, with what the environment offers."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock import __version__
from penstock.cli import options
from penstock.cli.output import say, told
from penstock.types.requests import Operation

if TYPE_CHECKING:
    from penstock.cli.prepare import Prepared

EXAMPLE = "Example: penstock up --port 8600"


def up(
    *,
    config: options.Config = None,
    host: options.Host = None,
    port: options.Port = None,
    data_dir: options.DataDir = None,
    log_level: options.LogLevel = None,
    ready_file: options.ReadyFile = None,
) -> None:
    """Start the platform: the builtin models, and what the environment offers.

    Uses ./penstock.yaml where there is one. Mints a key at first start. Vendors whose API key is in the
    environment, and an Ollama on this machine, become providers: ask for `openai/<model>`,
    `ollama/<model>` and so on.
    """
    from penstock.cli import prepare
    from penstock.cli.serving import serve_prepared
    from penstock.config.load import Flags

    with told():
        flags = Flags(config, host, port, data_dir, log_level)
        prepared = prepare.prepare(flags, is_up=True)
        path = prepare.ready_file(ready_file)

        def on_ready(url: str) -> None:
            for line in banner(prepared, url):
                say(line)

        serve_prepared(prepared, ready_path=path, on_ready=on_ready, workers=1)


def banner(prepared: "Prepared", url: str) -> Iterator[str]:
    loaded = prepared.loaded
    yield f"Penstock {__version__} is at {url}   (for OpenAI clients: base_url {url}/v1)"
    yield f"key:     {prepared.key}   (kept in {loaded.data_dir / 'key'})"
    yield f"config:  {loaded.origin}"
    yield from _adopted(prepared.adopted)
    names = [row.id for row in prepared.snapshot.models()]
    yield f"models:  {', '.join(names) or 'none'}"
    yield ""
    yield from curls(url, prepared.key or "", prepared.snapshot.defaults)
    yield ""
    yield "Ctrl-C stops it."


def _adopted(adopted: Mapping[str, str]) -> Iterator[str]:
    for name, how in adopted.items():
        yield f"adopted: {name} ({how}); ask for {name}/<model>"


def curls(url: str, key: str, defaults: Mapping[Operation, str]) -> Iterator[str]:
    """Ready-to-paste lines, one per thing the platform can do now."""
    bodies: dict[Operation, tuple[str, dict[str, Any]]] = {
        "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "What is Penstock?"}]}),
        "embedding": ("/v1/embeddings", {"input": "a gate and a pipe that lead water to a turbine"}),
        "rerank": (
            "/v1/rerank",
            {
                "query": "How is tea made?",
                "documents": ["Falling water turns the turbine.", "Pour hot water over the leaves and wait."],
            },
        ),
    }
    for operation, (path, body) in bodies.items():
        if operation in defaults:
            sent = json.dumps({"model": defaults[operation], **body})
            yield (
                f"curl {url}{path} -H 'Authorization: Bearer {key}' "
                f"-H 'Content-Type: application/json' -d '{sent}'"
            )
