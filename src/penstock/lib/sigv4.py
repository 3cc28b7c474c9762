"""AWS Signature Version 4 of one request.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    canonical request   method, path (each segment encoded, for services other than S3 once more), query,
                        signed headers, SHA-256 of the body
    string to sign      algorithm, time, scope (date/region/service/aws4_request), SHA-256 of the above
    key                 HMAC of date, region, service and aws4_request in turn, from "AWS4" + secret
"""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None  # of temporary credentials


def sign(
    keys: Keys,
    *,
    method: str,
    host: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    region: str,
    service: str,
    at: float,
) -> tuple[tuple[str, str], ...]:
    """The headers that authorise the request.

    path: as it is sent, percent-encoded; a query is not supported. headers: what else is to be signed,
    names in lower case. at: Unix seconds.
    """
    moment = datetime.fromtimestamp(at, UTC)
    stamp, date = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    signed = {name: " ".join(value.split()) for name, value in headers}
    signed |= {"host": host, "x-amz-date": stamp}
    if keys.session_token is not None:
        signed["x-amz-security-token"] = keys.session_token
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join(
        [method, quote(path, safe="/~"), "", lines, names, hashlib.sha256(body).hexdigest()]
    )
    scope = f"{date}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"Credential={keys.access_key_id}/{scope}"
    proof = f"{ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    made = [("x-amz-date", stamp), ("authorization", proof)]
    if keys.session_token is not None:
        made.append(("x-amz-security-token", keys.session_token))
    return tuple(made)
