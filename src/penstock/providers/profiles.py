"""OpenAI-compatible vendors and servers, one row each. A new one is a row, not code.

kind       what `providers.<name>.kind` says in penstock.yaml
base_url   where its OpenAI-compatible routes begin; None = the user must say
env        variables that hold its key, the first that is set wins; empty = none is looked for, and a local
           server (vllm serve --api-key) needs none unless api_key says one
auth       bearer: `Authorization: Bearer <key>`; else the header that the key is in
quirks     how it departs from OpenAI's dialect
source     where base_url and env were read (2026-11-20)
"""

from typing import Literal

import msgspec

from penstock.lib.http1 import Origin
from penstock.lib.registry import UnknownName, hint
from penstock.types.deployment import Address, Codec, Connection, Credentials, Quirks


class Profile(msgspec.Struct, frozen=True):
    kind: str
    title: str
    base_url: str | None
    env: tuple[str, ...]
    source: str
    auth: Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"] = "bearer"
    quirks: Quirks = Quirks()
    codec: str = "openai"  # the row of providers.CONNECTORS
    is_local: bool = False  # a server of the user's own, found by asking its port


# OpenAI's reasoning models refuse max_tokens; all of its chat models know max_completion_tokens. Reasoning in
# messages is an unknown parameter to it.
_OPENAI = Quirks(
    rename_chat=(("max_tokens", "max_completion_tokens"),),
    drop_message=frozenset({"reasoning_content", "reasoning", "reasoning_details"}),
    custom_tools=True,
)
# The other way round: these do not know max_completion_tokens, and an unknown limit would be no limit.
_MAX_TOKENS = (("max_completion_tokens", "max_tokens"),)
# What these take beside OpenAI's sampling fields.
_SAMPLING = frozenset({"top_k", "min_p", "repetition_penalty"})
# Answers 422 to any field it does not know (anon-kode#53, eca#231, eca#315, openclaude#739), and to
# reasoning fields in history (crush#1590); sends usage in the last chunk unasked.
_MISTRAL = Quirks(
    rename_chat=(*_MAX_TOKENS, ("seed", "random_seed")),
    drop=frozenset({"stream_options", "user", "store", "logit_bias"}),
    drop_message=frozenset({"reasoning_content", "reasoning"}),
)

_ROWS = (
    Profile(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        "https://platform.openai.com/docs/api-reference",
        quirks=_OPENAI,
    ),
    Profile(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        ("ANTHROPIC_API_KEY",),
        "https://platform.claude.com/docs/en/api/overview",
        auth="x-api-key",
        codec="anthropic",
    ),
    Profile(
        "openai-responses",
        "OpenAI (Responses API)",
        "https://api.openai.com/v1",
        (),  # OPENAI_API_KEY is adopted for the chat API
        "https://platform.openai.com/docs/api-reference/responses",
        codec="responses",
    ),
    Profile(
        "azure",
        "Azure OpenAI",
        None,
        (),
        "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        auth="api-key",
        quirks=_OPENAI,
        codec="azure",
    ),
    Profile(
        "bedrock",
        "AWS Bedrock",
        "https://bedrock-runtime.us-east-1.amazonaws.com",  # of the region that the provider names
        (),  # AWS_* variables sign for it; they are not adopted
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
        codec="bedrock",
    ),
    Profile(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        ("DEEPSEEK_API_KEY",),
        "https://api-docs.deepseek.com (response_format: text or json_object)",
        quirks=Quirks(rename_chat=_MAX_TOKENS, json_schema=False),
    ),
    Profile(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        "https://docs.mistral.ai/api",
        quirks=_MISTRAL,
    ),
    Profile(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        "https://console.groq.com/docs/openai",
    ),
    Profile(
        "together",
        "Together AI",
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
        "https://docs.together.ai/docs/inference/openai-compatibility",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "fireworks",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        ("FIREWORKS_API_KEY",),
        "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        "https://openrouter.ai/docs/quickstart",
        quirks=Quirks(knows=_SAMPLING),
    ),
    Profile(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        ("XAI_API_KEY",),
        "https://docs.x.ai/docs/api-reference",
    ),
    Profile(
        "moonshot",
        "Moonshot AI",
        "https://api.moonshot.ai/v1",
        ("MOONSHOT_API_KEY",),
        "https://platform.moonshot.ai/docs (keys of the Chinese site: https://api.moonshot.cn/v1)",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "dashscope",
        "Alibaba Cloud Model Studio (Qwen)",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ("DASHSCOPE_API_KEY",),
        "https://help.aliyun.com/zh/model-studio (international keys: https://dashscope-intl.aliyuncs.com/...)",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "zhipu",
        "Zhipu AI (GLM)",
        "https://open.bigmodel.cn/api/paas/v4",
        ("ZHIPUAI_API_KEY", "ZHIPU_API_KEY"),
        "https://docs.bigmodel.cn (response_format: text or json_object; international: https://api.z.ai/api/paas/v4)",
        quirks=Quirks(rename_chat=_MAX_TOKENS, json_schema=False),
    ),
    Profile(
        "siliconflow",
        "SiliconFlow",
        "https://api.siliconflow.cn/v1",
        ("SILICONFLOW_API_KEY",),
        "https://docs.siliconflow.cn (international keys: https://api.siliconflow.com/v1)",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "perplexity",
        "Perplexity",
        "https://api.perplexity.ai",
        ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        "https://docs.perplexity.ai",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "nvidia",
        "NVIDIA NIM",
        "https://integrate.api.nvidia.com/v1",
        ("NVIDIA_API_KEY",),
        "https://docs.api.nvidia.com/nim",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "cerebras",
        "Cerebras",
        "https://api.cerebras.ai/v1",
        ("CEREBRAS_API_KEY",),
        "https://inference-docs.cerebras.ai/resources/openai",
    ),
    Profile(
        "sambanova",
        "SambaNova",
        "https://api.sambanova.ai/v1",
        ("SAMBANOVA_API_KEY",),
        "https://docs.sambanova.ai/docs/en/features/openai-compatibility",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "minimax",
        "MiniMax",
        "https://api.minimax.io/v1",
        ("MINIMAX_API_KEY",),
        "https://platform.minimax.io/docs (keys of the Chinese site: https://api.minimaxi.com/v1)",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "volcengine",
        "Volcengine Ark (Doubao)",
        "https://ark.cn-beijing.volces.com/api/v3",
        ("ARK_API_KEY", "VOLCENGINE_API_KEY"),
        "https://www.volcengine.com/docs/82379",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "huggingface",
        "Hugging Face router",
        "https://router.huggingface.co/v1",
        ("HUGGINGFACE_API_KEY",),  # HF_TOKEN is for downloads: finding it must not make a provider
        "https://huggingface.co/docs/inference-providers",
    ),
    Profile(
        "deepinfra",
        "DeepInfra",
        "https://api.deepinfra.com/v1/openai",
        ("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        "https://deepinfra.com/docs/openai_api",
        quirks=Quirks(rename_chat=_MAX_TOKENS, knows=_SAMPLING),
    ),
    Profile(
        "novita",
        "Novita AI",
        "https://api.novita.ai/openai/v1",
        ("NOVITA_API_KEY",),
        "https://novita.ai/docs",
        quirks=Quirks(rename_chat=_MAX_TOKENS, knows=_SAMPLING),
    ),
    Profile(
        "hyperbolic",
        "Hyperbolic",
        "https://api.hyperbolic.xyz/v1",
        ("HYPERBOLIC_API_KEY",),
        "https://docs.hyperbolic.xyz",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "cohere",
        "Cohere",
        "https://api.cohere.com",
        ("COHERE_API_KEY", "CO_API_KEY"),
        "https://docs.cohere.com/reference; chat: https://docs.cohere.com/docs/compatibility-api",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
        codec="cohere",
    ),
    Profile(
        "ai21",
        "AI21",
        "https://api.ai21.com/studio/v1",
        ("AI21_API_KEY",),
        "https://docs.ai21.com",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "nebius",
        "Nebius Token Factory",
        "https://api.tokenfactory.nebius.com/v1",
        ("NEBIUS_API_KEY",),
        "https://docs.tokenfactory.nebius.com/api-reference/introduction",
    ),
    Profile(
        "baseten",
        "Baseten",
        "https://inference.baseten.co/v1",
        ("BASETEN_API_KEY",),
        "https://docs.baseten.co/development/model-apis/overview; LiteLLM 1.109",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "friendli",
        "Friendli",
        "https://api.friendli.ai/serverless/v1",
        ("FRIENDLI_TOKEN",),
        "https://friendli.ai/docs; LiteLLM 1.109",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "featherless",
        "Featherless",
        "https://api.featherless.ai/v1",
        ("FEATHERLESS_AI_API_KEY",),
        "https://featherless.ai/docs; LiteLLM 1.109",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "vercel",
        "Vercel AI Gateway",
        "https://ai-gateway.vercel.sh/v1",
        ("AI_GATEWAY_API_KEY",),
        "https://vercel.com/docs/ai-gateway/openai-compat; LiteLLM 1.109",
    ),
    Profile(
        "github",
        "GitHub Models",
        "https://models.github.ai/inference",
        (),
        "https://docs.github.com/en/github-models/quickstart (a token with the models scope)",
    ),
    Profile(
        "wandb",
        "W&B Inference",
        "https://api.inference.wandb.ai/v1",
        (),
        "https://docs.wandb.ai/guides/inference; LiteLLM 1.109",
    ),
    Profile(
        "scaleway",
        "Scaleway Generative APIs",
        "https://api.scaleway.ai/v1",
        (),
        "https://www.scaleway.com/en/docs/generative-apis; LiteLLM 1.109",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "modelscope",
        "ModelScope",
        "https://api-inference.modelscope.cn/v1",
        ("MODELSCOPE_API_KEY",),
        "https://modelscope.cn/docs/model-service/API-Inference/intro; LiteLLM 1.109",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "qianfan",
        "Baidu Qianfan (ERNIE)",
        "https://qianfan.baidubce.com/v2",
        ("QIANFAN_API_KEY",),
        "https://cloud.baidu.com/doc/qianfan/s/Hmh4suq26",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "hunyuan",
        "Tencent Hunyuan",
        "https://api.hunyuan.cloud.tencent.com/v1",
        ("HUNYUAN_API_KEY",),
        "https://cloud.tencent.com/document/product/1729/111007",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "xiaomi",
        "Xiaomi MiMo",
        "https://api.xiaomimimo.com/v1",
        ("XIAOMI_MIMO_API_KEY",),
        "LiteLLM 1.109 (openai_like/providers.json)",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
    ),
    Profile(
        "litellm",
        "LiteLLM's proxy",
        "http://127.0.0.1:4000/v1",
        (),
        "https://docs.litellm.ai/docs/proxy/quick_start",
    ),
    Profile(
        "llamacpp-server",
        "llama.cpp server",
        "http://127.0.0.1:8080/v1",
        (),
        "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        quirks=Quirks(rename_chat=_MAX_TOKENS, knows=_SAMPLING, any_root=True),
    ),
    Profile(
        "ollama",
        "Ollama",
        "http://127.0.0.1:11434/v1",
        (),
        "https://docs.ollama.com/api/openai-compatibility",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
        is_local=True,
    ),
    Profile(
        "ollama-native",
        "Ollama (its own API)",
        "http://127.0.0.1:11434",
        (),
        "https://docs.ollama.com/api",
        codec="ollama",
    ),
    Profile(
        "tei",
        "Hugging Face text-embeddings-inference",
        None,
        (),
        "https://huggingface.github.io/text-embeddings-inference",
        codec="tei",
    ),
    Profile(
        "vllm",
        "vLLM",
        "http://127.0.0.1:8000/v1",
        (),
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        quirks=Quirks(knows=_SAMPLING, any_root=True),
        is_local=True,
    ),
    Profile(
        "sglang",
        "SGLang",
        "http://127.0.0.1:30000/v1",
        (),
        "https://docs.sglang.ai/basic_usage/openai_api_completions.html",
        quirks=Quirks(knows=_SAMPLING, any_root=True),
        is_local=True,
    ),
    Profile(
        "lmstudio",
        "LM Studio",
        "http://127.0.0.1:1234/v1",
        (),
        "https://lmstudio.ai/docs/api/endpoints/openai",
        quirks=Quirks(rename_chat=_MAX_TOKENS),
        is_local=True,
    ),
    Profile(
        "gemini",
        "Google Gemini API",
        "https://generativelanguage.googleapis.com/v1beta",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "https://ai.google.dev/api; google-genai 3.4 (_api_client.py)",
        auth="x-goog-api-key",
        codec="gemini",
    ),
    Profile(
        "vertex",
        "Google Vertex AI",
        "https://aiplatform.googleapis.com",  # `global`; others by region (vertex.py)
        (),
        "https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest; google-genai 3.4",
        auth="x-goog-api-key",
        codec="vertex",
    ),
    Profile(
        "openai-compatible",
        "any OpenAI-compatible server",
        None,
        (),
        "the user's own base_url and api_key",
    ),
)

PROFILES: dict[str, Profile] = {row.kind: row for row in _ROWS}


def plain_connection(row: Profile, credentials: Credentials, codec: Codec) -> Connection:
    """An address and at most one header: what nearly every vendor needs.

    Raises ValueError when the base URL is none.
    """
    origin, path = Origin.parse(credentials.base_url or row.base_url or "")
    address = Address(origin.scheme, origin.host, origin.port, origin.uds, path)
    headers: dict[str, str] = {}
    if credentials.api_key is not None:
        bearer = row.auth == "bearer"
        headers["authorization" if bearer else row.auth] = f"{'Bearer ' * bearer}{credentials.api_key}"
    return Connection(address, headers, codec)


def profile(kind: str) -> Profile:
    """Raises UnknownName, listing the kinds."""
    found = PROFILES.get(kind)
    if found is None:
        raise UnknownName(
            f"no provider kind named {kind!r}; there are: {', '.join(PROFILES)}{hint(kind, list(PROFILES))}"
        )
    return found
