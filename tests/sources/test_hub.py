import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_hub import COMMIT, Hub, wait_for

from penstock.models import Progress, PullCancelled, Store, parse_source, resolve
from penstock.models import hub as hub_module
from penstock.models.hub import RemoteFile, select
from penstock.testing.tiny import make_encoder
from penstock.types.errors import (
    InvalidRequest,
    ModelNotFound,
    UpstreamCredentials,
    UpstreamInvalid,
    UpstreamUnavailable,
)

GGUF = b"GGUF" + os.urandom(3_000_000)
SMALL = b"GGUF" + os.urandom(1000)
GB = 1_000_000_000


def test_a_file_is_fetched_once_and_found_again(hub: Hub, store: Store) -> None:
    hub.repositories["org/model-GGUF"] = {"Model-Q4_K_M.gguf": GGUF, "README.md": b"x"}
    source = parse_source("hf:org/model-GGUF/model-q4_k_m.gguf")
    seen: list[Progress] = []
    model = resolve(source, seen.append, store=store)
    assert model.path.read_bytes() == GGUF
    assert (model.format, model.bytes, model.revision) == ("gguf", len(GGUF), COMMIT)
    assert [step.step for step in seen if step.step != "downloading"] == ["connecting", "verifying", "ready"]
    assert all(step.total_bytes == len(GGUF) for step in seen if step.step == "downloading")
    assert max(step.done_bytes for step in seen) == len(GGUF)
    assert resolve(source, store=store) == model
    assert len(hub.downloads) == 1
    assert store.list() == [model]
    assert store.remove(str(source)) >= len(GGUF)
    assert store.list() == []
    assert not any(path.is_file() for path in store.root.rglob("*.gguf"))


def test_the_largest_quantization_that_fits_is_chosen(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {
        "m-Q4_K_M.gguf": SMALL,
        "m-Q8_0.gguf": SMALL * 2,
        "mmproj-f16.gguf": SMALL * 3,
    }
    model = resolve(parse_source("hf:org/m"), store=store, memory_bytes=GB)
    assert model.path.name == "m-Q8_0.gguf"
    assert "Q8_0" in model.note
    assert "1.0 GB free" in model.note
    named = resolve(parse_source("hf:org/m:q4_k_m"), store=store)
    assert named.path.name == "m-Q4_K_M.gguf"


def test_a_split_model_is_fetched_whole(hub: Hub, store: Store) -> None:
    parts = {f"q4/big-Q4_K_M-0000{n}-of-00002.gguf": SMALL + bytes([n]) for n in (1, 2)}
    hub.repositories["org/big"] = parts
    model = resolve(parse_source("hf:org/big/q4/big-q4_k_m-00001-of-00002.gguf"), store=store)
    assert model.path.name == "big-Q4_K_M-00001-of-00002.gguf"
    assert [path.read_bytes() for path in model.files] == list(parts.values())


def test_an_encoder_is_fetched_without_what_it_does_not_need(hub: Hub, store: Store, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "made")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    hub.repositories["org/encoder"] = files | {"pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x"}
    model = resolve(parse_source("hf:org/encoder"), store=store)
    assert model.format == "safetensors-encoder"
    assert {path.relative_to(model.path).as_posix() for path in model.files} == set(files)
    assert (model.path / "1_Pooling" / "config.json").exists()
    assert not (model.path / "pytorch_model.bin").exists()


def test_a_cut_download_goes_on_where_it_stopped(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {"m.gguf": GGUF}
    hub.cut_after = [1_200_000, 500_000]
    model = resolve(parse_source("hf:org/m/m.gguf"), store=store)
    assert model.path.read_bytes() == GGUF
    starts = [int(asked.removeprefix("bytes=").strip("-") or 0) for _, asked in hub.downloads]
    assert starts[0] == 0
    assert 0 < starts[1] < starts[2] <= 1_700_000


def test_a_server_without_ranges_starts_again(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {"m.gguf": GGUF}
    hub.cut_after, hub.ignores_ranges = [1_500_000], True
    assert resolve(parse_source("hf:org/m/m.gguf"), store=store).path.read_bytes() == GGUF


def test_a_killed_download_leaves_nothing_usable_and_resumes(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {"m.gguf": GGUF}
    hub.pause_after = 2_000_000
    script = (
        "import sys; from pathlib import Path\n"
        "from penstock.models import Store, parse_source, resolve\n"
        "resolve(parse_source('hf:org/m/m.gguf'), store=Store(Path(sys.argv[1])))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(store.root)])
    wait_for(lambda: sum(path.stat().st_size for path in store.root.rglob("*.part")) >= 1_000_000)
    process.kill()
    process.wait()
    assert store.list() == []
    assert store.get("hf:org/m/m.gguf") is None
    hub.resume.set()
    wait_for(lambda: hub.pause_after is None)
    assert resolve(parse_source("hf:org/m/m.gguf"), store=store).path.read_bytes() == GGUF
    assert int(hub.downloads[-1][1].removeprefix("bytes=").strip("-")) >= 1_000_000


def test_cancel_stops_and_a_later_call_goes_on(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {"m.gguf": GGUF}
    cancel = threading.Event()

    def stop_early(step: Progress) -> None:
        if step.step == "downloading":
            cancel.set()

    with pytest.raises(PullCancelled):
        resolve(parse_source("hf:org/m/m.gguf"), stop_early, cancel, store=store)
    assert store.list() == []
    assert resolve(parse_source("hf:org/m/m.gguf"), store=store).path.read_bytes() == GGUF
    assert hub.downloads[-1][1].startswith("bytes=")


def test_two_callers_fetch_once(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {"m.gguf": GGUF}
    hub.pause_after = 1_000_000
    said: list[Progress] = []
    threads = [
        threading.Thread(
            target=resolve, args=(parse_source("hf:org/m/m.gguf"), said.append), kwargs={"store": store}
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: any(step.step == "waiting" for step in said))
    hub.resume.set()
    for thread in threads:
        thread.join(10)
    assert sum(step.step == "ready" for step in said) == 2
    assert len({asked for _, asked in hub.downloads}) == len(hub.downloads) == 2  # one download, resumed once


def test_wrong_content_is_refused_and_deleted(hub: Hub, store: Store) -> None:
    hub.repositories["org/m"] = {"m.gguf": SMALL}
    hub.lie_about["m.gguf"] = bytes(len(SMALL))
    with pytest.raises(UpstreamInvalid, match="sha256"):
        resolve(parse_source("hf:org/m/m.gguf"), store=store)
    hub.lie_about["m.gguf"] = SMALL + b"more"
    with pytest.raises(UpstreamInvalid, match="longer"):
        resolve(parse_source("hf:org/m/m.gguf"), store=store)
    assert store.list() == []
    assert not [
        path for path in store.root.rglob("*") if path.is_file() and path.suffix in {".gguf", ".part"}
    ]


def test_very_large_files_go_through_the_hubs_own_client(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "PLAIN_LIMIT_BYTES", 10)
    hub.repositories["org/m"] = {"m.gguf": GGUF}
    seen: list[Progress] = []
    model = resolve(parse_source("hf:org/m/m.gguf"), seen.append, store=store)
    assert model.path.read_bytes() == GGUF
    assert any(step.step == "downloading" for step in seen)
    assert sorted(path.name for path in model.path.parent.iterdir()) == ["m.gguf", "manifest.json"]


def test_a_short_name_is_a_repository_and_a_quantization(hub: Hub, store: Store) -> None:
    hub.repositories["Qwen/Qwen3-4B-GGUF"] = {
        "Qwen3-4B-Q4_K_M.gguf": SMALL,
        "Qwen3-4B-Q8_0.gguf": SMALL * 2,
        "Qwen3-4B-bf16.gguf": SMALL * 3,  # not in the catalogue: nobody wants it unasked
    }
    model = resolve(parse_source("qwen3:4b"), store=store, memory_bytes=4 * GB)
    assert model.path.name == "Qwen3-4B-Q8_0.gguf"
    assert model.source == "qwen3:4b"
    assert model.note == "from hf:Qwen/Qwen3-4B-GGUF: Q8_0, 2 kB, the largest that fits in 4.0 GB free"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("hf:org/none", ModelNotFound, "does not exist, or is private"),
        ("hf:org/m/other.gguf", ModelNotFound, r"no file other\.gguf; it has m-Q4_0\.gguf"),
        ("hf:org/m:Q8_0", ModelNotFound, "no Q8_0; it has Q4_0"),
        ("hf:org/m@v9", ModelNotFound, "does not exist"),
        ("hf:org/empty", ModelNotFound, "neither a .gguf"),
        ("phi4-mini", ModelNotFound, "has none of Q4_K_M, Q5_K_M, Q8_0; it has Q2_K"),
        ("hf:org/broken", UpstreamUnavailable, "answered 500"),
    ],
)
def test_what_the_hub_does_not_have_is_said(
    hub: Hub, store: Store, source: str, error: type[Exception], message: str
) -> None:
    hub.repositories["bartowski/microsoft_Phi-4-mini-instruct-GGUF"] = {"m-Q2_K.gguf": SMALL}
    hub.repositories |= {"org/m": {"m-Q4_0.gguf": SMALL}, "org/empty": {"README.md": b""}}
    hub.refusals["org/broken"] = (500, "")
    with pytest.raises(error, match=message):
        resolve(parse_source(source), store=store)
    assert store.list() == []


def test_a_gated_repository_says_what_to_do(hub: Hub, store: Store) -> None:
    hub.refusals["org/gated"] = (403, "GatedRepo")
    with pytest.raises(UpstreamCredentials, match=r"accept its licence at http.*/org/gated and set HF_TOKEN"):
        resolve(parse_source("hf:org/gated"), store=store)


def test_the_token_is_sent(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.repositories["org/m"] = {"m.gguf": SMALL}
    resolve(parse_source("hf:org/m/m.gguf"), store=store)
    assert hub.tokens == {"Bearer hf_secret"}


def test_an_unreachable_hub_fails_at_once_with_a_remedy(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UpstreamUnavailable, match=r"cannot reach.*HF_ENDPOINT.*file:/path"):
        resolve(parse_source("hf:org/m"), store=store)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UpstreamUnavailable, match="HF_HUB_OFFLINE"):
        resolve(parse_source("hf:org/m"), store=store)


def test_too_little_disk_is_said_before_the_download(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/m"] = {"m.gguf": SMALL}
    monkeypatch.setattr("penstock.models.store.SPARE_BYTES", 1 << 60)
    with pytest.raises(InvalidRequest, match=r"not enough disk space.*penstock models rm"):
        resolve(parse_source("hf:org/m"), store=store)
    assert hub.downloads == []


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("nomic-embed-text-v1.5.Q8_0.gguf", "Q8_0"),
        ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
        ("gpt-oss-120b-mxfp4-00001-of-00003.gguf", "mxfp4"),
        ("gemma-3-4b-it-f16.gguf", "f16"),
        ("phi-4-Q6_K_L.gguf", "Q6_K_L"),
        ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Llama-3.2-3B-Instruct-IQ4_XS.gguf", "IQ4_XS"),
        ("Qwen3-30B-A3B-Q4_K_M.gguf", "Q4_K_M"),
    ],
)
def test_quantizations_are_read_from_file_names(name: str, label: str) -> None:
    files = [RemoteFile(name, 10, hashlib.sha256(b"").hexdigest())]
    assert select(files, repo="o/r", quantization=label.upper(), memory_bytes=0).path == name
