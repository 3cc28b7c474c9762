"""Outbound wire formats.

profiles     vendor -> dialect, address, quirks: one row each
CONNECTORS   dialect -> connect(profile, credentials, name): a configured provider, ready to be called
CODECS       dialect -> codec class, for the servers of our own engines
"""

from penstock.lib.registry import Registry

CODECS = Registry("codec", {"openai": "penstock.providers.openai:OpenAICodec"})

CONNECTORS = Registry(
    "provider dialect",
    {
        "openai": "penstock.providers.openai:connect",
        "responses": "penstock.providers.responses:connect",
        "gemini": "penstock.providers.gemini:connect",
        "vertex": "penstock.providers.vertex:connect",
        "anthropic": "penstock.providers.anthropic:connect",
        "bedrock": "penstock.providers.bedrock:connect",
        "azure": "penstock.providers.azure:connect",
        "ollama": "penstock.providers.ollama:connect",
        "cohere": "penstock.providers.cohere:connect",
        "tei": "penstock.providers.tei:connect",
    },
)
