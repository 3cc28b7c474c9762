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
from penstock.models.gguf import GgufArray, GgufMetadata, read_gguf_metadata
from penstock.models.memory import available_bytes

DEFAULT_CONTEXT: Final = 8192  # unless the model was trained for less: longer is a choice, it costs memory
DEFAULT_PARALLEL: Final = 4
MIN_CONTEXT: Final = 2048
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
    context, parallel = plan(
        metadata.context_length or sys.maxsize,
        kv_bytes_per_token(metadata),
        available_bytes(),
        context=arguments.context,
        parallel=arguments.parallel,
    )
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.n_ctx = context * parallel  # llama.cpp divides it by the number of sequences
    params.n_parallel = parallel
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
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as exc:  # it has logged why, and says only that it failed
        raise RuntimeError(
            f"llama.cpp cannot load {arguments.model.name} (damaged, or too large for the memory?)"
        ) from exc
    _KEEP.append(server)
    return {
        "ready": True,
        "port": urlsplit(server.listening_address).port,
        "pid": os.getpid(),
        "kind": "embedding" if arguments.embedding else "chat",
        "architecture": metadata.architecture,
        "context": context,
        "parallel": parallel,
        "has_chat_template": metadata.has_chat_template,
    }


def kv_bytes_per_token(metadata: GgufMetadata) -> int:
    """Bytes that one token of context costs: a key and a value of 16-bit floats per layer and KV head."""
    values, prefix = metadata.values, metadata.architecture
    heads = _number(values.get(f"{prefix}.attention.head_count"), 1)
    kv_heads = _number(values.get(f"{prefix}.attention.head_count_kv"), heads)
    width = (metadata.embedding_length or 0) // max(heads, 1)
    key = _number(values.get(f"{prefix}.attention.key_length"), width)
    value = _number(values.get(f"{prefix}.attention.value_length"), width)
    return _number(values.get(f"{prefix}.block_count"), 0) * kv_heads * (key + value) * 2


def plan(
    trained: int, kv_bytes: int, free_bytes: int, *, context: int | None = None, parallel: int | None = None
) -> tuple[int, int]:
    """(tokens per sequence, sequences): what was asked for, else what a quarter of the free memory holds.

    First fewer sequences, then a shorter context, but never below 1 and MIN_CONTEXT. llama.cpp caps a
    sequence at what the model was trained for, whatever memory it was given, and so do we.
    """
    tokens = min(context or DEFAULT_CONTEXT, trained)
    sequences = parallel or DEFAULT_PARALLEL
    budget = free_bytes // 4
    while parallel is None and sequences > 1 and tokens * sequences * kv_bytes > budget:
        sequences //= 2
    while context is None and tokens > MIN_CONTEXT and tokens * sequences * kv_bytes > budget:
        tokens = max(MIN_CONTEXT, tokens // 2)
    return tokens, sequences


def _number(value: object, default: int) -> int:
    """A header value; where layers differ it is an array, and its sample's largest counts."""
    if isinstance(value, GgufArray):
        return max((int(one) for one in value.sample), default=default)
    return int(value) if isinstance(value, int) else default


_KEEP: Final[list[object]] = []  # the server stops when its object is collected


def _libgomp_hint(reason: str) -> str:
    return ". Install it with: apt-get install libgomp1" if "libgomp" in reason else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llamacpp_worker", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a .gguf file")
    parser.add_argument("--context", type=int, help="tokens per sequence (default: what fits, up to 8192)")
    parser.add_argument("--parallel", type=int, help="sequences decoded together (default: up to 4)")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--embedding", action="store_true", help="serve embeddings instead of text")
    return parser.parse_args()


if __name__ == "__main__":
    main()
