"""What the admin API promises of every request: checked, repeated, versioned, told, and the file wins."""

import asyncio
import base64
import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from desk_help import CONFIG, OWNER, Office, office

from penstock.admin.rights import ADMINS
from penstock.config import writer
from penstock.config.errors import ConfigError
from penstock.types.identity import ROLES, Requirements, RoleName, VirtualKey
from penstock.types.ledger import Claim, Limit, Scope
from penstock.types.usage_store import UsageRow

NOV_S = 1_793_491_200  # 2026-11-01
DEC_S = 1_796_083_200


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/teams", {}, 400, "name"),
        ("/teams", {"name": 7}, 400, "name"),
        ("/teams", {"name": "a", "limts": {}}, 400, "limts"),
        ("/teams", {"name": "a", "limits": {"requests": "60"}}, 400, "limits.requests[0]"),
        ("/teams", {"name": "a", "limits": {"tokens": ["5/min", "6/min"]}}, 400, "limits.tokens"),
        ("/teams", {"name": "a", "budget": [{"usd": "25.5", "period": "year"}]}, 400, "budget[0].period"),
        ("/teams", {"name": "a", "budget": [{"usd": "much"}]}, 400, "budget[0].usd"),
        ("/teams", {"name": "a", "budget": [{"usd": 1}, {"usd": 2}]}, 400, "budget[1]"),
        ("/teams", {"name": "a", "budget": [{"usd": 1, "rolling": "7d", "period": "day"}]}, 400, None),
        ("/users", {"email": "nobody"}, 400, "email"),
        ("/users", {"email": "a\x1b[0m@b.c"}, 400, "email"),
        ("/users", {"email": "a@b.c", "name": "a\u202eb"}, 400, "name"),
        ("/teams", {"name": "lab "}, 400, "name"),  # who would see that it is another than `lab`
        ("/teams", {"name": "\u3000"}, 400, "name"),
        ("/keys", {"name": "x\x9b31m"}, 400, "name"),
        ("/service-accounts", {"name": "ci\u2028"}, 400, "name"),
        ("/keys", {"name": "a", "networks": ["10.0.0.0/33"]}, 400, "networks[0]"),
        ("/keys", {"name": "a", "networks": ["10.0.0.0/8", "10.20.30.40/8"]}, 400, "networks[1]"),
        ("/keys", {"name": "a", "expires": 1}, 400, "expires"),
        ("/keys", {"name": "a", "team": "team_none"}, 404, "team"),
        (
            "/teams",
            {"name": "a", "budget": [{"usd": 1, "models": ["m", "fixt"]}]},
            400,
            "budget[0].models[1]",
        ),
        ("/users", {"email": "a@b", "budget": [{"usd": 1, "models": ["\0"]}]}, 400, "budget[0].models[0]"),
        ("/keys", {"name": "k", "routes": ["m", "fixt"]}, 400, "routes[1]"),
        ("/routes", {"name": "r", "route": {"targets": [{"deployment": "gone"}]}}, 400, None),
        ("/routes", {"name": "fixed", "route": {"targets": [{"deployment": "n"}]}}, 409, None),
    ],
)
async def test_what_is_wrong_is_named(
    tmp_path: Path, path: str, body: Any, status: int, param: str | None
) -> None:
    async with office(tmp_path / "store.db") as desk:
        before = await desk.store.revision()
        got, answer = await desk.ask(OWNER, "POST", path, body)
        assert (got, param or answer["param"]) == (status, answer["param"])
        assert await desk.store.revision() == before


async def test_what_a_name_must_be_is_said_in_words(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        for path, body, said in (
            (
                "/teams",
                {"name": "lab "},
                "is 'lab '; it must be a text of visible characters and spaces between",
            ),
            ("/users", {"email": "x"}, "is 'x'; it must be an e-mail address"),
        ):
            assert said in (await desk.ask(OWNER, "POST", path, body))[1]["message"]


async def test_the_same_post_again_gets_the_same_answer(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        first = await desk.ask(OWNER, "POST", "/keys", {"name": "ci"}, idempotency_key="abc")
        again = await desk.ask(OWNER, "POST", "/keys", {"name": "ci"}, idempotency_key="abc")
        assert again == first
        assert first[1]["secret"]
        assert len((await desk.see("/keys"))["data"]) == 3  # two are the file's
        other = await desk.ask(OWNER, "POST", "/keys", {"name": "other"}, idempotency_key="abc")
        assert other[0] == 409
        somebody = VirtualKey("somebody", role="admin")
        assert (await desk.ask(somebody, "POST", "/keys", {"name": "ci"}, idempotency_key="abc"))[0] == 201
        both = await asyncio.gather(
            *(desk.ask(OWNER, "POST", "/teams", {"name": "t"}, idempotency_key="d") for _ in range(5))
        )
        assert len({answer["id"] for _, answer in both}) == 1
        failed = await desk.ask(OWNER, "POST", "/teams", {"name": "t"}, idempotency_key="e")
        assert failed[0] == 409
        await desk.ask(OWNER, "DELETE", f"/teams/{both[0][1]['id']}")
        assert (await desk.ask(OWNER, "POST", "/teams", {"name": "t"}, idempotency_key="e"))[0] == 201


async def test_who_read_an_older_version_is_told(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        team = await desk.make("/teams", name="a", limits={"requests": "5/min"})
        path = f"/teams/{team['id']}"
        status, changed = await desk.ask(OWNER, "PATCH", path, {"name": "b", "version": 1})
        assert (status, changed["version"], changed["limits"]) == (200, 2, {"requests": ["5/min"]})
        assert (await desk.ask(OWNER, "PATCH", path, {"name": "c", "version": 1}))[0] == 409
        assert (await desk.ask(OWNER, "PATCH", path, {"name": "c"}, if_match='"1"'))[0] == 409
        assert (await desk.ask(OWNER, "PATCH", path, {"name": "c", "version": 1}, if_match='"2"'))[0] == 400
        assert (await desk.ask(OWNER, "DELETE", path, if_match='"1"'))[0] == 409
        assert (await desk.ask(OWNER, "DELETE", path, if_match='"2"'))[0] == 200


async def test_lists_come_in_pages(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        made = {(await desk.make("/teams", name=f"t{at}"))["id"] for at in range(7)}
        seen: list[str] = []
        page = await desk.see("/teams?limit=3")
        while True:
            seen += [row["id"] for row in page["data"]]
            if page["cursor"] is None:
                break
            page = await desk.see(f"/teams?limit=3&cursor={page['cursor']}")
        assert sorted(seen) == sorted([*made, "filed"])
        assert (await desk.ask(OWNER, "GET", "/teams?cursor=none"))[1]["param"] == "cursor"
        assert (await desk.ask(OWNER, "GET", "/teams?limit=0"))[1]["param"] == "limit"
        assert (await desk.ask(OWNER, "GET", "/teams?lmit=3"))[1]["param"] == "lmit"


MANY = CONFIG + "".join(f"  k{number}: {{secret: sk-{number}}}\n" for number in range(7))
MANY += "webhooks: {h1: {url: 'https://x.example/1'}, h2: {url: 'https://x.example/2'}}\n"


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_what_the_file_says_comes_in_pages_too(tmp_path: Path, limit: int) -> None:
    async with office(tmp_path / "store.db", MANY) as desk:
        await desk.make("/keys", name="a")
        await desk.make("/keys", name="b", team="filed")  # the team has a row now, and is listed once
        await desk.make("/teams", name="t")
        await desk.make("/routes", name="r", route={"targets": [{"deployment": "m"}]})
        await desk.make("/webhooks", url="https://x.example/3")
        for path, count, first in (("keys", 11, 9), ("teams", 2, 1), ("routes", 2, 1), ("webhooks", 3, 2)):
            rows: list[Any] = []
            cursor: str | None = ""
            while cursor is not None:
                page = await desk.see(f"/{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
                assert len(page["data"]) <= limit
                rows += page["data"]
                cursor = page["cursor"]
            names = [row.get("id", row.get("name")) for row in rows]
            assert len(names) == len(set(names)) == count, path
            assert [row["source"] for row in rows] == ["file"] * first + ["store"] * (count - first), path


async def test_one_key_of_the_file_is_written_when_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be 100,000, and the loop that answers models is the same."""
    async with office(tmp_path / "store.db", MANY) as desk:
        made = await desk.make("/keys", name="a")
        asked: list[Any] = []
        real = writer.as_written
        monkeypatch.setattr(writer, "as_written", lambda group: asked.append(group) or real(group))
        for method, path, count in (
            ("GET", "/keys/k3", 1),
            ("GET", f"/keys/{made['id']}", 0),
            ("POST", f"/keys/{made['id']}/rotate", 0),
            ("GET", "/keys?limit=2", 2),
            ("GET", "/limits?key=k3", 0),
        ):
            asked.clear()
            status, _ = await desk.ask(OWNER, method, path, {})
            assert (status, len(asked)) == (200, count), path


@pytest.mark.parametrize("position", [[2**70, ""], [1, "\0"], [2**70, 2**70], [1, 2**70], [1, ["\0"]], {}])
async def test_cursors_that_somebody_made_up(tmp_path: Path, position: Any) -> None:
    text = base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")
    async with office(tmp_path / "store.db") as desk:
        for path in ("/teams", "/keys", "/changes", "/usage", "/usage/calls", "/usage/series"):
            status, answer = await desk.ask(OWNER, "GET", f"{path}?cursor={text}")
            assert (status, answer["param"]) == (400, "cursor"), path


async def test_no_path_holds_a_nul(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        for path in ("/keys/\0", "/teams/a\0b", "/routes/\0", "/keys/\0/rotate"):
            for method in ("GET", "PATCH", "DELETE", "PUT", "POST"):
                status, answer = await desk.ask(OWNER, method, path, {})
                assert (status, "There is nothing at" in answer["message"]) == (404, True), path


async def test_what_the_file_says_is_read_only(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        team = await desk.see("/teams/filed")
        assert (team["source"], team["limits"]) == ("file", {"requests": ["60/min"]})
        assert team["budget"] == [{"usd": "25.5"}]
        key = await desk.see("/keys/filed-key")
        assert (key["source"], key["team"]) == ("file", "filed")
        assert (key["networks"], key["expires"]) == (["10.0.0.0/8"], 4_102_444_800)
        assert "sk-filed" not in str(await desk.see("/keys"))
        assert (await desk.see("/routes/fixed"))["source"] == "file"
        for method, path, body in (
            ("PATCH", "/teams/filed", {"name": "x"}),
            ("DELETE", "/teams/filed", None),
            ("POST", "/keys/filed-key/revoke", {}),
            ("PATCH", "/keys/filed-key", {"name": "x"}),
            ("PUT", "/routes/fixed", {"route": {"targets": [{"deployment": "n"}]}}),
            ("DELETE", "/routes/fixed", None),
        ):
            status, answer = await desk.ask(OWNER, method, path, body)
            assert (status, "file" in answer["message"]) == (409, True), path
        made = await desk.make("/keys", name="of a filed team", team="filed")  # it gets a row to be named by
        assert (made["team"], (await desk.see("/teams/filed"))["source"]) == ("filed", "file")
        assert [row["id"] for row in (await desk.see("/teams"))["data"]] == ["filed"]


async def test_a_team_that_came_into_the_file_later_has_keys_beside_one_that_is_called_so(
    tmp_path: Path,
) -> None:
    async with office(tmp_path / "store.db", CONFIG.replace("filed", "other")) as desk:
        stored = (await desk.make("/teams", name="filed"))["id"]
    async with office(tmp_path / "store.db") as desk:
        assert (await desk.make("/keys", name="k", team="filed"))["team"] == "filed"
        assert (await desk.make("/keys", name="l", team=stored))["team"] == stored
        teams = [(row["id"], row["name"]) for row in (await desk.see("/teams"))["data"]]
        assert teams == [("filed", "filed"), (stored, "filed")]


async def test_keys_of_the_file_are_keys_of_their_team(tmp_path: Path) -> None:
    """Who asks for all keys of a team would else miss those that stand in the file."""
    async with office(tmp_path / "store.db") as desk:
        made = (await desk.make("/keys", name="made", team="filed"))["id"]
        other = (await desk.make("/teams", name="other"))["id"]
        member = VirtualKey("dev", role="developer", team="filed")
        stranger = VirtualKey("x", role="developer", team=other)

        async def listed(path: str, caller: VirtualKey = OWNER) -> list[str]:
            return [row["id"] for row in (await desk.see(path, caller))["data"]]

        assert await listed("/keys?team=filed") == ["filed-key", made]
        assert (
            await listed("/keys", member) == await listed("/keys?team=filed", member) == ["filed-key", made]
        )
        assert await listed("/keys?limit=1", member) == ["filed-key"]
        assert await listed("/keys", stranger) == await listed(f"/keys?team={other}") == []
        assert (await desk.see("/keys/filed-key", member))["source"] == "file"
        assert (await desk.see("/limits?key=filed-key", member))["data"] == []
        status, answer = await desk.ask(member, "POST", "/keys/filed-key/revoke", {})
        assert (status, "change it there" in answer["message"]) == (409, True)
        for path in ("/keys/filed-key", "/limits?key=filed-key", "/keys?team=filed"):
            assert (await desk.ask(stranger, "GET", path))[0] == 404, path
        nobody, theirs = [
            (await desk.ask(stranger, "POST", f"/keys/{name}/rotate", {}))[1]
            for name in ("nobody", "filed-key")
        ]
        assert theirs == {**nobody, "message": nobody["message"].replace("nobody", "filed-key")}


async def test_who_is_of_a_team_of_the_file_or_of_an_issuer_of_tokens(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        member = VirtualKey("dev", role="developer", team="filed")
        assert [row["id"] for row in (await desk.see("/teams", member))["data"]] == ["filed"]
        assert (await desk.make("/keys", member, name="k"))["team"] == "filed"
        stranger = VirtualKey("token", role="developer", team="of-an-issuer", user="ann@example.com")
        assert (await desk.see("/teams", stranger))["data"] == []
        assert (await desk.ask(stranger, "POST", "/keys", {"name": "k"}))[0] == 404
        await desk.make("/teams", id="of-an-issuer", name="theirs")
        assert (await desk.make("/keys", stranger, name="k"))["team"] == "of-an-issuer"


async def test_who_changed_what_is_told_without_secrets(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        made = await desk.make("/keys", name="ci", routes=["m"])
        await desk.ask(OWNER, "PATCH", f"/keys/{made['id']}", {"routes": ["m", "n"]})
        await desk.ask(OWNER, "POST", f"/keys/{made['id']}/rotate", {})
        await desk.ask(OWNER, "POST", f"/keys/{made['id']}/revoke", {})
        rows = (await desk.see(f"/changes?path=keys/{made['id']}"))["data"]
        assert [row["actor"] for row in rows] == ["root"] * 4
        assert (rows[2]["old"], rows[2]["new"]) == ({"routes": ["m"]}, {"routes": ["m", "n"]})
        assert rows[1]["new"]["hash"] == "(hidden)"
        assert made["secret"] not in str(rows)
        assert (await desk.see("/changes?actor=nobody"))["data"] == []


# What each role may do, as one table: (method, path) -> the roles that are not told 403.
ALLOWED: dict[tuple[str, str], set[str]] = {
    ("GET", "/teams"): set(ROLES),
    ("POST", "/teams"): set(ADMINS),
    ("GET", "/users"): {"owner", "admin", "operator"},
    ("POST", "/users"): set(ADMINS),
    ("GET", "/keys"): set(ROLES),
    ("POST", "/keys"): {*ADMINS, "developer"},
    ("GET", "/routes"): {"owner", "admin", "operator"},
    ("POST", "/routes"): {"owner", "admin", "operator"},
    ("POST", "/webhooks"): set(ADMINS),
    ("GET", "/changes"): {"owner", "admin", "operator"},
    ("GET", "/usage"): set(ROLES),
    ("GET", "/statements"): set(ROLES),
    ("POST", "/statements/reconcile"): {"owner", "admin", "operator"},
    ("POST", "/usage/rerate"): set(ADMINS),
    ("GET", "/configuration"): {"owner", "admin", "operator"},
    ("GET", "/deployments"): {"owner", "admin", "operator"},
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_do_what_the_table_says(tmp_path: Path, role: RoleName) -> None:
    async with office(tmp_path / "store.db") as desk:
        team = (await desk.make("/teams", name="t"))["id"]
        caller = VirtualKey("k", role=role, team=team)
        for (method, path), roles in ALLOWED.items():
            status, _ = await desk.ask(caller, method, path, None if method == "GET" else {"name": "x"})
            assert (status != 403) == (role in roles), (method, path, status)


async def test_nobody_gives_more_than_they_have(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        team = (await desk.make("/teams", name="t"))["id"]
        small = VirtualKey("small", frozenset(["m"]), "bulk", role="developer", team=team)
        made = await desk.make("/keys", small, name="k")
        assert (made["routes"], made["priority"], made["team"]) == (["m"], "bulk", team)
        path = f"/keys/{made['id']}"
        for more in ({"routes": None}, {"routes": ["m", "n"]}, {"priority": "default"}, {"role": "operator"}):
            assert (await desk.ask(small, "POST", "/keys", {"name": "k", **more}))[0] == 403
            assert (await desk.ask(small, "PATCH", path, more))[0] == 403
        admin = VirtualKey("admin", role="admin")
        assert (await desk.ask(admin, "POST", "/keys", {"name": "k", "role": "owner"}))[0] == 403
        assert (await desk.ask(admin, "POST", "/users", {"email": "o@x.y", "role": "owner"}))[0] == 403
        wide = await desk.make("/keys", name="wide", team=team)
        assert (await desk.ask(small, "POST", f"/keys/{wide['id']}/rotate", {}))[0] == 403


@pytest.mark.parametrize("role", ["developer", "admin"])
@pytest.mark.parametrize("lives_s", [None, 86_400, 3600])
async def test_an_old_secret_gets_no_new_one(tmp_path: Path, role: RoleName, lives_s: int | None) -> None:
    """It works for a while beside the new one, and then it is over: also where the key itself ends then."""
    async with office(tmp_path / "store.db") as desk:
        team = (await desk.make("/teams", name="t"))["id"]
        expires = None if lives_s is None else desk.reload.view().since + lives_s
        made = await desk.make("/keys", name="k", team=team, role=role, expires=expires)
        path = f"/keys/{made['id']}/rotate"
        status, rotated = await desk.ask(OWNER, "POST", path, {"overlap_s": 86_400})
        await desk.follow()
        new, old = (desk.taken.authenticate(one["secret"]) for one in (rotated, made))
        assert status == 200
        assert old is not None
        assert new is not None
        assert (await desk.ask(old, "POST", path, {}))[1].get("param") == "expires"
        assert (await desk.ask(new, "POST", path, {}))[0] == 200


async def test_what_is_used_of_limits(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        budget = [{"usd": "10"}, {"usd": "1.5", "period": "day", "models": ["m", "n"]}]
        team = await desk.make("/teams", name="t", limits={"tokens": "1k/min"}, budget=budget)
        key = await desk.make("/keys", name="k", team=team["id"], limits={"concurrency": 4})
        await desk.follow()
        rows = (await desk.see(f"/limits?team={team['id']}"))["data"]
        assert [(row["resource"], row["window"], row["limit"], row["remaining"]) for row in rows] == [
            ("tokens", "60", "1000", "500"),
            ("usd", "month", "10", "5"),
            ("usd", "day", "1.5", "0.75"),
        ]
        assert rows[2]["models"] == ["m", "n"]
        (row,) = (await desk.see(f"/limits?key={key['id']}"))["data"]
        assert (row["scope"], row["id"], row["resource"], row["used"]) == (
            "key",
            key["id"],
            "concurrency",
            "2",
        )
        filed = (await desk.see("/limits?team=filed"))["data"]
        assert [row["resource"] for row in filed] == ["requests", "usd"]
        other = VirtualKey("dev", role="developer", team="filed")
        for query in (f"team={team['id']}", f"key={key['id']}", "route=fixed", "user=user_1"):
            assert (await desk.ask(other, "GET", f"/limits?{query}"))[0] == 404
        assert (await desk.see("/limits", other))["data"] == []


async def test_a_key_without_a_team_sees_its_own_limits(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        assert await desk.see("/limits", VirtualKey("alone", role="developer")) == {
            "data": [],
            "cursor": None,
        }


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/x", "http://localhost/x", "http://10.1.2.3/x", "https://[::1]/x"),
        *("https://hooks.example.com:8443/x", "https://hooks.example.com:99999/x", "http://169.254.169.254/"),
        *("http://127.1/x", "http://2130706433/x", "http://0x7f.1/x", "http://localhost./x"),
        *("http://here.localhost/x", "https://ann:secret@hooks.example.com/x"),
    ],
)
async def test_a_webhook_that_would_never_be_told_is_refused(tmp_path: Path, url: str) -> None:
    async with office(tmp_path / "store.db") as desk:
        made = await desk.make("/webhooks", url="https://hooks.example.com:443/x")
        for method, path in (("POST", "/webhooks"), ("PATCH", f"/webhooks/{made['id']}")):
            status, answer = await desk.ask(OWNER, method, path, {"url": url})
            assert (status, answer.get("param")) == (400, "url"), answer
            assert "secret" not in answer["message"]


async def test_an_id_that_no_database_takes(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        for method, path in (("GET", "/keys/a\0b"), ("POST", "/keys/\0/revoke"), ("DELETE", "/routes/\0")):
            assert (await desk.ask(OWNER, method, path))[0] == 404


async def test_where_the_database_is_concerns_operators_only(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        await desk.store.aclose()
        assert "is closed" in (await desk.ask(OWNER, "GET", "/keys"))[1]["message"]
        other = VirtualKey("dev", role="developer", team="filed")
        status, answer = await desk.ask(other, "GET", "/keys")
        assert (status, answer["message"]) == (503, "The database does not answer; try again.")


async def test_a_team_of_the_file_is_named(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        _, answer = await desk.ask(OWNER, "POST", "/teams", {"name": "other", "id": "filed"})
        assert "a team 'filed' in the configuration file" in answer["message"]


async def used(desk: Office, at_s: float, team: str, route: str, pico: int | None) -> None:
    at_us = int(at_s * 1e6)
    row = UsageRow("req", at_us, key="k", team=team, route=route, provider="up", cost_pico=pico, status=200)
    row.prompt_tokens, row.completion_tokens, row.seq = 10, 5, hash((at_us, team, route)) % 2**40
    await desk.store.add_usage([row])


async def test_limits_are_not_escaped_by_a_new_key(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        team = (await desk.make("/teams", name="t", limits={"requests": "5/min"}))["id"]
        user = (await desk.make("/users", email="ann@example.com", limits={"requests": "1/min"}))["id"]
        await desk.make("/memberships", team=team, user=user)
        own = await desk.make("/keys", name="limited", team=team, limits={"tokens": "1k/min"})
        hers = await desk.make("/keys", name="hers", team=team, user=user)
        await desk.make("/keys", name="free", team=team)
        await desk.follow()
        callers = {key.name: key for key in desk.callers()}
        limited, ann = callers[own["id"]], callers[hers["id"]]
        assert (await desk.ask(limited, "POST", "/keys", {"name": "k"}))[0] == 403
        assert (await desk.ask(limited, "PATCH", f"/keys/{own['id']}", {"limits": {}}))[0] == 403
        assert (await desk.ask(limited, "POST", f"/keys/{own['id']}/rotate", {}))[0] == 200  # they stay
        assert (await desk.ask(ann, "POST", "/keys", {"name": "k"}))[1]["param"] == "user"
        assert (await desk.make("/keys", ann, name="k", user=user))["user"] == user
        placed = VirtualKey("eu", role="developer", team=team, requires=Requirements(frozenset({"eu"})))
        assert (await desk.ask(placed, "POST", "/keys", {"name": "k"}))[0] == 403


async def test_who_is_limited_by_an_issuer_makes_no_keys(tmp_path: Path) -> None:
    """Their calls would count for the user alone, and not for what the issuer's settings say of each."""
    async with office(tmp_path / "store.db") as desk:
        team = (await desk.make("/teams", name="t"))["id"]
        user = (await desk.make("/users", email="ann@example.com", limits={"requests": "9/min"}))["id"]
        await desk.make("/memberships", team=team, user=user)
        hers = await desk.make("/keys", name="hers", team=team, user=user)
        allowed = (Limit("requests", 1, 60),)
        of_user = Claim(Scope("user", user), allowed)
        ann = VirtualKey("oidc:corp:1", team=team, user=user, claims=(of_user,))
        assert (await desk.make("/keys", ann, name="k", user=user))["user"] == user
        for each in ("oidc:corp:1", "oidc:corp:1 m"):
            limited = msgspec.structs.replace(ann, claims=(of_user, Claim(Scope("user", each), allowed)))
            for path, body in (("/keys", {"name": "k", "user": user}), (f"/keys/{hers['id']}/rotate", {})):
                status, answer = await desk.ask(limited, "POST", path, body)
                assert (status, answer.get("param")) == (403, "limits"), answer


async def test_a_statement_is_what_its_lines_add_up_to(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        one = (await desk.make("/teams", name="=one"))["id"]
        two = (await desk.make("/teams", name="two"))["id"]
        costs = [1, 10**11 + 1, 3 * 10**12, 999_999_999_999]
        for at, pico in enumerate(costs):
            await used(desk, NOV_S + at * 86_400, one, f"r{at % 2}", pico)
        await used(desk, NOV_S - 1, one, "r0", 7 * 10**12)  # in October
        await used(desk, DEC_S, one, "r0", 7 * 10**12)
        await used(desk, NOV_S + 5, two, "r0", None)
        found = await desk.see("/statements?month=2026-11")
        by_team = {row["team"]: row for row in found["data"]}
        assert Decimal(by_team[one]["cost_usd"]) * 10**12 == sum(costs)
        assert sum(Decimal(line["cost_usd"]) for line in by_team[one]["lines"]) * 10**12 == sum(costs)
        assert (by_team[one]["calls"], by_team[two]["unpriced"]) == (4, 1)
        status, text = await desk.ask(OWNER, "GET", "/statements?month=2026-11&format=csv")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert (status, len(rows)) == (200, 3)
        assert sum(Decimal(row["cost_usd"]) for row in rows) * 10**12 == sum(costs)
        assert {row["name"] for row in rows} == {"'=one", "two"}  # no formula in a spreadsheet
        viewer = VirtualKey("v", role="viewer", team=two)
        assert [row["team"] for row in (await desk.see("/statements?month=2026-11", viewer))["data"]] == [two]
        assert (await desk.ask(viewer, "GET", f"/statements?team={one}"))[0] == 404
        assert (await desk.ask(OWNER, "GET", "/statements?month=2026-13"))[0] == 400


SEVERAL = """
builtin: off
server: {workers: 2}
providers: {up: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: k}}
deployments: {m: {provider: up, model: some-model}}
keys: {root: {secret: sk-owner, role: owner}}
"""


async def test_workers_that_share_no_ledger_take_no_limits(tmp_path: Path) -> None:
    limits = {"requests": "5/min"}
    async with office(tmp_path / "store.db", SEVERAL) as desk:
        assert (await desk.make("/teams", name="free"))["limits"] == {}
        status, answer = await desk.ask(OWNER, "POST", "/teams", {"name": "t", "limits": limits})
        assert (status, answer["param"]) == (400, "limits")
        assert "each of the workers alone" in answer["message"]
    async with office(tmp_path / "store.db", SEVERAL.replace("workers: 2", "workers: 1")) as desk:
        await desk.make("/keys", name="k", limits=limits)
    with pytest.raises(ConfigError, match="each of the workers alone"):
        async with office(tmp_path / "store.db", SEVERAL):
            pass
    async with office(tmp_path / "store.db", SEVERAL + "limits: {store: sql}") as desk:
        await desk.make("/teams", name="t", limits=limits)
