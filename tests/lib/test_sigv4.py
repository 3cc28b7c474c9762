"""Judged by botocore, which signs what AWS accepts."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.sigv4 import Keys, sign

TEXTS = st.text("abcdefXYZ0189/+=", min_size=1, max_size=30)
SEGMENTS = st.text("abcXYZ09.:-_%~ ", min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
AT = 1_790_000_000.0


@given(
    TEXTS,
    TEXTS,
    st.none() | TEXTS,
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.binary(max_size=50),
)
def test_the_signature_is_botocore_s(
    access: str, secret: str, token: str | None, segments: list[str], body: bytes
) -> None:
    path = "/model/" + "/".join(quote(segment, safe="") for segment in segments)
    url = f"https://bedrock-runtime.eu-west-1.amazonaws.com{path}"
    request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=body)
    moment = datetime.fromtimestamp(AT, UTC)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("botocore.auth.get_current_datetime", lambda: moment.replace(tzinfo=None))
        SigV4Auth(Credentials(access, secret, token), "bedrock", "eu-west-1").add_auth(request)
    made = dict(
        sign(
            Keys(access, secret, token),
            method="POST",
            host="bedrock-runtime.eu-west-1.amazonaws.com",
            path=path,
            headers=[("content-type", "application/json")],
            body=body,
            region="eu-west-1",
            service="bedrock",
            at=AT,
        )
    )
    assert made["authorization"] == request.headers["Authorization"]
    assert made["x-amz-date"] == request.headers["X-Amz-Date"]
    assert made.get("x-amz-security-token") == request.headers.get("X-Amz-Security-Token")
