"""An agent's loop in the SDK of each dialect: it asks, runs the tools that are called, and asks again.

One conversation, the same in every dialect: thinking on, two tools, some turns with two calls at once. The
agent keeps what its SDK gives it and sends that back, as the vendor's documentation shows.
"""

import json
from abc import ABC, abstractmethod
from typing import Any

import anthropic
import ollama
import openai
from google import genai
from google.genai import types as gemini_types

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
TOOLS = {"add": "Adds two numbers: a + b.", "subtract": "Subtracts two numbers: a - b."}
SYSTEM = "You calculate with the tools you have."


def question(turn: int) -> str:
    if turn % 5 == 4:
        return f"Tell me how far we are after {turn} rounds."
    return f"Use add to compute {turn} + {turn + 1}."


def run_tool(name: str, arguments: dict[str, Any]) -> str:
    a, b = int(arguments["a"]), int(arguments["b"])
    return str(a + b if name == "add" else a - b)


class Agent(ABC):
    """`calls`: how many tool calls it has run; `thoughts`: how many turns showed reasoning."""

    def __init__(self, url: str, key: str, *, stream: bool) -> None:
        self.url = url
        self.key = key
        self.stream = stream
        self.calls = 0
        self.thoughts = 0

    async def converse(self, turns: int) -> list[str]:
        """What was said at the end of each turn."""
        said = []
        for turn in range(turns):
            self.ask(question(turn))
            for _ in range(4):  # rounds of calls; more would be a loop
                text, calls = await self.step()
                if not calls:
                    break
                self.calls += len(calls)
                self.answer([(call_id, name, run_tool(name, args)) for call_id, name, args in calls])
            said.append(text)
        return said

    @abstractmethod
    def ask(self, text: str) -> None: ...

    @abstractmethod
    async def step(self) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        """One request: the text, and the calls (id, name, arguments)."""

    @abstractmethod
    def answer(self, results: list[tuple[str, str, str]]) -> None: ...

    @abstractmethod
    async def close(self) -> None:
        """Lets the connections go."""


class Chat(Agent):
    """OpenAI's chat; this one, like most, keeps only what the format has a place for."""

    def __init__(self, url: str, key: str, *, stream: bool) -> None:
        super().__init__(url, key, stream=stream)
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self.messages: list[Any] = [{"role": "system", "content": SYSTEM}]
        self.tools: list[Any] = [
            {"type": "function", "function": {"name": name, "description": said, "parameters": SCHEMA}}
            for name, said in TOOLS.items()
        ]

    def ask(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    async def step(self) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        wanted: Any = {
            "model": "m",
            "messages": self.messages,
            "tools": self.tools,
            "reasoning_effort": "low",
        }
        if self.stream:
            async with self.client.chat.completions.stream(**wanted) as stream:
                async for _ in stream:
                    pass
                message: Any = (await stream.get_final_completion()).choices[0].message
        else:
            message = (await self.client.chat.completions.create(**wanted)).choices[0].message
        self.thoughts += bool(getattr(message, "reasoning_content", None))
        calls = message.tool_calls or []
        kept: dict[str, Any] = {"role": "assistant", "content": message.content}
        if calls:
            kept["tool_calls"] = [
                {
                    "id": c.id,
                    "type": "function",
                    "function": {"name": c.function.name, "arguments": c.function.arguments},
                }
                for c in calls
            ]
        self.messages.append(kept)
        return message.content or "", [
            (call.id, call.function.name, json.loads(call.function.arguments)) for call in calls
        ]

    def answer(self, results: list[tuple[str, str, str]]) -> None:
        self.messages += [
            {"role": "tool", "tool_call_id": call_id, "content": text} for call_id, _, text in results
        ]

    async def close(self) -> None:
        await self.client.close()


class Responses(Agent):
    """OpenAI's Responses without state at the server: the output items go back as input."""

    def __init__(self, url: str, key: str, *, stream: bool) -> None:
        super().__init__(url, key, stream=stream)
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self.input: list[Any] = []
        self.tools: list[Any] = [
            {"type": "function", "name": name, "description": said, "parameters": SCHEMA, "strict": False}
            for name, said in TOOLS.items()
        ]

    def ask(self, text: str) -> None:
        self.input.append({"role": "user", "content": text})

    async def step(self) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        wanted: Any = {
            "model": "m",
            "instructions": SYSTEM,
            "input": self.input,
            "tools": self.tools,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"},
        }
        if self.stream:
            async with self.client.responses.stream(**wanted) as stream:
                async for _ in stream:
                    pass
                response: Any = await stream.get_final_response()
        else:
            response = await self.client.responses.create(**wanted)
        self.thoughts += any(item.type == "reasoning" for item in response.output)
        self.input += [item.to_dict(mode="json", exclude_unset=True) for item in response.output]
        for item in self.input:
            item.pop("parsed", None)
            item.pop("parsed_arguments", None)
            for part in item.get("content") or ():
                if isinstance(part, dict):
                    part.pop("parsed", None)
        calls = [item for item in response.output if item.type == "function_call"]
        return response.output_text, [(c.call_id, c.name, json.loads(c.arguments)) for c in calls]

    def answer(self, results: list[tuple[str, str, str]]) -> None:
        self.input += [
            {"type": "function_call_output", "call_id": call_id, "output": text}
            for call_id, _, text in results
        ]

    async def close(self) -> None:
        await self.client.close()


class Claude(Agent):
    """Anthropic's Messages with cache breakpoints, as coding agents send them."""

    def __init__(self, url: str, key: str, *, stream: bool) -> None:
        super().__init__(url, key, stream=stream)
        self.client = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)
        self.messages: list[Any] = []
        self.tools: list[Any] = [
            {"name": name, "description": said, "input_schema": SCHEMA} for name, said in TOOLS.items()
        ]
        self.tools[-1]["cache_control"] = {"type": "ephemeral"}

    def ask(self, text: str) -> None:
        for message in self.messages:
            if isinstance(message["content"], list):
                for block in message["content"]:
                    if isinstance(block, dict):
                        block.pop("cache_control", None)
        block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages[-1]["content"].append(block)
        else:
            self.messages.append({"role": "user", "content": [block]})

    async def step(self) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        wanted: Any = {
            "model": "m",
            "max_tokens": 4096,
            "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
            "messages": self.messages,
            "tools": self.tools,
            "thinking": {"type": "enabled", "budget_tokens": 2048},
        }
        if self.stream:
            async with self.client.messages.stream(**wanted) as stream:
                async for _ in stream:
                    pass
                message: Any = await stream.get_final_message()
        else:
            message = await self.client.messages.create(**wanted)
        self.thoughts += any(block.type == "thinking" for block in message.content)
        content = [block.to_dict(mode="json", exclude_unset=True) for block in message.content]
        for block in content:
            block.pop("parsed_output", None)
        self.messages.append({"role": "assistant", "content": content})
        text = "".join(block.text for block in message.content if block.type == "text")
        return text, [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]

    def answer(self, results: list[tuple[str, str, str]]) -> None:
        content = [
            {"type": "tool_result", "tool_use_id": call_id, "content": text} for call_id, _, text in results
        ]
        self.messages.append({"role": "user", "content": content})

    async def close(self) -> None:
        await self.client.close()


class Gemini(Agent):
    """Gemini's generateContent; the model's content goes back as it came, signatures included."""

    def __init__(self, url: str, key: str, *, stream: bool) -> None:
        super().__init__(url, key, stream=stream)
        self.client = genai.Client(api_key=key, http_options=gemini_types.HttpOptions(base_url=url))
        self.contents: list[Any] = []
        declared: list[Any] = [
            {"name": name, "description": said, "parameters_json_schema": SCHEMA}
            for name, said in TOOLS.items()
        ]
        self.config = gemini_types.GenerateContentConfig(
            system_instruction=SYSTEM,
            tools=[gemini_types.Tool(function_declarations=declared)],
            thinking_config=gemini_types.ThinkingConfig(include_thoughts=True, thinking_budget=2048),
            automatic_function_calling=gemini_types.AutomaticFunctionCallingConfig(disable=True),
        )

    def ask(self, text: str) -> None:
        self.contents.append(gemini_types.Content(role="user", parts=[gemini_types.Part(text=text)]))

    async def step(self) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        models = self.client.aio.models
        parts: list[Any] = []
        if self.stream:
            stream = await models.generate_content_stream(
                model="m", contents=self.contents, config=self.config
            )
            async for chunk in stream:
                if chunk.candidates and chunk.candidates[0].content:
                    for part in chunk.candidates[0].content.parts or []:
                        _join(parts, part)
        else:
            answer = await models.generate_content(model="m", contents=self.contents, config=self.config)
            assert answer.candidates is not None
            content = answer.candidates[0].content
            assert content is not None
            parts = list(content.parts or [])
        self.thoughts += any(part.thought for part in parts)
        self.contents.append(gemini_types.Content(role="model", parts=parts))
        calls = [part.function_call for part in parts if part.function_call]
        text = "".join(part.text for part in parts if part.text and not part.thought)
        return text, [(call.id or "", call.name or "", dict(call.args or {})) for call in calls]

    def answer(self, results: list[tuple[str, str, str]]) -> None:
        parts = [
            gemini_types.Part(
                function_response=gemini_types.FunctionResponse(
                    id=call_id or None, name=name, response={"result": text}
                )
            )
            for call_id, name, text in results
        ]
        self.contents.append(gemini_types.Content(role="user", parts=parts))

    async def close(self) -> None:
        await self.client.aio.aclose()
        self.client.close()


class Ollama(Agent):
    """Ollama's chat; its client drops the ids of calls."""

    def __init__(self, url: str, key: str, *, stream: bool) -> None:
        super().__init__(url, key, stream=stream)
        self.client = ollama.AsyncClient(host=url, headers={"authorization": f"Bearer {key}"})
        self.messages: list[Any] = [{"role": "system", "content": SYSTEM}]
        self.tools: list[Any] = [
            {"type": "function", "function": {"name": name, "description": said, "parameters": SCHEMA}}
            for name, said in TOOLS.items()
        ]

    def ask(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    async def step(self) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        wanted: Any = {"messages": self.messages, "tools": self.tools, "think": True}
        if self.stream:
            said = ollama.Message(role="assistant", content="", thinking="")
            calls: list[Any] = []
            async for part in await self.client.chat("m", stream=True, **wanted):
                said.content = (said.content or "") + (part.message.content or "")
                said.thinking = (said.thinking or "") + (part.message.thinking or "")
                calls += part.message.tool_calls or []
            said.tool_calls = calls
        else:
            said = (await self.client.chat("m", **wanted)).message
        self.thoughts += bool(said.thinking)
        self.messages.append(said)
        return said.content or "", [
            ("", call.function.name, dict(call.function.arguments)) for call in said.tool_calls or ()
        ]

    def answer(self, results: list[tuple[str, str, str]]) -> None:
        self.messages += [{"role": "tool", "tool_name": name, "content": text} for _, name, text in results]

    async def close(self) -> None:
        await self.client._client.aclose()


def _join(parts: list[Any], part: Any) -> None:
    """Pieces of one text are one part: the SDK's own writing of a long history is slow for each part."""
    last = parts[-1] if parts else None
    if last and last.text and part.text and last.thought == part.thought and not last.thought_signature:
        last.text += part.text
        last.thought_signature = part.thought_signature
    else:
        parts.append(part)


AGENTS: dict[str, type[Agent]] = {
    "openai": Chat,
    "responses": Responses,
    "anthropic": Claude,
    "gemini": Gemini,
    "ollama": Ollama,
}
