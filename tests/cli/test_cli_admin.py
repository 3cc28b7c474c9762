"""The commands that speak with a running server, as a user types them."""

import asyncio
import csv
import http.server
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from penstock_fixture import Penstock

from penstock.cli import minted
from penstock.cli.bounds import budgets, table
from penstock.telemetry import log
from penstock.testing.upstream import Upstream
from penstock.types.errors import InvalidRequest

sys.path.insert(0, str(Path(__file__).parents[1] / "walk"))
from administered import KEYS, OWNER, administered

CONFIG = f"""
builtin: off
providers:
  up: {{{{kind: openai-compatible, base_url: "{{url}}", api_key: sk-upstream-secret}}}}
deployments:
  m: {{{{provider: up, model: upstream-model}}}}
routes:
  fixed: {{{{targets: [{{{{deployment: m}}}}]}}}}
teams:
  filed: {{{{limits: {{{{requests: 60/min}}}}, budget: {{{{usd: 25.5}}}}}}}}
{KEYS.replace("{", "{{").replace("}", "}}")}"""


@pytest.fixture
def server(home: Path) -> Iterator[str]:
    """The URL of a server in another thread, announced as `penstock up` does."""
    folder = home / "data"
    folder.mkdir()
    log.configure("error", stream=io.StringIO()).close()  # its lines are not what a command prints
    ready: list[str] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
            ready.append(gate.url)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    minted.announce(folder, ready[0])
    (folder / "key").write_text(OWNER)
    yield ready[0]
    stop.set()
    thread.join(10)


def run(penstock: Penstock, *words: str) -> Any:
    """What a command that must work prints as JSON."""
    result = penstock(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_team_and_its_keys(penstock: Penstock, server: str) -> None:
    team = run(penstock, "teams", "create", "search", "--tokens", "200k/min", "--budget", "500/week:m,fixed")
    assert team["limits"] == {"tokens": ["200k/min"]}
    assert team["budget"] == [{"usd": "500", "period": "week", "models": ["m", "fixed"]}]
    terms = run(penstock, "teams", "set", "search", "--markup", "-2.5", "--allowance", "10")
    assert (terms["markup"], terms["allowance"]) == ("-2.5", "10")
    run(penstock, "users", "create", "ann@example.com")
    run(penstock, "teams", "add", "search", "ann@example.com")
    (member,) = run(penstock, "teams", "members", "search")
    assert member["team"] == team["id"]
    assert run(penstock, "teams", "role", "search", "ann@example.com", "owner")["version"] == 2
    chief = run(
        penstock, "keys", "create", "c", "--team", "search", "--user", member["user"], "--role", "owner"
    )
    while penstock("teams", "members", "search", "--key", chief["secret"]).exit_code:
        pass  # it serves within a second
    by_id = ("teams", "role", "search", member["user"], "developer", "--key", chief["secret"])
    assert run(penstock, *by_id)["role"] == "developer"  # by the owner of the team, who gives it away
    run(penstock, "keys", "revoke", chief["id"])

    said = penstock("keys", "create", "ci", "--team", "search", "--user", "ann@example.com", "--route", "m")
    assert said.exit_code == 0
    secret = said.stdout.strip()  # alone there, so that it may be caught
    assert secret.startswith("sk-penstock-")
    key = run(penstock, "keys", "show", "ci")
    assert (key["team"], key["routes"], key["source"]) == (team["id"], ["m"], "store")
    changed = run(penstock, "keys", "set", "ci", "--requests", "5/min", "--all-routes", "--expires", "90d")
    assert (changed["routes"], changed["limits"]) == (None, {"requests": ["5/min"]})
    changed = run(penstock, "keys", "set", key["prefix"], "--concurrency", "2", "--no-expiry")
    assert changed["limits"] == {"requests": ["5/min"], "concurrency": 2}  # what was not said stays
    assert changed["expires"] is None
    assert run(penstock, "keys", "set", "ci", "--no-limits")["limits"] == {}
    assert run(penstock, "keys", "rotate", "ci", "--overlap", "1h")["secret"] != secret
    assert run(penstock, "keys", "revoke", "ci")["revoked"] is not None
    listed = penstock("keys", "list", "--team", "search")
    assert "revoked" in listed.output

    told = {row["resource"]: row["remaining"] for row in run(penstock, "limits", "--team", "filed")}
    assert told == {"requests": "60", "usd": "25.5"}
    assert "25.5" in penstock("limits", "--team", "filed").output

    refused = penstock("teams", "delete", "search")
    assert (refused.exit_code, "still named" in refused.output) == (1, True)
    assert run(penstock, "teams", "remove", "search", "ann@example.com")["deleted"]
    assert run(penstock, "users", "set", "ann@example.com", "--disable")["disabled"] is not None
    account = run(penstock, "accounts", "create", "nightly", "--team", "search")
    assert run(penstock, "accounts", "set", "nightly", "--disable")["version"] == 2
    assert run(penstock, "accounts", "delete", account["id"])["deleted"]


def test_routes_usage_and_changes(penstock: Penstock, server: str) -> None:
    assert run(penstock, "routes", "set", "a/b", "--target", "m=2", "--strategy", "weighted")["version"] == 1
    rows = {row["name"]: row for row in run(penstock, "routes", "list")}
    assert rows["a/b"]["route"]["targets"] == [{"deployment": "m", "weight": 2.0}]
    assert rows["fixed"]["source"] == "file"
    assert "change it there" in penstock("routes", "delete", "fixed").output
    assert run(penstock, "routes", "delete", "a/b")["deleted"]
    assert [row["path"] for row in run(penstock, "changes", "--path", "routes/")] == ["routes/a/b"] * 2
    assert "routes/a/b: deleted" in penstock("changes").output
    assert run(penstock, "usage", "--by", "team,model", "--since", "7d") == []
    assert penstock("usage", "--by", "tem").exit_code == 1
    text = penstock("statements", "--csv").stdout
    assert next(csv.reader(io.StringIO(text)))[:3] == ["month", "team", "name"]
    assert run(penstock, "statements", "--month", "2026-01")["is_final"]


def test_books_are_put_right(penstock: Penstock, server: str, home: Path) -> None:
    done = run(penstock, "usage", "rerate", "--since", "7d", "--dry-run", "--model", "m")
    assert (done["dry_run"], done["changed"], done["after_usd"]) == (True, 0, "0")
    told = penstock("usage", "rerate", "--since", "2026-11-01")
    assert told.stdout == "0 calls cost 0 USD; before it was 0 USD\n"
    assert penstock("usage", "rerate").exit_code == 2

    file = home / "invoice.csv"
    file.write_text("\ufeffTag;Modell;Netto\n2026-11-03;m;1.25\n2026-10-31;m;1\n")
    words = ("statements", "reconcile", "--invoice", str(file), "--provider", "up", "--month", "2026-11")
    assert "known as its date or model or cost" in penstock(*words).output
    columns = ("--columns", "date=Tag,model=Modell,cost=Netto", "--models", "m=upstream-model")
    found = run(penstock, *words, *columns)
    assert found["states"] == {"matched": 0, "invoice_only": 1, "ours_only": 0}
    assert (found["data"][0]["model"], found["total"]["difference_usd"]) == ("upstream-model", "1.25")
    table = penstock(*words, *columns).stdout.splitlines()
    assert table[1].split()[:3] == ["2026-11-03", "upstream-model", "invoice_only"]
    assert table[-1] == "0 matched, 1 only on the invoice, 0 only with us"
    text = penstock(*words, *columns, "--csv").stdout
    assert next(csv.DictReader(io.StringIO(text)))["invoice_usd"] == "1.25"
    assert "write name=name" in penstock(*words, "--columns", "date").output
    file.write_bytes(b"\xff\xfe")
    assert "is no text in UTF-8" in penstock(*words).output
    file.write_bytes(b"x" * 8_000_001)
    assert "more than 8,000,000 bytes" in penstock(*words).output


def test_where_the_server_is_and_who_asks(penstock: Penstock, server: str, home: Path) -> None:
    elsewhere = str(home / "elsewhere")
    none = penstock("keys", "list", "--data-dir", elsewhere)
    assert (none.exit_code, "Start one" in none.output) == (1, True)
    assert penstock("keys", "list", "--data-dir", elsewhere, "--url", server, "--key", OWNER).exit_code == 0
    wrong = penstock("keys", "list", "--key", "sk-wrong")
    assert wrong.exit_code == 1
    assert "error: The API key is not valid. It was that of --key;" in wrong.output
    gone = penstock("keys", "list", "--url", "http://127.0.0.1:9")
    assert (gone.exit_code, "does not answer" in gone.output) == (1, True)
    assert penstock("keys", "list", "--url", f"{server}/v1").exit_code == 0  # as clients of models have it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://127.0.0.1:99999"), "this is no address"),
        (("--url", "ftp://127.0.0.1"), "this is no address"),
        (("--key", "sk-\u00fc"), "This is no key"),
        (("--key", "sk-\na"), "This is no key"),
    ],
)
def test_what_is_no_address_and_no_key(
    penstock: Penstock, server: str, words: tuple[str, ...], said: str
) -> None:
    result = penstock("keys", "list", *words)
    assert (result.exit_code, said in result.output) == (1, True), result.output


def test_a_server_that_speaks_no_tls(penstock: Penstock, server: str) -> None:
    result = penstock("keys", "list", "--url", server.replace("http:", "https:"))
    assert (result.exit_code, "is it http:// there?" in result.output) == (1, True), result.output


def test_a_server_that_is_no_penstock(penstock: Penstock, home: Path) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            """Not among what the command prints."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as page:
        thread = threading.Thread(target=page.handle_request)
        thread.start()
        result = penstock("keys", "list", "--url", f"http://127.0.0.1:{page.server_port}", "--key", "sk-a")
        thread.join()
    assert (result.exit_code, "is no Penstock" in result.output) == (1, True), result.output


def test_tables_have_names(penstock: Penstock, server: str) -> None:
    team = run(penstock, "teams", "create", "search", "--requests", "60/min")["id"]
    run(penstock, "users", "create", "ann@example.com")
    run(penstock, "teams", "add", "search", "ann@example.com")
    run(penstock, "accounts", "create", "nightly", "--team", "search")
    call(penstock, server, "--team", "search", "--requests", "5/10s")
    for words in (("keys", "list"), ("accounts", "list")):
        listed = penstock(*words).stdout
        assert (" search " in listed, team in listed) == (True, False)
    assert "ann@example.com" in penstock("teams", "members", "search").stdout
    for words in (("--team", "search"), ("--team", team), ()):
        lines = penstock("usage", "--by", "team,key", *words).stdout.splitlines()
        assert lines[-1].split()[:2] == ["search", "ci"]
    assert run(penstock, "usage", "--team", "filed")[0]["calls"] == 0
    assert (
        run(penstock, "usage", "--team", "gone-by-now")[0]["calls"] == 0
    )  # a row that is no more has its usage
    (line,) = run(penstock, "statements", "--team", "search")["data"]
    assert line["team"] == team
    assert penstock("limits", "--team", "search").stdout.splitlines()[-1].split()[:5] == [
        *("team", "search", "-", "requests", "1m")
    ]
    assert "requests  10s" in penstock("limits", "--of-key", "ci").stdout
    assert "made (search)" in penstock("changes").stdout


def test_webhooks(penstock: Penstock, server: str) -> None:
    run(penstock, "teams", "create", "search")
    made = penstock("webhooks", "create", "https://hooks.example.com/a", "--team", "search")
    assert made.stdout.startswith("whsec_")
    assert run(penstock, "webhooks", "create", "https://hooks.example.com/b")["team"] is None
    table = penstock("webhooks", "list").stdout
    assert ("https://hooks.example.com/a" in table, " search " in table) == (True, True)
    assert "public address" in penstock("webhooks", "create", "http://10.0.0.1/").output
    assert penstock("webhooks", "delete", "https://hooks.example.com/a").exit_code == 0
    assert "No webhook is called" in penstock("webhooks", "delete", "https://hooks.example.com/a").output
    (left,) = run(penstock, "webhooks", "list")
    assert left["url"] == "https://hooks.example.com/b"


def test_what_two_keys_are_called(penstock: Penstock, server: str) -> None:
    for _ in range(2):
        call(penstock, server)
    ids = {row["id"] for row in run(penstock, "keys", "list") if row["name"] == "ci"}
    listed = penstock("usage", "--by", "key").stdout
    assert all(f"ci ({one})" in listed for one in ids)


def test_what_is_typed_wrong_is_said(penstock: Penstock, server: str) -> None:
    run(penstock, "teams", "create", "search")
    for words, said in (
        (("teams", "set", "search"), "Say what is to change"),
        (("teams", "set", "serch", "--budget", "5"), "No team is called 'serch'; `penstock teams list`"),
        (("keys", "create", "ci", "--budget", "5/fortnight"), "a budget is for a day, week, month, total"),
        (("keys", "create", "ci", "--expires", "tomorrow"), "--expires tomorrow: write a time from now"),
        (("routes", "set", "r", "--target", "m=nan"), "'nan' is no number"),
        (("routes", "set", "r", "--target", "m", "--strategy", "fast"), "did you mean 'fastest'?\n"),
        (("usage", "--since", "2999-01-01"), "`since` is in the future"),
        (("usage", "--by", "key,key"), "provider, operation\n"),
    ):
        result = penstock(*words)
        assert (result.exit_code, said in result.output) == (1, True), result.output
    assert run(penstock, "teams", "list")[-1]["version"] == 1
    nothing = penstock("limits", "--team", "search")
    assert (nothing.exit_code, nothing.output) == (0, "(none)\n")


def test_the_last_good_day_of_a_key(penstock: Penstock, server: str) -> None:
    made = run(penstock, "keys", "create", "ci", "--expires", "2030-12-31", "--network", "10.0.0.0/8")
    assert made["expires"] == 1924992000  # when the day is over, as `expires` of the file has it
    assert "until 2030-12-31" in penstock("keys", "list").stdout
    assert run(penstock, "keys", "set", "ci", "--all-networks")["networks"] == []
    shown = {
        line.split()[0]: line.split()[1:] for line in penstock("keys", "show", "root").stdout.splitlines()
    }
    assert (shown["created"], shown["version"], shown["routes"]) == (["-"], ["-"], ["all"])


def call(penstock: Penstock, url: str, *words: str) -> None:
    """One call with a new key, until it is among the usage."""
    made = run(penstock, "keys", "create", "ci", *words)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {made['secret']}", "content-type": "application/json"}

    def is_served() -> bool:  # within a second
        try:
            urlopen(Request(f"{url}/v1/chat/completions", body, headers), timeout=10).close()  # noqa: S310 - ours
        except HTTPError as refused:
            refused.close()
            return False
        return True

    until(is_served)
    until(lambda: bool(run(penstock, "usage", "--of-key", made["id"])[0]["calls"]))


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("not within 10 s")


def test_a_setting_is_explained(penstock: Penstock, server: str, home: Path) -> None:
    file = str(home / "data" / "penstock.yaml")
    run(penstock, "teams", "create", "search", "--budget", "5")
    run(penstock, "teams", "set", "search", "--tokens", "1k/min")
    run(penstock, "routes", "set", "r", "--target", "m")

    def explain(path: str) -> list[dict[str, Any]]:
        return list(run(penstock, "check", "-c", file, "--explain", path))

    (line,) = explain("teams.search.limits.tokens")
    assert (line["value"], line["changed_by"]) == (["1k/min"], "root")
    assert line["source"].startswith("store (teams/team_")
    run(penstock, "keys", "create", "ci", "--expires", "2030-12-31")
    (line,) = explain("keys.ci.expires")
    assert line["value"] == "2031-01-01T00:00:00Z"  # as a key of the file is shown
    (line,) = explain("routes.r")
    assert (line["setting"], line["value"]) == ("routes.r.targets[0].deployment", "m")
    (line,) = explain("routes.fixed.targets[0].deployment")
    assert line["source"].startswith(f"{file}:")
    assert (line["changed_by"], line["changed"]) == (None, None)  # who wrote that line, nobody knows
    assert (line["file_owner"], line["file_written"] is not None) == (Path(file).owner(), True)
    told = penstock("check", "-c", file, "--explain", "routes.fixed.targets[0].deployment").output
    assert (f"a file of {Path(file).owner()} that was last written on " in told, "changed by" in told) == (
        True,
        False,
    )
    (line,) = explain("server.port")
    assert (line["value"], line["source"], line["changed_by"]) == (8600, "default", None)
    lines = explain("teams.filed")
    assert {line["setting"]: line["value"] for line in lines}["teams.filed.budget.usd"] == "25.5"
    missing = penstock("check", "-c", file, "--explain", "server.prt")
    assert (missing.exit_code, "did you mean 'server.port'?" in missing.output) == (1, True)
    text = Path(file).read_text()
    Path(file).write_text(text.replace("  fixed:", "  r: {targets: [{deployment: m}]}\n  fixed:"))
    text = Path(file).read_text()
    Path(file).write_text(text.replace("  filed:", "  search: {budget: {usd: 3}}\n  filed:"))
    (budget,) = [line for line in explain("teams.search.budget") if line["source"].startswith("store")]
    assert budget["left_out"] is None  # it is called so, too, but is another: its id is not in the file
    by_source = {line["source"][:5]: line for line in explain("routes.r.targets")}
    assert by_source["store"]["left_out"] is not None
    assert any(line["left_out"] is None and line["value"] == "m" for line in explain("routes.r.targets"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("25", {"usd": "25"}),
        ("$0.5/day", {"usd": "0.5", "period": "day"}),
        ("100/30d", {"usd": "100", "rolling": "30d"}),
        ("1/total:a/b,c", {"usd": "1", "period": "total", "models": ["a/b", "c"]}),
    ],
)
def test_budgets_are_short_to_write(written: str, said: dict[str, Any]) -> None:
    assert budgets([written]) == [said]


def test_what_is_no_budget_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        budgets(["much"])


def test_an_empty_key_or_address_is_a_variable_that_is_not_set(
    penstock: Penstock, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--key "$CI_KEY"` must not ask as whoever else is known here."""
    monkeypatch.setenv("PENSTOCK_KEY", OWNER)
    assert penstock("keys", "list").exit_code == 0
    for word, said in (("--key", "--key is empty"), ("--url", "--url is empty")):
        for value in ("", " "):
            done = penstock("keys", "list", word, value)
            assert (done.exit_code, done.stdout, said in done.output) == (1, "", True), done.output


class Other(http.server.BaseHTTPRequestHandler):
    """No Penstock, and not polite."""

    def do_GET(self) -> None:
        body = b"<html>\x1b[2J<h1>not here</h1></html>"
        self.send_response(404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_another_server_is_told_to_be_one(penstock: Penstock) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        done = penstock("keys", "list", "--url", url, "--key", "sk-x")
        thread.join()
    said = f"{url} answers HTTP 404, but not as Penstock does. Is it one, and is it up behind its proxy?"
    assert (done.exit_code, done.stderr) == (1, f"error: {said}\n")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["usage", "--model", "m", "rerate", "--since", "7d"], "--model"),
        (["usage", "--url", "http://127.0.0.1:9", "--json", "rerate", "--since", "7d"], "--url"),
        (["statements", "--key", "x", "reconcile", "--month", "2026-11"], "--key"),
    ],
)
def test_an_option_before_a_command_that_does_not_hear_of_it_is_refused(
    penstock: Penstock, words: list[str], option: str
) -> None:
    """All calls would be given new costs, not those of one model; or those of another server."""
    done = penstock(*words)
    assert (done.exit_code, f"write {option} after it" in " ".join(done.output.split())) == (2, True), (
        done.output
    )


def test_a_time_that_is_too_long_is_told_to_be(penstock: Penstock, server: str) -> None:
    said = penstock("keys", "create", "x", "--expires", "400d")
    assert (said.exit_code, "at most 366d" in said.output) == (1, True)


def test_another_machine_is_not_sent_the_minted_key(penstock: Penstock, server: str) -> None:
    for url in ("https://penstock.invalid", "http://127.0.0.1.example.invalid", "localhost.invalid:8600"):
        said = penstock("keys", "list", "--url", url)
        assert (said.exit_code, "No key is known" in said.output) == (1, True)
    assert "this is no address" in penstock("keys", "list", "--url", "http://[::1", "--key", "k").output
    elsewhere = penstock("keys", "list", "--url", "http://penstock.invalid", "--key", "k")
    assert "does not answer" in elsewhere.output
    assert penstock("keys", "list", "--url", server.replace("127.0.0.1", "localhost")).exit_code == 0


def test_a_table_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A model's name is its client's where a provider serves any."""
    table(("model", "routes"), [("up/\x1b]0;title\x07\nx", ["a\x9b31m", "b"])])
    assert capsys.readouterr().out.splitlines()[1] == "up/]0;title x  a31m, b"
