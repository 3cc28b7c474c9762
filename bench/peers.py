"""Other gateways, each in an environment of its own, set up as their documentation advises for one upstream.

Pinned is the peer itself; its dependencies are what the package index gives on the day of the installation.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.harness import free_port
from bench.subjects import SECRET, Launch, NotInstalled, Setup, Subject, environments

SGLANG_ROUTER = "0.3.2"
SMG_VERSION = "1.13.0"
TENSORZERO = "2026.6.0"
LITELLM = "1.103.7"  # 1.103.8 to 1.109.1 ask for a certifi (2026.10.19) that not every package index has
PORTKEY = "1.15.2"
# As its lock file has them; npm would take the newest, and above node-server 1.14.2 each stream is answered with
# status 500 (Portkey-AI/gateway#1389).
PORTKEY_PACKAGES = ("hono@4.9.7", "@hono/node-server@1.13.5", "@hono/node-ws@1.2.0")

INSTALL_LIMIT_S = 900


def _folder(name: str, version: str) -> Path:
    return environments() / f"{name}-{version}"


def _made(folder: Path, make: Callable[[Path], None]) -> None:
    """Makes an environment unless it is complete; what an interrupted attempt left is made anew."""
    marker = folder / "complete"
    if marker.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    marker.touch()


def _do(*argv: str) -> None:
    """Runs one step of an installation. Raises NotInstalled with the line that says why it failed."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotInstalled(f"{Path(argv[0]).name}: {exc}") from exc
    if done.returncode:
        raise NotInstalled(_why(done.stdout + "\n" + done.stderr) or f"{Path(argv[0]).name} failed")


def _why(said: str) -> str:
    """The last line that names an error, or else the last line; npm's general advice below it is neither."""
    advice = ("complete log of this run", "notarget In most cases", "notarget a package version")
    lines = [line.strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not any(words in line for words in advice)]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [""])[-1][:200]


def _pip(folder: Path, requirement: str) -> None:
    _do(sys.executable, "-m", "venv", str(folder))
    _do(
        str(folder / "bin" / "python"),
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement),
    )


# sglang-router ------------------------------------------------------------------------------------------------


def _sglang_install() -> str:
    _made(
        _folder("sglang-router", SGLANG_ROUTER),
        lambda folder: _pip(folder, f"sglang-router=={SGLANG_ROUTER}"),
    )
    return SGLANG_ROUTER


def _sglang_launch(setup: Setup) -> Launch:
    return Launch(
        argv=(
            str(_folder("sglang-router", SGLANG_ROUTER) / "bin" / "python"),
            *("-m", "sglang_router.launch_router"),
            *("--host", "127.0.0.1", "--port", str(setup.port)),
            *("--worker-urls", setup.upstream.removesuffix("/v1")),
            *("--policy", "round_robin"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())),
            *("--log-level", "warn"),  # info, the default, writes two lines for each request
            *("--shutdown-grace-period-secs", "1"),
        ),
        url=f"http://127.0.0.1:{setup.port}/v1/chat/completions",
        model="m",
    )


# smg: the router's successor ----------------------------------------------------------------------------------


def smg_argv(port: int, workers: Sequence[str]) -> tuple[str, ...]:
    """In front of `workers` by its default policy; installs it where it is missing. Raises NotInstalled."""
    folder = _folder("smg", SMG_VERSION)
    _made(folder, lambda made: _pip(made, f"smg=={SMG_VERSION}"))
    return (
        str(folder / "bin" / "smg"),
        *("launch", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *workers),
        *("--policy", "cache_aware", "--log-level", "warn"),
        *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())),
        *("--shutdown-grace-period-secs", "1"),
    )


# TensorZero ---------------------------------------------------------------------------------------------------

# The wheel holds the gateway for use inside a Python program: an HTTP server in Rust on a port that the kernel
# chooses. A benchmark must know the port beforehand, so bind(2) of port 0 is given one; nothing else changes.
_BIND_C = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr *at, socklen_t size) {
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    const char *port = getenv("BENCH_PORT");
    struct sockaddr_in to;
    if (port && at->sa_family == AF_INET && size >= sizeof to) {
        to = *(const struct sockaddr_in *)at;
        if (to.sin_port == 0 && to.sin_addr.s_addr == htonl(INADDR_LOOPBACK)) {
            to.sin_port = htons((unsigned short)atoi(port));
            return next(fd, (const struct sockaddr *)&to, sizeof to);
        }
    }
    return next(fd, at, size);
}
"""

# What the package's own patch_openai_client calls; the signal's default action ends the process.
_TENSORZERO_PY = """
import signal
import sys

from tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
while True:
    signal.pause()
"""


def _tensorzero_make(folder: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NotInstalled("a C compiler is missing: sudo apt install gcc libc6-dev")
    _pip(folder, f"tensorzero=={TENSORZERO}")
    source = folder / "bind.c"
    source.write_text(_BIND_C)
    _do(compiler, "-O2", "-shared", "-fPIC", "-o", str(folder / "bind.so"), str(source), "-ldl")


def _tensorzero_install() -> str:
    _made(_folder("tensorzero", TENSORZERO), _tensorzero_make)
    return TENSORZERO


def _tensorzero_launch(setup: Setup) -> Launch:
    folder = _folder("tensorzero", TENSORZERO)
    script = setup.work / "gateway.py"
    script.write_text(_TENSORZERO_PY)
    config = setup.work / "tensorzero.toml"
    config.write_text(f"""
[gateway]
disable_pseudonymous_usage_analytics = true

[gateway.observability]
enabled = false

[models.m]
routing = ["up"]

[models.m.providers.up]
type = "openai"
api_base = "{setup.upstream}"
model_name = "m"
api_key_location = "none"
""")
    return Launch(
        argv=(str(folder / "bin" / "python"), str(script), str(config)),
        url=f"http://127.0.0.1:{setup.port}/openai/v1/chat/completions",
        model="tensorzero::model_name::m",
        env={"LD_PRELOAD": str(folder / "bind.so"), "BENCH_PORT": str(setup.port)},
    )


# LiteLLM ------------------------------------------------------------------------------------------------------


def _litellm_install() -> str:
    _made(_folder("litellm", LITELLM), lambda folder: _pip(folder, f"litellm[proxy]=={LITELLM}"))
    return LITELLM


def _litellm_launch(setup: Setup) -> Launch:
    config = setup.work / "litellm.yaml"
    config.write_text(f"""
model_list:
  - model_name: m
    litellm_params:
      model: openai/m
      api_base: {setup.upstream}
      api_key: none
general_settings:
  master_key: {SECRET}
litellm_settings:
  request_timeout: 600
  set_verbose: false
""")
    return Launch(
        argv=(
            str(_folder("litellm", LITELLM) / "bin" / "litellm"),
            *("--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(setup.port)),
            *("--num_workers", "1"),
            *("--telemetry", "False"),
        ),
        url=f"http://127.0.0.1:{setup.port}/v1/chat/completions",
        model="m",
        headers={"authorization": f"Bearer {SECRET}"},
        env={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it downloads its price list at start
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",  # reads no .env
        },
    )


# Portkey ------------------------------------------------------------------------------------------------------


def _portkey_make(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("node and npm are missing: sudo apt install nodejs npm")
    _do(
        *(npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"),
        *("--no-update-notifier", f"@portkey-ai/gateway@{PORTKEY}", *PORTKEY_PACKAGES),
    )


def _portkey_install() -> str:
    _made(_folder("portkey", PORTKEY), _portkey_make)
    return PORTKEY


def _portkey_launch(setup: Setup) -> Launch:
    package = _folder("portkey", PORTKEY) / "node_modules" / "@portkey-ai" / "gateway"
    return Launch(
        argv=(
            shutil.which("node") or "node",
            str(package / "build" / "start-server.js"),
            *("--headless", f"--port={setup.port}"),
        ),
        url=f"http://127.0.0.1:{setup.port}/v1/chat/completions",
        model="m",
        headers={
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": setup.upstream,
            "authorization": f"Bearer {SECRET}",
        },
    )


PEERS: tuple[Subject, ...] = (
    Subject(
        name="sglang-router",
        does="checks no key; parses the request and writes it anew, copies answer and events as bytes;"
        " retries, circuit breaker, metrics; no log line",
        install=_sglang_install,
        launch=_sglang_launch,
        start_s=30.0,
    ),
    Subject(
        name="TensorZero",
        does="checks no key; parses and writes anew request, answer and each event; stores nothing, no metrics,"
        " no log line (embedded gateway)",
        install=_tensorzero_install,
        launch=_tensorzero_launch,
        start_s=30.0,
    ),
    Subject(
        name="LiteLLM proxy",
        does="checks the master key, routes, parses and writes anew request, answer and each event, runs its"
        " hooks, reckons the cost; no log line",
        install=_litellm_install,
        launch=_litellm_launch,
        start_s=120.0,
    ),
    Subject(
        name="Portkey gateway",
        does="passes the key on unchecked; parses and writes anew request and answer, copies events singly;"
        " delays each stream 25 ms; no log line",
        install=_portkey_install,
        launch=_portkey_launch,
        start_s=30.0,
    ),
)
