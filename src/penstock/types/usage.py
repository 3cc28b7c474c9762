"""What one answer consumed, in tokens, normalised over all vendors."""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one answer.

    `cached_tokens` is part of `prompt_tokens` and `reasoning_tokens` is part of `completion_tokens`, as
    OpenAI counts them; codecs of vendors that count otherwise convert before they build this.
    `is_estimated` says that the upstream gave no usage and the gateway counted what it delivered.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
