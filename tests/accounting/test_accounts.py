"""The books agree: seconds in the suite, minutes in the long proof.

PENSTOCK_ACCOUNTING_CALLS    how many calls the long proof makes (100,000; for each gateway)
PENSTOCK_ACCOUNTING_KILLS    how often a gateway is killed in it (12; for each ledger)
"""

import os
import sys
from pathlib import Path

import pytest
import uvloop
from accounts_deaths import Deaths
from accounts_proof import Proof

LEDGERS = ("memory", "sql")
GATEWAYS = [("memory", 1), ("sql", 1), ("sql", 2), ("redis", 2), ("postgres", 2)]  # ledger and workers


def proved(folder: Path, ledger: str, workers: int, *, calls: int, lap: int, seed: int) -> Proof:
    proof = Proof(folder, ledger=ledger, seed=seed, workers=workers)
    uvloop.run(proof.prove(calls, lap))
    return proof


def died(folder: Path, ledger: str, *, kills: int, calls: int, seed: int, waits: bool = False) -> Deaths:
    deaths = Deaths(folder, ledger=ledger, seed=seed)
    uvloop.run(deaths.run(kills, calls=calls, waits=waits))
    return deaths


def told(capsys: pytest.CaptureFixture[str], report: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")


@pytest.mark.e2e
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("ledger", "workers"), GATEWAYS)
def test_the_books_agree(ledger: str, workers: int, tmp_path: Path) -> None:
    proof = proved(tmp_path, ledger, workers, calls=1500, lap=1500, seed=1)
    assert not proof.wrong, proof.report()
    assert proof.laps[0].told.pico > 0


@pytest.mark.e2e
@pytest.mark.timeout(180)
@pytest.mark.parametrize("ledger", LEDGERS)
def test_a_killed_gateway_forgets_little(ledger: str, tmp_path: Path) -> None:
    deaths = died(tmp_path, ledger, kills=1, calls=300, seed=1)
    assert not deaths.wrong, deaths.report()


@pytest.mark.long
@pytest.mark.timeout(10_000)
@pytest.mark.parametrize(("ledger", "workers"), GATEWAYS)
def test_the_books_agree_for_long(
    ledger: str, workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = int(os.environ.get("PENSTOCK_ACCOUNTING_CALLS", "100000"))
    proof = proved(tmp_path, ledger, workers, calls=calls, lap=20_000, seed=2)
    told(capsys, proof.report())
    assert not proof.wrong, proof.report()
    kinds = set().union(*(lap.kinds for lap in proof.laps))
    assert {"whole", "whole and estimated", "broken midway", "left midway", "failed"} <= kinds


@pytest.mark.long
@pytest.mark.timeout(10_000)
@pytest.mark.parametrize("ledger", LEDGERS)
def test_gateways_are_killed_for_long(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = int(os.environ.get("PENSTOCK_ACCOUNTING_KILLS", "12"))
    deaths = died(tmp_path, ledger, kills=kills, calls=1000, seed=2, waits=True)
    told(capsys, deaths.report())
    assert not deaths.wrong, deaths.report()
    assert len(deaths.deaths) == kills
