"""A double of Amazon Bedrock's Converse API around the scripted model of `brain.py`.

    async with BedrockDouble() as up:
        boto3.client("bedrock-runtime", endpoint_url=up.url, region_name="us-east-1").converse(...)

Written from the service's published model and documentation, as strict as the service before a Claude: what
it refuses is a ValidationException in its own words. What is checked beyond shapes:

    SigV4: the Authorization header's parts; its signature, too, when `secret_access_key` is given. A bearer
    key is taken as well
    turns alternate and begin with the user; a toolResult for each toolUse in the very next message, no others
    tool blocks only with a toolConfig; no blank text; ids, names and the inputs' type
    thinking (additionalModelRequestFields): the turn that called tools starts with its reasoningContent,
    whose signature is the one it came with

A stream is vnd.amazon.eventstream: `frame` writes it, with nothing but struct and zlib.
POST /model/{id}/converse, /converse-stream, /count-tokens.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from penstock.testing.brain import REFUSAL, Ask, Call, Reply, Result, Tool, Turn, words
from penstock.testing.claude_rules import check_bound, check_thinks, check_tool
from penstock.testing.double import Answer, Framing, Json, Recorded, by_hand, parser
from penstock.testing.vendor import Refused, Vendor, pieces

_CODES: Final = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_STOPS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "calls": "tool_use",
    "refusal": "content_filtered",
}
_FIELDS: Final = frozenset(
    [
        *("messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "outputConfig"),
        *("additionalModelRequestFields", "promptVariables", "additionalModelResponseFieldPaths"),
        *("requestMetadata", "performanceConfig", "serviceTier"),
    ]
)
_BLOCKS: Final = frozenset(
    [
        *(
            "text",
            "image",
            "document",
            "video",
            "audio",
            "toolUse",
            "toolResult",
            "guardContent",
            "cachePoint",
        ),
        *("reasoningContent", "citationsContent", "searchResult"),
    ]
)
_FORMATS: Final = {
    "image": frozenset(["png", "jpeg", "gif", "webp"]),
    "document": frozenset(["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]),
    "video": frozenset(["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]),
    "audio": frozenset(
        ["mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"]
    ),
}
_ROUTE: Final = re.compile(r"/model/([^/]+)/(converse|converse-stream|count-tokens)")
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([a-z0-9-]+)/bedrock/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_BY_THE_MODEL: Final = "The model returned the following errors: "


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of vnd.amazon.eventstream.

    total length, length of the headers, CRC of these eight bytes; headers: length and name, 7 for a string,
    length and value; the payload; the CRC of all before. Integers are big-endian.
    """
    packed = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = lengths + struct.pack("!I", zlib.crc32(lengths)) + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))


class _Events(Framing):
    """An event is `{name: payload}`; a name that ends with Exception is one."""

    content_type = "application/vnd.amazon.eventstream"
    is_text = False
    end = None

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002
        (name,) = event
        # Half an event is half its payload, in a message that is whole.
        payload = data[len(name) + 4 :]
        payload = payload[:-1] if payload.endswith(b"}}") else payload
        kind = "exception" if name.endswith("Exception") else "event"
        headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
        return frame(headers, payload)


_EVENTS: Final = _Events()


class BedrockDouble(Vendor):
    """`secret_access_key` makes it check signatures, not only that there is one."""

    base = ""
    wrong_key = "The security token included in the request is invalid."

    def __init__(self, *, secret_access_key: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.secret_access_key = secret_access_key
        self._cached: set[str] = set()

    def key_of(self, request: Recorded) -> str | None:
        given = request.headers.get("authorization", "")
        if given.startswith("Bearer "):
            return given.removeprefix("Bearer ")
        found = _AUTHORIZATION.fullmatch(given)
        if found is None:
            raise Refused("Missing Authentication Token", 403)
        if self.secret_access_key is not None:
            _check_signature(request, found, self.secret_access_key)
        return found[1]

    def error(self, status: int, message: str) -> Answer:
        status = 403 if status == 401 else status
        code = _CODES.get(status, "InternalServerException" if status >= 500 else "ValidationException")
        headers = {"x-amzn-requestid": self.new_id("r"), "x-amzn-errortype": code}
        return Answer({"message": message}, status=status, headers=headers)

    def error_event(self, message: str) -> Json:
        return {"modelStreamErrorException": {"message": message, "originalStatusCode": 500}}

    def respond(self, request: Recorded) -> Answer:
        route = _ROUTE.fullmatch(request.path)
        if route is None or request.method != "POST":
            raise Refused("UnknownOperationException", 404)
        model = unquote(route[1])
        if not re.fullmatch(r"[a-zA-Z0-9_.:/-]+", model):
            raise Refused("The provided model identifier is invalid.")
        body = request.body
        if not isinstance(body, dict):
            raise Refused("The request body is no JSON object.")
        if route[2] == "count-tokens":
            counted = (body.get("input") or {}).get("converse")
            if not isinstance(counted, dict):
                raise Refused("The input field must hold converse or invokeModel.")
            return Answer({"inputTokens": self._read(counted, model).tokens})
        _known(body, _FIELDS, "")
        ask, told = self._read(body, model), request.directives
        reply = self.think(ask, told)
        usage = self._usage(body, ask, reply, told.count("prompt-tokens"), told.count("cached-tokens"))
        stop: Json = {"stopReason": told.text("finish") or _STOPS[reply.finish]}
        if "/stop_sequence" in (body.get("additionalModelResponseFieldPaths") or ()):
            stop["additionalModelResponseFields"] = {"stop_sequence": reply.stop}
        content = list(self._content(reply))
        headers = {"x-amzn-requestid": self.new_id("r")}
        if route[2] == "converse-stream":
            events = list(_stream(content, reply, stop, usage))
            return Answer({}, events, framing=_EVENTS, headers=headers)
        message = {"role": "assistant", "content": content}
        whole = {"output": {"message": message}, **stop, "usage": usage, "metrics": {"latencyMs": 1}}
        return Answer(whole, headers=headers)

    def _content(self, reply: Reply) -> Iterator[Json]:
        if reply.thought:
            signature = self.seals.seal("thinking", reply.thought)
            yield {"reasoningContent": {"reasoningText": {"text": reply.thought, "signature": signature}}}
        if reply.text or reply.refusal:
            yield {"text": reply.text or REFUSAL}
        for call in reply.calls:
            yield {
                "toolUse": {"toolUseId": self.new_id("tooluse_"), "name": call.name, "input": call.arguments}
            }

    def _usage(self, body: Json, ask: Ask, reply: Reply, told: int | None, told_cached: int | None) -> Json:
        """Cached and written tokens stand beside `inputTokens`, not in them; the total has all."""
        prompt = ask.tokens if told is None else told
        flat = json.dumps([body.get("toolConfig"), body.get("system"), body.get("messages")])
        read = written = 0
        if told_cached is not None:
            read = told_cached
        elif '"cachePoint"' in flat:
            prefix = flat[: flat.rfind('"cachePoint"')]
            count = min(prompt - 1, len(words(prefix)))
            read, written = (count, 0) if prefix in self._cached else (0, count)
            self._cached.add(prefix)
        return {
            "inputTokens": prompt - read - written,
            "outputTokens": reply.tokens,
            "totalTokens": prompt + reply.tokens,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": written,
        }

    # -- reading -------------------------------------------------------------------------------------

    def _read(self, body: Json, model: str = "") -> Ask:
        config = body.get("inferenceConfig") or {}
        _known(config, frozenset(["maxTokens", "temperature", "topP", "stopSequences"]), "inferenceConfig")
        limit = config.get("maxTokens")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise _constraint(
                limit, "inferenceConfig.maxTokens", "Member must have value greater than or equal to 1"
            )
        is_claude = "claude" in model
        tools, choice, names = _tools(body.get("toolConfig"), is_claude=is_claude)
        thinks = _thinking(body, choice, limit, model)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused("The messages field is empty. Add a message and try again.")
        for at, message in enumerate(messages):
            _check_message(at, message, has_tools="toolConfig" in body)
        _check_order(messages)
        if thinks:
            more = body["additionalModelRequestFields"]
            thinking = more.get("thinking") or more["reasoning_config"]
            self._check_thoughts(messages, by_budget=thinking["type"] == "enabled")
        return Ask(
            turns=tuple(_turn(message) for message in messages if message["role"] != "system"),
            system="\n".join(_system(body)),
            tools=tuple(tools),
            choice=choice,
            only=names,
            schema=_format(body, is_claude=is_claude),
            thinking=thinks,
            max_tokens=limit,
            stop=tuple(config.get("stopSequences") or ()),
        )

    def _check_thoughts(self, messages: list[Json], *, by_budget: bool) -> None:
        for number, message in enumerate(messages):
            for at, block in enumerate(message["content"]):
                thought = (block.get("reasoningContent") or {}).get("reasoningText")
                if thought is not None and not self.seals.is_good(
                    "thinking", thought["text"], thought.get("signature")
                ):
                    raise Refused(
                        f"{_BY_THE_MODEL}messages.{number}.content.{at}: Invalid `signature` in "
                        "`thinking` block"
                    )
        if not by_budget or not any("toolResult" in block for block in messages[-1]["content"]):
            return
        at = max(number for number, message in enumerate(messages) if message["role"] == "assistant")
        if "reasoningContent" not in messages[at]["content"][0]:
            raise Refused(
                f"{_BY_THE_MODEL}messages.{at}.content.0.type: Expected `thinking` or "
                "`redacted_thinking`, but found "
                "`tool_use`. When `thinking` is enabled, a final `assistant` message must start with "
                "a thinking "
                "block."
            )


def _check_signature(request: Recorded, found: re.Match[str], secret: str) -> None:
    """The signature, computed again from what arrived."""
    date, region, signed, signature = found[2], found[3], found[4].split(";"), found[5]
    if "host" not in signed or ("x-amz-date" not in signed and "date" not in signed):
        raise Refused(
            "'Host' or ':authority' and a date must be a 'SignedHeader' in the AWS Authorization.", 403
        )
    lines = [f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed]
    query = "&".join(
        f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(parse_qsl(request.query, True))
    )
    canonical = "\n".join(
        [
            request.method,
            quote(request.path, safe="/~"),  # encoded as it arrived, and once more
            query,
            "".join(lines),
            ";".join(signed),
            hashlib.sha256(request.raw).hexdigest(),
        ]
    )
    scope = f"{date}/{region}/bedrock/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers.get("x-amz-date", ""), scope, hashed])
    key = b"AWS4" + secret.encode()
    for part in (date, region, "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature):
        raise Refused(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
            403,
        )


def _known(value: Any, known: frozenset[str], path: str) -> None:
    if not isinstance(value, dict):
        raise Refused(f"Expected an object at {path}.")
    for key in value:
        if key not in known:
            where = f"{path}." if path else ""
            raise Refused(
                f"Malformed input request: #: extraneous key [{where}{key}] is not permitted, please "
                "reformat "
                "your input and try again."
            )


def _constraint(value: Any, path: str, wrong: str) -> Refused:
    return Refused(
        f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {wrong}"
    )


def _union(value: Any, known: frozenset[str], path: str) -> tuple[str, Any]:
    """The one member of a union."""
    _known(value, known, path)
    if len(value) != 1:
        raise Refused(f"Invalid input for {path}: exactly one member must be set, there are {len(value)}.")
    ((kind, inner),) = value.items()
    return kind, inner


def _check_message(at: int, message: Any, *, has_tools: bool) -> None:
    path = f"messages.{at}"
    _known(message, frozenset(["role", "content"]), path)
    if message.get("role") not in {"user", "assistant", "system"}:
        raise _constraint(
            message.get("role"),
            f"{path}.member.role",
            "Member must satisfy enum value set: [assistant, system, user]",
        )
    content = message.get("content")
    if not isinstance(content, list) or not content:
        raise Refused(
            f"The content field in the Message object at {path} is empty. Add a ContentBlock object "
            "to the content "
            "field and try again."
        )
    for number, block in enumerate(content):
        _check_block(block, message["role"], f"{path}.content.{number}", has_tools=has_tools)


def _check_block(block: Any, role: str, path: str, *, has_tools: bool) -> None:
    kind, value = _union(block, _BLOCKS, path)
    if kind in {"toolUse", "toolResult"} and not has_tools:
        raise Refused(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    if (kind in {"toolUse", "reasoningContent"} and role == "user") or (
        kind == "toolResult" and role == "assistant"
    ):
        raise Refused(f"The {kind} block at {path} is not permitted in a message of role {role}.")
    match kind:
        case "text":
            if not isinstance(value, str) or not value.strip():
                raise Refused(
                    f"The text field in the ContentBlock object at {path} is blank. Add text to the "
                    "text field, and "
                    "try again."
                )
        case "image" | "document" | "video" | "audio":
            _check_media(kind, value, path)
        case "toolUse":
            _known(value, frozenset(["toolUseId", "name", "input", "type"]), f"{path}.toolUse")
            _check_id(value.get("toolUseId"), r"[a-zA-Z0-9_.:-]{1,64}", f"{path}.toolUse.toolUseId")
            _check_id(value.get("name"), r"[a-zA-Z0-9_-]{1,64}", f"{path}.toolUse.name")
            if not isinstance(value.get("input"), dict):
                raise Refused(
                    f"The format of the value at {path}.toolUse.input is invalid. Provide a json "
                    "object for the field "
                    "and try again."
                )
        case "toolResult":
            _known(value, frozenset(["toolUseId", "content", "status", "type"]), f"{path}.toolResult")
            _check_id(value.get("toolUseId"), r"[a-zA-Z0-9_.:-]{1,64}", f"{path}.toolResult.toolUseId")
            if value.get("status", "success") not in {"success", "error"}:
                raise _constraint(
                    value["status"], f"{path}.toolResult.status", "Member must satisfy enum value set"
                )
            if not isinstance(value.get("content"), list):
                raise Refused(f"The content field at {path}.toolResult is required.")
            for number, part in enumerate(value["content"]):
                known = frozenset(["json", "text", "image", "document", "video", "searchResult"])
                inner, given = _union(part, known, f"{path}.toolResult.content.{number}")
                if inner in _FORMATS:
                    _check_media(inner, given, f"{path}.toolResult.content.{number}")
                elif inner == "json" and not isinstance(given, dict):
                    raise Refused(
                        f"The format of the value at {path}.toolResult.content.{number}.json is invalid. "
                        "Provide a json object for the field and try again."
                    )
        case "reasoningContent":
            inner, given = _union(
                value, frozenset(["reasoningText", "redactedContent"]), f"{path}.reasoningContent"
            )
            if inner == "reasoningText" and not isinstance(given.get("text"), str):
                raise Refused(f"The text field at {path}.reasoningContent.reasoningText is required.")
        case "cachePoint":
            if value.get("type") != "default":
                raise _constraint(
                    value.get("type"),
                    f"{path}.cachePoint.type",
                    "Member must satisfy enum value set: [default]",
                )


def _check_id(value: Any, pattern: str, path: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise _constraint(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _check_media(kind: str, value: Any, path: str) -> None:
    known = (
        {"format", "source", "name", "context", "citations"} if kind == "document" else {"format", "source"}
    )
    _known(value, frozenset(known), f"{path}.{kind}")
    if value.get("format") not in _FORMATS[kind]:
        raise _constraint(value.get("format"), f"{path}.{kind}.format", "Member must satisfy enum value set")
    if kind == "document" and not re.fullmatch(
        r"[a-zA-Z0-9\-()\[\]]+(?: [a-zA-Z0-9\-()\[\]]+)*", str(value.get("name", ""))
    ):
        raise Refused(
            "The document file name can only contain alphanumeric characters, whitespace characters, "
            "hyphens, "
            "parentheses, and square brackets. The name can't contain more than one consecutive "
            "whitespace character."
        )
    source, given = _union(
        value.get("source"), frozenset(["bytes", "s3Location", "text", "content"]), f"{path}.{kind}.source"
    )
    if source == "bytes":
        try:
            is_empty = not base64.b64decode(given, validate=True)
        except (binascii.Error, TypeError):
            raise Refused(f"The bytes at {path}.{kind}.source are no base64.") from None
        if is_empty:
            raise Refused(f"The {kind} at {path} is empty.")


def _check_order(messages: list[Json]) -> None:
    plain = [(at, message) for at, message in enumerate(messages) if message["role"] != "system"]
    if not plain or plain[0][1]["role"] != "user":
        raise Refused(
            "A conversation must start with a user message. Try again with a conversation that "
            "starts with a user "
            "message."
        )
    used: set[str] = set()
    before: list[str] = []  # ids of calls the previous message made
    role = "assistant"
    for at, message in plain:
        if message["role"] == role:
            raise Refused(
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates "
                "between user and assistant roles and try again."
            )
        role = message["role"]
        content = message["content"]
        results = [block["toolResult"]["toolUseId"] for block in content if "toolResult" in block]
        if any("toolResult" not in block for block in content[: len(results)]):
            raise Refused(
                f"{_BY_THE_MODEL}messages.{at}: Messages following `tool_use` blocks must begin with a "
                "matching number of `tool_result` blocks."
            )
        if role == "assistant" and content and "reasoningContent" in content[-1]:
            raise Refused(f"{_BY_THE_MODEL}messages.{at}: The final block cannot be `thinking`.")
        if role == "user":
            if missing := [one for one in before if one not in results]:
                raise Refused(
                    f"Expected toolResult blocks at messages.{at}.content for the following Ids: "
                    f"{', '.join(missing)}"
                )
            if len(results) > len(before):
                raise Refused(
                    f"The number of toolResult blocks at messages.{at}.content exceeds the number of "
                    "toolUse blocks of "
                    "previous turn."
                )
        before = [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]
        if len(set(before)) != len(before) or not used.isdisjoint(before):
            raise Refused(f"messages.{at} contains duplicate Ids in toolUse blocks.")
        used.update(before)
    if before:
        raise Refused(
            f"Expected toolResult blocks behind messages.{plain[-1][0]} for the following Ids: {before[0]}"
        )


def _system(body: Json) -> list[str]:
    said = []
    for at, block in enumerate(body.get("system") or []):
        kind, value = _union(block, frozenset(["text", "guardContent", "cachePoint"]), f"system.{at}")
        if kind == "text":
            if not isinstance(value, str) or not value.strip():
                raise Refused(
                    f"The text field in the SystemContentBlock object at system.{at} is blank. Add "
                    "text to the text "
                    "field, and try again."
                )
            said.append(value)
    for message in body["messages"]:
        if message["role"] == "system":
            said += [block["text"] for block in message["content"] if "text" in block]
    return said


def _tools(config: Any, *, is_claude: bool) -> tuple[list[Tool], Any, tuple[str, ...]]:
    """tools, choice, only"""
    if config is None:
        return [], "auto", ()
    _known(config, frozenset(["tools", "toolChoice"]), "toolConfig")
    given = config.get("tools")
    if not isinstance(given, list) or not given:
        raise _constraint(given, "toolConfig.tools", "Member must have length greater than or equal to 1")
    made = []
    for at, tool in enumerate(given):
        path = f"toolConfig.tools.{at}"
        kind, spec = _union(tool, frozenset(["toolSpec", "systemTool", "cachePoint"]), path)
        if kind != "toolSpec":
            continue
        _known(spec, frozenset(["name", "description", "inputSchema", "strict"]), f"{path}.toolSpec")
        _check_id(spec.get("name"), r"[a-zA-Z0-9_-]{1,64}", f"{path}.toolSpec.name")
        if "description" in spec and not spec["description"]:
            raise _constraint(
                "", f"{path}.toolSpec.description", "Member must have length greater than or equal to 1"
            )
        _, schema = _union(spec.get("inputSchema"), frozenset(["json"]), f"{path}.toolSpec.inputSchema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise Refused(
                f"The value at {path}.toolSpec.inputSchema.json.type must be one of the following: object."
            )
        if is_claude:
            strict = spec.get("strict") is True
            check_tool(schema, f"tools.{at}.custom.input_schema", strict=strict, prefix=_BY_THE_MODEL)
        made.append(Tool(spec["name"], spec.get("description", ""), schema))
    if len({tool.name for tool in made}) != len(made):
        raise Refused("The toolConfig field contains duplicate tool names.")
    if (choice := config.get("toolChoice")) is None:
        return made, "auto", ()
    kind, value = _union(choice, frozenset(["auto", "any", "tool"]), "toolConfig.toolChoice")
    if kind == "tool":
        if value.get("name") not in {tool.name for tool in made}:
            raise Refused(
                f"The tool {value.get('name')} of toolConfig.toolChoice is not in toolConfig.tools."
            )
        return made, "any", (value["name"],)
    return made, kind, ()


def _thinking(body: Json, choice: str, limit: int | None, model: str) -> bool:
    more = body.get("additionalModelRequestFields") or {}
    thinking = more.get("thinking") or more.get("reasoning_config")
    if not isinstance(thinking, dict) or thinking.get("type") == "disabled":
        return False
    check_thinks(model, _BY_THE_MODEL)
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            wrong = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
            raise Refused(_BY_THE_MODEL + wrong)
        if limit is not None and limit <= budget:
            raise Refused(f"{_BY_THE_MODEL}`max_tokens` must be greater than `thinking.budget_tokens`.")
    if thinking.get("type") == "enabled" and choice == "any":
        raise Refused(f"{_BY_THE_MODEL}Thinking may not be enabled when tool_choice forces tool use.")
    return True


def _format(body: Json, *, is_claude: bool) -> Json | None:
    config = body.get("outputConfig")
    if config is None:
        return None
    _known(config, frozenset(["textFormat", "effort"]), "outputConfig")
    given = config.get("textFormat")
    if given is None:
        return None
    _known(given, frozenset(["type", "structure"]), "outputConfig.textFormat")
    if given.get("type") != "json_schema":
        raise _constraint(
            given.get("type"),
            "outputConfig.textFormat.type",
            "Member must satisfy enum value set: [json_schema]",
        )
    _, wanted = _union(given.get("structure"), frozenset(["jsonSchema"]), "outputConfig.textFormat.structure")
    try:
        schema = json.loads(wanted["schema"])  # a string, not an object
    except (KeyError, TypeError, ValueError):
        raise Refused("The schema of outputConfig.textFormat.structure.jsonSchema is no JSON text.") from None
    if is_claude:
        check_bound(schema, "output_config.format.schema", _BY_THE_MODEL)
    return schema if isinstance(schema, dict) else {}


def _turn(message: Json) -> Turn:
    content = message["content"]
    return Turn(
        role="assistant" if message["role"] == "assistant" else "user",
        text="\n".join(block["text"] for block in content if "text" in block),
        calls=tuple(
            Call(block["toolUse"]["toolUseId"], block["toolUse"]["name"], block["toolUse"]["input"])
            for block in content
            if "toolUse" in block
        ),
        results=tuple(_result(block["toolResult"]) for block in content if "toolResult" in block),
        media=tuple(kind for block in content if (kind := _media(block))),
    )


def _result(given: Json) -> Result:
    said = [
        part["text"] if "text" in part else json.dumps(part["json"], ensure_ascii=False)
        for part in given["content"]
        if "text" in part or "json" in part
    ]
    media = tuple(kind for part in given["content"] if (kind := _media(part)))
    return Result(given["toolUseId"], "\n".join(said), is_error=given.get("status") == "error", media=media)


def _media(block: Json) -> str:
    for kind in _FORMATS:
        if kind in block:
            return f"{kind}/{block[kind]['format']}"
    return ""


# -- streaming -------------------------------------------------------------------------------------------


def _stream(content: list[Json], reply: Reply, stop: Json, usage: Json) -> Iterator[Json]:
    """The usage comes behind the end. `p` is padding, which clients ignore."""
    yield {"messageStart": {"p": "abcdefgh", "role": "assistant"}}
    texts = iter(reply.calls)
    for index, block in enumerate(content):
        if "toolUse" in block:
            opened = {key: block["toolUse"][key] for key in ("toolUseId", "name")}
            yield {
                "contentBlockStart": {"contentBlockIndex": index, "p": "abcd", "start": {"toolUse": opened}}
            }
            text = next(texts).text
            deltas: list[Json] = [
                {"toolUse": {"input": piece}} for piece in (["", *pieces(text)] if text != "{}" else [""])
            ]
        elif "text" in block:
            deltas = [{"text": word} for word in words(block["text"])]
        else:
            thought = block["reasoningContent"]["reasoningText"]
            deltas = [{"reasoningContent": {"text": word}} for word in words(thought["text"])]
            deltas.append({"reasoningContent": {"signature": thought["signature"]}})
        for delta in deltas:
            yield {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta, "p": "abc"}}
        yield {"contentBlockStop": {"contentBlockIndex": index, "p": "ab"}}
    yield {"messageStop": {"p": "abcdef", **stop}}
    yield {"metadata": {"metrics": {"latencyMs": 1}, "p": "a", "usage": usage}}


def main(arguments: list[str] | None = None) -> None:
    by_hand(BedrockDouble, parser("bedrock", "A double of Amazon Bedrock's Converse API."), arguments)


if __name__ == "__main__":
    main()
