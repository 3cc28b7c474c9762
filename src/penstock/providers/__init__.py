"""Outbound wire formats. CODECS: dialect -> codec; profiles: vendor -> dialect, address, quirks."""

from penstock.lib.registry import Registry

CODECS = Registry("codec", {"openai": "penstock.providers.openai:OpenAICodec"})
