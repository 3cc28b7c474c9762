import json
from types import SimpleNamespace
from typing import get_args

import pytest
from openai.types import Model

from penstock.protocols import INBOUND, openai_errors, openai_models
from penstock.types.errors import InvalidRequest
from penstock.types.requests import Operation


@pytest.mark.parametrize("path", INBOUND)
def test_every_path_has_what_an_inbound_needs(path: str) -> None:
    inbound = INBOUND[path]
    assert inbound.operation in get_args(Operation)
    for name in ("decode", "encoder", "error_body"):
        assert callable(getattr(inbound, name))
    with pytest.raises(InvalidRequest):
        inbound.decode({})
    assert b"no good" in inbound.error_body(InvalidRequest("no good"), "req_1")


def test_openai_errors() -> None:
    error = {"message": "x", "type": "invalid_request_error", "param": "n", "code": "invalid_request"}
    assert json.loads(openai_errors.error_body(InvalidRequest("x", param="n"))) == {"error": error}


def test_models() -> None:
    row = SimpleNamespace(
        id="a/b", created=5, owned_by="me", extras={"operations": ["chat"], "id": "no", "x": None}
    )
    single = json.loads(openai_models.single(row))
    assert single == {"id": "a/b", "object": "model", "created": 5, "owned_by": "me", "operations": ["chat"]}
    Model.model_validate(single, strict=True)
    assert json.loads(openai_models.listing([row, row])) == {"object": "list", "data": [single, single]}
    assert json.loads(openai_models.listing([])) == {"object": "list", "data": []}
