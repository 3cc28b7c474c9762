"""What one answer consumed, in tokens, normalised over all vendors."""

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of one answer.

    As OpenAI counts: `cached_tokens` (read from a prompt cache), `cache_write_tokens` (written to one),
    `audio_prompt_tokens` and `image_prompt_tokens` are parts of `prompt_tokens`; `reasoning_tokens`,
    `audio_completion_tokens` and `image_completion_tokens` are parts of `completion_tokens`. Codecs of
    vendors that count otherwise convert before they build this. `search_units` is what vendors of rerank
    models bill by. `images` were drawn in the answer, whether or not their tokens are told.
    `is_estimated` says that the upstream gave no usage and the gateway counted what it delivered.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimated: bool = False
    cache_write_tokens: int = 0
    audio_prompt_tokens: int = 0
    audio_completion_tokens: int = 0
    cache_write_1h_tokens: int = (
        0  # those of `cache_write_tokens` that are kept an hour: Anthropic's price differs
    )
    image_prompt_tokens: int = 0
    image_completion_tokens: int = 0
    search_units: int = 0
    images: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
