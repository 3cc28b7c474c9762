"""LangChain's standard tests of a chat model: four client classes, each with four vendors' servers behind.

One gateway process, started as a user starts it; behind it the doubles of `penstock.testing`, which answer as
the vendors do and refuse what the vendors refuse. A cell is a class made of one client and one upstream:

    client                                    upstream
    chat       ChatOpenAI                     chat       OpenAI's Chat Completions
    responses  ChatOpenAI(use_responses_api)  responses  OpenAI's Responses API
    anthropic  ChatAnthropic                  anthropic  Anthropic's Messages API
    gemini     ChatGoogleGenerativeAI         gemini     Gemini's generateContent
                                              gemini-3   the same, but that it thinks and signs always
                                              direct     the client's own vendor, without us between

`direct` is the measure: what fails there is the client class's own, and stands below as a property with its
reason. Everything else must be green.
"""

import asyncio
import base64
import functools
import gc
import inspect
import json
import operator
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from platforms import PENSTOCK, environment

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.chat import ChatDouble
from penstock.testing.gemini import GeminiDouble
from penstock.testing.responses import ResponsesDouble

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain_google_genai import ChatGoogleGenerativeAI

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(60),
    # The client classes keep connections in caches of their own and never close them.
    pytest.mark.filterwarnings("ignore"),
]

UPSTREAMS = {
    "chat": ("openai", ChatDouble, "/v1"),
    "responses": ("openai-responses", ResponsesDouble, "/v1"),
    "anthropic": ("anthropic", AnthropicDouble, "/v1"),
    "gemini": ("gemini", GeminiDouble, "/v1beta"),
    "gemini-3": ("gemini", functools.partial(GeminiDouble, always_thinks=True), "/v1beta"),
}
SIGNATURES = {
    "chat": '"reasoning_content":',
    "responses": '"encrypted_content":',
    "anthropic": '"signature":',
    "gemini": '"thoughtSignature":',
    "gemini-3": '"thoughtSignature":',
}
KEY = "sk-matrix"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0"


class RestGemini(ChatGoogleGenerativeAI):
    """Its REST transport has no async half: without an async client it takes the sync one on a thread."""

    @property
    def async_client(self) -> None:
        return None


class Plant:
    """The doubles, on a thread with a loop of its own, and the gateway's process."""

    def __init__(self, home: Path) -> None:
        self.doubles = {name: row[1]() for name, row in UPSTREAMS.items()}
        self.doubles["responses"].strict_reasoning = True
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(),), daemon=True
        )
        self._thread.start()
        assert self._up.wait(10)
        self._home = home
        self.runner = asyncio.Runner()
        self.process: subprocess.Popen[bytes] | None = None

    async def _serve(self) -> None:
        for double in self.doubles.values():
            await double.start()
        self._up.set()
        await self._stop.wait()
        for double in self.doubles.values():
            await double.stop()

    @functools.cached_property
    def url(self) -> str:
        """Of the gateway, which starts when it is first wanted."""
        home = self._home
        providers, deployments = [], []
        for name, (kind, _, path) in UPSTREAMS.items():
            double = self.doubles[name]
            url = f"http://127.0.0.1:{double.port}{path}"
            providers.append(f"  {name}: {{kind: {kind}, base_url: '{url}', api_key: sk-upstream}}")
            # Behind each cell stands a second name, for the tests that choose the model at the call.
            model = "gemini-3-pro" if name == "gemini-3" else "m"  # by its name we know what it demands
            deployments += [
                f"  {name}{more}: {{provider: {name}, model: {model}{more}}}" for more in ("", "-second")
            ]
        config = home / "penstock.yaml"
        config.write_text(
            "\n".join(
                [
                    "builtin: off",
                    "providers:",
                    *providers,
                    "deployments:",
                    *deployments,
                    f"keys:\n  test: {{secret: {KEY}}}",
                ]
            ),
            "utf-8",
        )
        ready = home / "ready.json"
        with (home / "err").open("wb") as err:
            words = ["serve", "-c", str(config), "--port", "0", "--ready-file", str(ready)]
            self.process = subprocess.Popen(
                [*PENSTOCK, *words], stdout=err, stderr=err, stdin=subprocess.DEVNULL, env=environment(home)
            )
        began = time.monotonic()
        while not ready.exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() - began < 20, self.log()
            time.sleep(0.01)
        return str(json.loads(ready.read_text("utf-8"))["url"])

    def log(self) -> str:
        return "" if self.process is None else (self._home / "err").read_text("utf-8")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
        self.runner.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


plants: list[Plant] = []


@pytest.fixture(scope="module", autouse=True)
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    made = Plant(tmp_path_factory.mktemp("matrix"))
    plants.append(made)
    yield made
    plants.clear()
    made.stop()
    gc.collect()
    assert "Traceback" not in made.log()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures and sounds of the standard tests come from the web; ours from here."""

    class Got:
        def __init__(self, content: bytes) -> None:
            self.content = content

    def get(url: str, **_: Any) -> Got:
        return Got(PDF if url.endswith(".pdf") else WAV if url.endswith(".wav") else PNG)

    monkeypatch.setattr("langchain_tests.integration_tests.chat_models.httpx.get", get)


@pytest.fixture
def benchmark() -> None:
    """Of a plugin that only test_stream_time wants, which skips: it plays recordings."""


@pytest.fixture
def vcr() -> None:
    """As `benchmark`."""


@pytest.fixture(autouse=True)
def own_loop(request: pytest.FixtureRequest) -> None:
    """Async tests in one plain loop: the clients keep sockets open in it, which our own runner refuses."""
    test = request.node.obj
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        def run(*args: Any, **more: Any) -> None:
            plants[0].runner.run(test(*args, **more))

        del run.__wrapped__
        request.node.obj = run


@pytest.fixture(autouse=True)
def served(plant: Plant) -> Iterator[None]:
    """A failed test says what the double behind it refused last."""
    before = {name: len(double.requests) for name, double in plant.doubles.items()}
    yield
    for name, double in plant.doubles.items():
        for request in double.requests[before[name] :]:
            if request.status >= 400:
                print(name, request.status, request.path, json.dumps(request.body)[:2000])  # noqa: T201
        double.requests.clear()


class Cell(ChatModelIntegrationTests):
    """What all clients can do; a client's class says what it cannot."""

    client: ClassVar[str]
    upstream: ClassVar[str]

    @property
    def model_name(self) -> str:
        return "m" if self.upstream == "direct" else self.upstream

    def root(self, path: str) -> str:
        if self.upstream == "direct":
            return f"http://127.0.0.1:{plants[0].doubles[self.client].port}{path}"
        return plants[0].url + path

    @property
    def model_override_value(self) -> str:
        return f"{self.model_name}-second"

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def thinking(self) -> dict[str, Any]:
        """What turns thinking on."""
        raise NotImplementedError

    @pytest.mark.parametrize("streams", [False, True])
    def test_thoughts_survive_a_loop_of_tools(self, streams: bool) -> None:
        """Ten turns, one call each: the double refuses a thought that is lost, moved or changed."""

        @tool
        def look_up(place: str) -> str:
            """Look a place up."""
            return f"{place} is fine."

        model = self.chat_model_class(**{**self.chat_model_params, **self.thinking}).bind_tools([look_up])
        messages: list[Any] = [HumanMessage("Call look_up for Paris 10 times, one at a time.")]
        for _ in range(12):
            if streams:
                said: Any = functools.reduce(operator.add, model.stream(messages))
            else:
                said = model.invoke(messages)
            messages.append(said)
            if not said.tool_calls:
                break
            messages += [look_up.invoke(call) for call in said.tool_calls]
        told = [message.content for message in messages if isinstance(message, ToolMessage)]
        assert told == ["Paris is fine."] * 10
        assert said.text.count("Paris is fine.") == 10
        target = self.client if self.upstream == "direct" else self.upstream
        last = json.dumps(plants[0].doubles[target].requests[-1].body)
        assert last.count(SIGNATURES[target]) == (0 if target == "chat" else 10)


class OpenAICell(Cell):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        params = {"model": self.model_name, "base_url": self.root("/v1"), "api_key": KEY, "max_retries": 0}
        return {**params, "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True


class ChatCell(OpenAICell):
    client = "chat"

    @property
    def thinking(self) -> dict[str, Any]:
        return {"reasoning_effort": "low"}

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return self.upstream not in {"direct", "chat"}  # a tool message is text at OpenAI's

    @property
    def supports_audio_inputs(self) -> bool:
        # Sounds are Chat Completions' and Gemini's; Anthropic and Responses have no block for them.
        return self.upstream in {"direct", "chat", "gemini", "gemini-3"}


class ResponsesCell(OpenAICell):
    client = "responses"

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}

    @property
    def thinking(self) -> dict[str, Any]:
        encrypted = ["reasoning.encrypted_content"]
        return {"reasoning": {"effort": "low", "summary": "auto"}, "include": encrypted, "store": False}

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True


class AnthropicCell(Cell):
    client = "anthropic"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.model_name, "base_url": self.root(""), "api_key": KEY, "max_retries": 0}

    @property
    def thinking(self) -> dict[str, Any]:
        return {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class GeminiCell(Cell):
    client = "gemini"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return RestGemini

    @property
    def chat_model_params(self) -> dict[str, Any]:
        params = {
            "model": self.model_name,
            "base_url": self.root(""),
            "google_api_key": KEY,
            "max_retries": 0,
        }
        return {**params, "transport": "rest"}

    @property
    def thinking(self) -> dict[str, Any]:
        return {"thinking_budget": 1024, "include_thoughts": True}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        # Sounds are Chat Completions' and Gemini's; Anthropic and Responses have no block for them.
        return self.upstream in {"direct", "chat", "gemini", "gemini-3"}

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False  # `model` at the call is not read: `_prepare_request` takes the instance's


for base in (ChatCell, ResponsesCell, AnthropicCell, GeminiCell):
    for to in ("direct", *UPSTREAMS):
        if base is GeminiCell and to == "gemini-3":
            continue  # a signature behind streamed text is a second text to this class: `direct`, too
        name = f"Test{base.client.capitalize()}To{to.capitalize().replace('-', '')}"
        globals()[name] = type(name, (base,), {"upstream": to, "__module__": __name__})
del base
