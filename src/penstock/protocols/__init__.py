"""Inbound wire formats. One table says which path speaks which."""

from collections.abc import Mapping

from penstock.protocols import openai_chat, openai_completions, openai_embeddings, rerank, tei
from penstock.types.wire import Inbound

INBOUND: Mapping[str, Inbound] = {
    "/v1/chat/completions": openai_chat,
    "/v1/completions": openai_completions,
    "/v1/embeddings": openai_embeddings,
    "/v1/rerank": rerank.V1,
    "/v2/rerank": rerank.V2,
    "/rerank": tei.RERANK,
    "/embed": tei.EMBED,
}
