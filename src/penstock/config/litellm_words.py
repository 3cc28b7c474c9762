"""Words of LiteLLM's configuration, and ours for them: tables for litellm.py.

Read at https://docs.litellm.ai/docs/proxy/config_settings (2026-11-21).
"""

import re
from typing import Final

# Their prefix of a model -> our kind, where it has another name.
KINDS: Final = {
    "vertex_ai": "vertex",
    "vertex_ai_beta": "vertex",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "nvidia_nim": "nvidia",
    "zai": "zhipu",
    "cohere_chat": "cohere",
    "friendliai": "friendli",
    "featherless_ai": "featherless",
    "vercel_ai_gateway": "vercel",
    "litellm_proxy": "litellm",
    "ollama": "ollama-native",
    "ollama_chat": "ollama-native",
    "hosted_vllm": "vllm",
    "vllm": "vllm",
    "lm_studio": "lmstudio",
    "llamafile": "llamacpp-server",
    "azure_text": "azure",
    "text-completion-openai": "openai",
    "custom_openai": "openai-compatible",
    "openai_like": "openai-compatible",
    "bedrock_converse": "bedrock",
}
# A model without a prefix -> our kind.
BARE: Final = (
    (re.compile(r"gpt-|chatgpt-|o[1-9]|text-embedding-|omni-moderation|ft:"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "vertex"),
    (re.compile(r"command-|embed-|rerank-"), "cohere"),
)
STRATEGIES: Final = {
    "simple-shuffle": "weighted",
    "least-busy": "least-loaded",
    "latency-based-routing": "fastest",
    "cost-based-routing": "cheapest",
}
MODES: Final[dict[str, list[str] | None]] = {
    "chat": None,
    "completion": None,
    "responses": None,
    "embedding": ["embedding"],
    "rerank": ["rerank"],
    "moderation": ["moderation"],
}
PRICES: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning_output",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
}  # each also for long prompts: ..._above_200k_tokens
UNIT_PRICES: Final = {"input_cost_per_query": "query", "output_cost_per_image": "image"}
# litellm_params that say where a model is -> settings of a provider
PLACES: Final = {
    "api_version": "api_version",
    "aws_region_name": "region",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "vertex_project": "project",
    "vertex_ai_project": "project",
    "vertex_location": "region",
    "vertex_ai_location": "region",
    "vertex_credentials": "service_account",
    "tenant_id": "tenant_id",
    "client_id": "client_id",
    "client_secret": "client_secret",
    "extra_headers": "headers",
}
# A setting of a provider -> the kinds that it is for.
NEEDS: Final = {
    "api_version": ("azure", "anthropic"),
    "region": ("bedrock", "vertex"),
    "project": ("vertex",),
    "service_account": ("vertex",),
    **dict.fromkeys(("access_key_id", "secret_access_key", "session_token"), ("bedrock",)),
    **dict.fromkeys(("tenant_id", "client_id", "client_secret"), ("azure",)),
}
# litellm_params that are taken, besides PLACES and PRICES.
OF_A_PROVIDER: Final = frozenset(
    {
        *("model", "api_key", "api_base", "base_url", "organization", "custom_llm_provider"),
        "litellm_credential_name",
    }
)
OF_A_MODEL: Final = frozenset(
    {
        *("rpm", "tpm", "max_parallel_requests", "timeout", "stream_timeout", "num_retries"),
        *("weight", "order"),
    }
)
SECTIONS: Final = frozenset(
    {"model_list", "credential_list", "litellm_settings", "general_settings", "router_settings"}
)
DEFAULT_OF: Final = frozenset(
    {"temperature", "top_p", "max_tokens", "n", "stop", "seed", "presence_penalty", "frequency_penalty"}
)
# What a section holds that is taken over.
TAKEN: Final = {
    "litellm_settings": {"fallbacks", "default_fallbacks", "num_retries", "request_timeout", "set_verbose"},
    "general_settings": {"master_key", "database_url", "max_parallel_requests", "max_request_size_mb"},
    "router_settings": {
        *("model_group_alias", "routing_strategy", "num_retries", "timeout", "stream_timeout", "fallbacks"),
        *("default_fallbacks", "redis_host", "redis_port", "redis_password", "redis_db", "redis_url"),
        "default_max_parallel_requests",
    },
}
# What is so here without being said, or is a matter of their program's own.
SILENT: Final = {
    "litellm_settings": {"drop_params", "json_logs", "modify_params", "telemetry", "suppress_debug_info"},
    "general_settings": {
        "database_connection_pool_limit",
        "allow_requests_on_db_unavailable",
    },
    "router_settings": {"enable_pre_call_checks", "set_verbose"},
}
WHY: Final = {
    "cache": "there are no response caches in this release",
    "cache_params": "there are no response caches in this release",
    "guardrails": "there are no guardrails in this release",
    "callbacks": "calls are told by /metrics, the log and the usage API; there are no callbacks",
    "success_callback": "calls are told by /metrics, the log and the usage API; there are no callbacks",
    "failure_callback": "calls are told by /metrics, the log and the usage API; there are no callbacks",
    "context_window_fallbacks": "targets whose window is too small are passed over by themselves",
    "content_policy_fallbacks": "a refusal is an answer: there is no fallback for it",
    "allowed_fails": "targets that keep failing are left alone by themselves (docs/configuration.md)",
    "cooldown_time": "targets that keep failing are left alone by themselves (docs/configuration.md)",
    "retry_policy": "use `retries` of the routes",
    "max_retries": "use `retries` of the routes",
    "tags": "there is no routing by tags; use routes, and `routes` of keys",
    "enable_tag_filtering": "there is no routing by tags; use routes, and `routes` of keys",
    "base_model": "prices go by the name of the model itself, or stand under prices.models",
    "max_tokens": "what a model can take is in the table of models (penstock prices list)",
    "max_input_tokens": "what a model can take is in the table of models (penstock prices list)",
    "max_output_tokens": "what a model can take is in the table of models (penstock prices list)",
    "store_model_in_db": "models in its database are not taken over: penstock routes set",
    "maximum_spend_logs_retention_period": "use `store.usage.keep`",
    "allowed_ips": "use `ips` of keys",
    "aws_bedrock_runtime_endpoint": "use `base_url` of the provider",
    "provider_budget_config": "budgets are of keys, teams and users",
    "max_budget": "budgets are of keys, teams and users: penstock teams create NAME --budget 100",
    "budget_duration": "goes with a budget",
    "environment_variables": "set these where the server is started",
    "alerting": "alerts are of budgets, sent to `webhooks`; /metrics has what others need",
    "ui_access_mode": "there is no console in this release",
    "enable_jwt_auth": "tokens are taken where `identity.oidc` names their issuer (docs/identity.md)",
    "litellm_jwtauth": "goes with `identity.oidc` (docs/identity.md)",
    "custom_auth": "there is no custom authentication",
}
