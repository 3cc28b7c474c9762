"""ONNX Runtime: BERT-family encoders for embeddings, cross-encoders for rerank (onnx_worker.py)."""

import sys

import msgspec

from penstock.engines.host import default_threads
from penstock.types.deployment import Command, Pool, Probe, Quirks
from penstock.types.requests import Operation


class Onnx:
    name = "onnx"
    codec = "openai"
    quirks = Quirks()
    count_prompt = None  # its worker tokenizes before a request waits

    def operations(self, _pool: Pool) -> frozenset[Operation]:
        """What the format can serve; whether this model embeds or classifies shows when it is loaded."""
        return frozenset({"embedding", "rerank"})

    def command(self, pool: Pool, model_path: str) -> Command:
        threads = pool.threads or default_threads()
        argv = [
            sys.executable,
            "-m",
            "penstock.engines.onnx_worker",
            "--model",
            model_path,
            "--name",
            pool.name,
        ]
        argv += ["--threads", str(threads)]
        if pool.context is not None:
            argv += ["--max-input-tokens", str(pool.context)]
        return Command(tuple(argv), {})

    def probe(self, _pool: Pool) -> Probe:
        """Reranking works with encoders and cross-encoders alike."""
        return Probe("/rerank", msgspec.json.encode({"query": "ready?", "documents": ["ready"]}))


ENGINE = Onnx()
