"""The process that serves one GGUF model; our supervisor starts it and speaks HTTP to it.

    python -m penstock.engines.llamacpp_worker --model FILE.gguf [--context N] [--parallel N] [--threads N]
                                               [--embedding]

The contract is in runtime/process.py. The server is llama.cpp's own, in xllamacpp: it listens on a free
loopback port, knows the key of PENSTOCK_ENGINE_KEY, and decodes `--parallel` sequences together, each with
a context of `--context` tokens of its own (so a long conversation cannot take another one's memory).
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

from penstock.engines.host import KEY_VARIABLE, default_threads, die_with_parent, say
from penstock.models.gguf import read_gguf_metadata

DEFAULT_CONTEXT: Final = 8192  # unless the model was trained for less: longer is a choice, it costs memory
PROMPT_CACHE_MIB: Final = 256  # llama.cpp's default is 8 GiB of host memory
EMBEDDING_BATCH: Final = 2048  # tokens of the longest input an embedding model reads


def main() -> None:
    die_with_parent()
    arguments = _arguments()
    try:
        said = serve(arguments)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the supervisor must hear it
        say({"ready": False, "error": str(exc) or type(exc).__name__})
        sys.exit(1)
    ended = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    say(said)
    ended.wait()
    os._exit(0)  # the supervisor has drained it; llama.cpp's destructors would wait for idle slots


def serve(arguments: argparse.Namespace) -> dict[str, object]:
    """Loads the model and listens. Returns the ready line. Raises RuntimeError, OSError with the reason."""
    try:
        import xllamacpp
    except ImportError as exc:
        raise RuntimeError(f"xllamacpp cannot be loaded: {exc}{_libgomp_hint(str(exc))}") from exc
    metadata = read_gguf_metadata(arguments.model)
    trained = metadata.context_length or DEFAULT_CONTEXT
    context = arguments.context or min(trained, DEFAULT_CONTEXT)
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.n_ctx = context * arguments.parallel  # llama.cpp divides it by the number of sequences
    params.n_parallel = arguments.parallel
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.environ[KEY_VARIABLE]] if os.environ.get(KEY_VARIABLE) else []
    params.ui = False
    params.fit_params = False  # a context that was asked for is had, or loading fails
    params.ctx_shift = False  # a full context ends the answer; it does not forget the beginning
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    params.use_jinja = True
    params.warmup = False  # the supervisor's probe is the warm-up
    params.verbosity = 1
    if arguments.embedding:
        params.embedding = True
        params.n_batch = params.n_ubatch = min(context, EMBEDDING_BATCH)
    server = xllamacpp.Server(params)
    _KEEP.append(server)
    return {
        "ready": True,
        "port": urlsplit(server.listening_address).port,
        "pid": os.getpid(),
        "kind": "embedding" if arguments.embedding else "chat",
        "architecture": metadata.architecture,
        "context": context,
        "parallel": arguments.parallel,
        "has_chat_template": metadata.has_chat_template,
    }


_KEEP: Final[list[object]] = []  # the server stops when its object is collected


def _libgomp_hint(reason: str) -> str:
    return ". Install it with: apt-get install libgomp1" if "libgomp" in reason else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llamacpp_worker", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a .gguf file")
    parser.add_argument("--context", type=int, default=0, help="tokens per sequence")
    parser.add_argument("--parallel", type=int, default=4, help="sequences decoded together")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--embedding", action="store_true", help="serve embeddings instead of text")
    return parser.parse_args()


if __name__ == "__main__":
    main()
