import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from penstock.control import webhooks as webhooks_module
from penstock.control.webhooks import Webhooks, signed
from penstock.lib import http1
from penstock.lib.clock import SystemClock
from penstock.types.webhooks import Event, Hook
from receiver import TAKEN, Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = Event("msg_1", "budget.alert", 1614265330, {"name": "lab"}, team="lab")


def test_signatures_are_those_of_the_standard() -> None:
    """The example of Svix, whose libraries verify such signatures."""
    headers = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert dict(headers)["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert "webhook-signature" not in dict(signed("", "msg_1", 1, b"{}"))
    assert dict(signed("plain", "m", 1, b""))["webhook-signature"].startswith("v1,")
    assert dict(signed("whsec_no base64", "m", 1, b""))["webhook-signature"].startswith("v1,")


@contextlib.asynccontextmanager
async def sending(receiver: Receiver, **more: object) -> AsyncIterator[Webhooks]:
    async with receiver as url, http1.Client() as client:
        hook = Hook("ops", f"{url}/in?x=1", SECRET, **more)  # type: ignore[arg-type]
        webhooks = Webhooks(client, SystemClock(), lambda: [hook], pauses_s=(0.0, 0.0))
        yield webhooks
        await webhooks.aclose()


async def test_an_event_is_posted_and_signed() -> None:
    receiver = Receiver(TAKEN)
    async with sending(receiver) as webhooks:
        webhooks.tell(EVENT)
        headers, body = await receiver.got.get()
    assert json.loads(body) == {
        "type": "budget.alert",
        "timestamp": "2021-02-25T15:02:10Z",
        "data": {"name": "lab"},
    }
    assert (headers["path"], headers["webhook-id"]) == ("/in?x=1", "msg_1")
    expected = signed(SECRET, "msg_1", int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == dict(expected)["webhook-signature"].lower()  # lowered by Receiver


async def test_what_is_not_taken_is_sent_again_and_no_more_than_that() -> None:
    failed = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    receiver = Receiver(failed, failed, TAKEN)
    async with sending(receiver) as webhooks:
        webhooks.tell(EVENT)
        tries = [await receiver.got.get() for _ in range(3)]
    assert {headers["webhook-id"] for headers, _ in tries} == {"msg_1"}
    receiver = Receiver(failed)
    async with sending(receiver) as webhooks:
        webhooks.tell(EVENT)
    assert receiver.got.qsize() == 3


async def test_the_end_waits_for_what_is_sent_and_not_for_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks_module, "CLOSED_IN_S", 3600.0)
    receiver = Receiver(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    async with receiver as url, http1.Client() as client:
        hook = Hook("ops", f"{url}/in", SECRET)
        webhooks = Webhooks(client, SystemClock(), lambda: [hook], pauses_s=(3600.0,))
        webhooks.tell(EVENT)
        await receiver.got.get()
        while not webhooks._pausing:
            await asyncio.sleep(0.001)
        async with asyncio.timeout(20.0):
            await webhooks.aclose()
    assert receiver.got.empty()


async def test_who_is_gone_is_not_asked_again() -> None:
    receiver = Receiver(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    async with sending(receiver) as webhooks:
        webhooks.tell(EVENT)
    assert receiver.got.qsize() == 1


async def test_only_what_is_wanted_is_sent() -> None:
    receiver = Receiver(TAKEN)
    async with sending(receiver, team="other") as webhooks:
        webhooks.tell(EVENT)
    async with sending(receiver, events=frozenset({"other"})) as webhooks:
        webhooks.tell(EVENT)
    assert receiver.got.empty()
    async with sending(receiver, events=frozenset({"budget.alert"}), team="lab") as webhooks:
        webhooks.tell(EVENT)
    assert receiver.got.qsize() == 1


async def test_a_webhook_that_is_not_trusted_reaches_no_private_address() -> None:
    receiver = Receiver(TAKEN)
    async with sending(receiver, is_trusted=False) as webhooks:
        webhooks.tell(EVENT)
    assert receiver.got.empty()
