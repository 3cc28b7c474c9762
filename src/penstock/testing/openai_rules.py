"""What OpenAI's two chat interfaces refuse in the same words: errors, names, strict schemas."""

import re
from typing import Any, Final

from penstock.testing.double import Answer, Json, Recorded
from penstock.testing.vendor import Refused, Vendor

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_STRICT: Final = frozenset(["allOf", "oneOf", "not", "if", "then", "else", "patternProperties"])
_PLAIN: Final = re.compile(r"gpt-4|gpt-3|chatgpt")
_EFFORTS: Final = [  # of each model, as its refusals name them
    (re.compile(r"o[1-9]"), ["low", "medium", "high"]),
    (re.compile(r"gpt-5-pro"), ["high"]),
    (re.compile(r"gpt-5\.1-codex-max"), ["low", "medium", "high", "xhigh"]),
    (re.compile(r"gpt-5(\.1)?-codex"), ["low", "medium", "high"]),
    (re.compile(r"gpt-5\.1"), ["none", "low", "medium", "high"]),
    (re.compile(r"gpt-5\.[2-5]"), ["none", "low", "medium", "high", "xhigh"]),
    (re.compile(r"gpt-5(?!\.)"), ["minimal", "low", "medium", "high"]),
]
_USUAL: Final = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
_IMAGE: Final = re.compile(r"https?://|data:image/(?:png|jpe?g|gif|webp);base64,[A-Za-z0-9+/]+={0,2}$")
_KINDS: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAIVendor(Vendor):
    wrong_key = "Incorrect API key provided."

    def key_of(self, request: Recorded) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get(
            "api-key"
        )

    def error(self, status: int, message: str) -> Answer:
        return self.refuse(Refused(message, status))

    def refuse(self, exc: Refused) -> Answer:
        kind = _KINDS.get(exc.status, "server_error" if exc.status >= 500 else "invalid_request_error")
        error = {"message": exc.message, "type": kind, "param": exc.param, "code": exc.code}
        return Answer({"error": error}, status=exc.status, headers={"x-request-id": self.new_id("req_")})

    def list_models(self) -> Answer:
        now = int(self.clock.wall())
        models = [{"id": name, "object": "model", "created": now, "owned_by": "test"} for name in self.models]
        return Answer({"object": "list", "data": models})


def body_of(request: Recorded) -> Json:
    """Nulls are left out: null is absent at this vendor's."""
    if not isinstance(request.body, dict):
        raise Refused("We could not parse the JSON body of your request.")
    return {key: value for key, value in request.body.items() if value is not None}


def missing(param: str) -> Refused:
    return Refused(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)


def wrong_type(param: str, expected: str) -> Refused:
    return Refused(f"Invalid type for '{param}': expected {expected}.", code="invalid_type", param=param)


def wrong_value(param: str, value: Any, known: Any) -> Refused:
    named = ", ".join(f"'{one}'" for one in sorted(known))
    return Refused(
        f"Invalid value: '{value}'. Supported values are: {named}.", code="invalid_value", param=param
    )


def check_name(name: Any, param: str) -> str:
    if name is None:
        raise missing(param)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            code="invalid_value",
            param=param,
        )
    return name


def check_length(value: Any, most: int, param: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(param, "a string")
    if not value:
        raise Refused(f"Invalid '{param}': empty string.", code="empty_string", param=param)
    if len(value) > most:
        raise Refused(
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, but "
            "got a string "
            f"with length {len(value)} instead.",
            code="string_above_max_length",
            param=param,
        )
    return value


def check_image(url: Any, param: str) -> str:
    """The media type of a data URL."""
    if not isinstance(url, str) or not _IMAGE.match(url):
        raise Refused(
            f"Invalid '{param}'. Expected a base64-encoded data URL with an image MIME type or a valid URL.",
            code="invalid_value",
            param=param,
        )
    return url[5 : url.index(";")] if url.startswith("data:") else "image by url"


def check_root(schema: Any, what: str, param: str, code: str = "invalid_json_schema") -> None:
    """Also where the schema is not strict."""
    if isinstance(schema, dict) and not {"oneOf", "anyOf", "allOf", "enum", "not"}.isdisjoint(schema):
        raise Refused(
            f"Invalid schema for {what}: schema must have type 'object' and not have "
            "'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level.",
            code=code,
            param=param,
        )
    for place, part in _parts(schema, ()):
        if part.get("type") == "array" and "items" not in part:
            wrong = f"In context={place}, array schema missing items."
            raise Refused(f"Invalid schema for {what}: {wrong}", code=code, param=param)
    if not isinstance(schema, dict) or schema.get("type") != "object":
        kind = schema.get("type") if isinstance(schema, dict) else schema
        raise Refused(
            f"Invalid schema for {what}: schema must be a JSON Schema of 'type: \"object\"', got "
            f"'type: \"{kind}\"'.",
            code=code,
            param=param,
        )


def check_effort(model: Any, effort: Any, param: str) -> None:
    """Models that do not reason refuse to be told how much, others an effort that they do not know."""
    known = next(
        (found for name, found in _EFFORTS if param.endswith("effort") and name.match(str(model))), None
    )
    if effort is not None and known is not None and effort not in known:
        named = ", ".join(f"'{one}'" for one in known)
        raise Refused(
            f"Unsupported value: '{effort}' is not supported with the '{model}' model. Supported values are: "
            f"{named}.",
            code="unsupported_value",
            param=param,
        )
    if effort is not None and _PLAIN.match(str(model)):
        raise Refused(
            f"Unsupported parameter: '{param}' is not supported with this model.",
            code="unsupported_parameter",
            param=param,
        )


def check_include(model: Any, include: Any) -> None:
    if "reasoning.encrypted_content" in (include or ()) and _PLAIN.match(str(model)):
        raise Refused("Encrypted content is not supported with this model.", param="include")


def check_sampling(body: Json, effort: Any) -> None:
    """A model that reasons is not sampled as one likes: tmc/langchaingo#1355."""
    model = str(body["model"])
    reasons = re.match(r"o[1-9]|gpt-5(?!.*-chat)", model)
    is_idle = effort is None and re.match(r"gpt-5\.[1-4](?!.*-(?:codex|pro))", model)
    if not reasons or is_idle or effort == "none":
        return
    for name, usual in _USUAL.items():
        if body.get(name, usual) != usual:
            raise Refused(
                f"Unsupported value: '{name}' does not support {body[name]} with this model. "
                f"Only the default ({usual}) value is supported.",
                code="unsupported_value",
                param=name,
            )
    for name in ("stop", "logprobs", "top_logprobs", "logit_bias"):
        if body.get(name):
            raise Refused(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                code="unsupported_parameter",
                param=name,
            )


def check_strict(schema: Any, what: str, param: str, code: str) -> None:
    """`strict`: every schema says what it is, every object is closed and needs all its properties."""
    for place, part in _parts(schema, ()):
        where = f"Invalid schema for {what}: In context={place}, "
        if unknown := sorted(_NOT_STRICT & part.keys()):
            raise Refused(f"{where}'{unknown[0]}' is not permitted.", code=code, param=param)
        if "$ref" in part and len(part) > 1:
            more = sorted(part.keys() - {"$ref"})
            raise Refused(f"{where}$ref cannot have keywords {more}.", code=code, param=param)
        if part.keys().isdisjoint({"type", "anyOf", "$ref"}):
            raise Refused(f"{where}schema must have a 'type' key.", code=code, param=param)
        if part.get("type") != "object" and "properties" not in part:
            continue
        if part.get("additionalProperties") is not False:
            wrong = "'additionalProperties' is required to be supplied and to be false."
            raise Refused(where + wrong, code=code, param=param)
        left_out = sorted(set(part.get("properties") or {}) - set(part.get("required") or []))
        if left_out:
            raise Refused(
                f"{where}'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{left_out[0]}'.",
                code=code,
                param=param,
            )


def _parts(schema: Any, place: tuple[str, ...]) -> list[tuple[tuple[str, ...], Json]]:
    """Every schema in it, with its place."""
    if not isinstance(schema, dict):
        return []
    found = [(place, schema)]
    for key in ("properties", "$defs", "definitions"):
        for name, inner in (schema.get(key) or {}).items():
            found += _parts(inner, (*place, key, name))
    for key in ("items", "additionalProperties"):
        found += _parts(schema.get(key), (*place, key))
    for key in ("anyOf", "allOf", "oneOf"):
        for number, inner in enumerate(schema.get(key) or []):
            found += _parts(inner, (*place, key, str(number)))
    return found


def check_schema(function: Json, param: str) -> Json:
    """The parameters of a function, {} where it takes none."""
    schema: Json | None = function.get("parameters")
    if schema is None:
        return {}
    name = function["name"]
    check_root(schema, f"function '{name}'", f"{param}.parameters", "invalid_function_parameters")
    if "properties" not in schema and schema.get("additionalProperties") is None and len(schema) == 1:
        raise Refused(
            f"Invalid schema for function '{name}': In context=(), object schema missing properties.",
            code="invalid_function_parameters",
            param=f"{param}.parameters",
        )
    if function.get("strict") is True:
        check_strict(schema, f"function '{name}'", f"{param}.parameters", "invalid_function_parameters")
    return schema
