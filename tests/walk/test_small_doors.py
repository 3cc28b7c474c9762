"""The smaller protocols through the whole gateway: moderations, Cohere's embed, TEI's info, KServe."""

import base64
import struct
from typing import Any

import cohere
import numpy as np
import openai
import pytest
from gateways import KEY, gateway, remote
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.cohere_embed import quantised
from penstock.testing.upstream import Upstream

FLOATS = st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=64).filter(lambda one: len(one) % 8 == 0)


@given(FLOATS)
def test_quantised_vectors_are_what_numpy_makes_of_them(vector: list[float]) -> None:
    array = np.array(vector, dtype=np.float64)
    assert quantised(vector, "float") == vector
    int8 = np.clip(np.rint(array * 127), -128, 127).astype(np.int8)
    assert quantised(vector, "int8") == int8.tolist()
    assert quantised(vector, "uint8") == (int8.astype(int) + 128).tolist()
    packed = np.packbits(array > 0)
    assert quantised(vector, "ubinary") == packed.tolist()
    assert quantised(vector, "binary") == packed.view(np.int8).tolist()
    data = quantised(vector, "base64")
    assert isinstance(data, str)
    assert struct.unpack(f"<{len(vector)}f", base64.b64decode(data)) == tuple(vector)


async def test_cohere_s_sdk_gets_every_type() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        async with cohere.AsyncClientV2(api_key=KEY, base_url=gate.url) as client:
            kinds: Any = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
            answer = await client.embed(
                model="m", texts=["a", "b"], input_type="search_query", embedding_types=kinds
            )
            found = answer.embeddings
            assert found.float_ is not None
            assert found.binary is not None
            assert [len(one) for one in found.float_] == [8, 8]
            assert [len(one) for one in found.binary] == [1, 1]
            assert all(getattr(found, kind) for kind in ("int8", "uint8", "ubinary", "base64"))
            inputs: Any = [{"content": [{"type": "text", "text": "a"}]}]
            other = await client.embed(model="m", inputs=inputs, input_type="search_document")
            assert other.embeddings.float_
        async with cohere.AsyncClient(api_key=KEY, base_url=gate.url) as old:
            plain = await old.embed(model="m", texts=["a"], input_type="search_query")
            assert plain.response_type == "embeddings_floats"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"texts": ["a"], "images": ["x"]}, "Exactly one"),
        ({"images": ["x"]}, "embed texts"),
        ({"texts": [""]}, "texts[0]"),
        ({"inputs": [{"content": [{"type": "image_url"}]}]}, "inputs[0].content[0]"),
        ({"texts": ["a"], "embedding_types": ["int4"]}, "embedding_types[0]"),
    ],
)
async def test_bad_embeds(body: dict[str, Any], words: str) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post("/v2/embed", {"model": "m", **body})
        assert answer.status == 400
        assert words in answer.json["message"]


async def test_moderations_reach_the_only_model_that_can() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=KEY) as client:
            for model in ("m", openai.omit):
                answer = await client.moderations.create(input=["hi", "violence"], model=model)
                assert answer.model == "m"
                assert [result.flagged for result in answer.results] == [False, True]
        assert up.requests[-1].body["model"] == "upstream-model"
        bad = await gate.post("/v1/moderations", {"input": [{"type": "audio"}]})
        assert bad.error == (400, "invalid_request", "input[0].type")


async def test_kserve_and_tei_say_what_is_here() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        assert (await gate.get("/v2")).json["name"] == "penstock"
        assert (await gate.get("/v2/health/live")).json == {"live": True}
        assert (await gate.get("/v2/health/ready")).json == {"ready": True}
        assert (await gate.get("/v2/models/m")).json["name"] == "m"
        assert (await gate.get("/v2/models/m/ready")).json == {"name": "m", "ready": True}
        assert (await gate.get("/v2/models/nope")).status == 404
        assert (await gate.get("/v2/models/m", headers={"authorization": "Bearer no"})).status == 401
        assert (await gate.get("/info")).json["model_id"] == "m"
