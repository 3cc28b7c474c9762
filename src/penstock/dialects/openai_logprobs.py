"""The logprobs of OpenAI's chat and Responses answers: a list of tokens, each with its likeliest rivals."""

from typing import Any


def of_tokens(content: Any) -> dict[str, Any] | None:
    """`Text.logprobs` of what an upstream sent; None for nothing. Raises TypeError for anything else."""
    if not content:
        return None
    if content.__class__ is not list:
        raise TypeError("logprobs that are no list")
    for token in content:
        rivals = token.get("top_logprobs") if token.__class__ is dict else False
        if rivals is not None and (
            rivals.__class__ is not list or any(rival.__class__ is not dict for rival in rivals)
        ):
            raise TypeError("logprobs of no token")
    return {"content": content}
