"""What is measured: a program that stands between a client and an upstream, and how to start it.

A Subject is a row: its name, what it does for each request (printed beside its figure: the rows are not like
for like), how its environment is made and how it is started. Penstock and nginx are here, the peers in
`bench.peers`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path


class NotInstalled(Exception):
    """A subject that cannot run here; the text says why and is printed in its row."""


@dataclass(frozen=True)
class Setup:
    """What a subject is given before it starts."""

    upstream: str  # base URL of an OpenAI-compatible server, with /v1; it takes any key
    port: int  # to listen on, at 127.0.0.1
    work: Path  # an empty folder of its own, deleted afterwards
    keys: int = 1  # Penstock only: how many keys, routes and workers
    routes: int = 1
    workers: int = 1


@dataclass(frozen=True)
class Launch:
    """How to start it, and how to ask it for a chat completion."""

    argv: tuple[str, ...]
    url: str  # of POST chat completions
    model: str  # to name in requests
    headers: Mapping[str, str] = field(default_factory=dict)  # authorization and what else it wants
    env: Mapping[str, str] = field(default_factory=dict)  # added to PATH, HOME and LANG
    streams: bool = True  # whether it can stream


@dataclass(frozen=True)
class Subject:
    """One row of the comparison."""

    name: str
    does: str  # per request
    install: Callable[
        [], str
    ]  # makes its environment if it is missing; gives its version; raises NotInstalled
    launch: Callable[[Setup], Launch]  # writes its files into `setup.work`
    start_s: float = 60.0  # to answer its first request


def environments() -> Path:
    """Where peers are installed: outside the checkout, kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "penstock-bench"


SECRET = "sk-bench-0123456789abcdef"  # noqa: S105 - a key of a throw-away gateway


def penstock_argv(config: Path) -> tuple[str, ...]:
    """What it writes down lies beside the configuration, and goes away with it."""
    program = Path(sys.executable).with_name("penstock")
    return (str(program), "serve", "--config", str(config), "--data-dir", str(config.parent / "data"))


def _penstock_install() -> str:
    return version("penstock")


def _penstock_launch(setup: Setup) -> Launch:
    keys = [f"  k{i}: {{secret: {SECRET}{i:07d}}}" for i in range(setup.keys)]
    deployments = [f"  m{i}: {{provider: up, model: m}}" for i in range(setup.routes)]
    workers = f", workers: {setup.workers}" if setup.workers > 1 else ""
    config = "\n".join(
        [
            "builtin: off",
            f"server: {{host: 127.0.0.1, port: {setup.port}{workers}}}",
            f"providers: {{up: {{kind: openai-compatible, base_url: '{setup.upstream}', api_key: none}}}}",
            "deployments:",
            *deployments,
            "keys:",
            *keys,
            "",
        ]
    )
    path = setup.work / "penstock.yaml"
    path.write_text(config)
    return Launch(
        argv=penstock_argv(path),
        url=f"http://127.0.0.1:{setup.port}/v1/chat/completions",
        model=f"m{setup.routes - 1}",
        headers={"authorization": f"Bearer {SECRET}{setup.keys - 1:07d}"},
    )


def _nginx_install() -> str:
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        raise NotInstalled("nginx is missing: sudo apt install nginx-light")
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False)
    return (said.stderr or said.stdout).strip().rpartition("/")[2]


def _nginx_launch(setup: Setup) -> Launch:
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin") or "nginx"
    origin = setup.upstream.removeprefix("http://").removesuffix("/v1")
    path = setup.work / "nginx.conf"
    path.write_text(f"""
daemon off;
worker_processes 1;
pid {setup.work}/nginx.pid;
error_log {setup.work}/error.log crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_buffer_size 2m;
  client_max_body_size 64m;
  client_body_temp_path {setup.work}/body;
  proxy_temp_path {setup.work}/proxy;
  fastcgi_temp_path {setup.work}/f;
  uwsgi_temp_path {setup.work}/u;
  scgi_temp_path {setup.work}/s;
  upstream up {{ server {origin}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{setup.port} backlog=4096;
    location / {{
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
""")
    return Launch(
        argv=(nginx, "-e", str(setup.work / "error.log"), "-p", str(setup.work), "-c", str(path)),
        url=f"http://127.0.0.1:{setup.port}/v1/chat/completions",
        model="m",
    )


PENSTOCK = Subject(
    name="Penstock",
    does="checks the key, validates every field, finds the route, parses and writes anew request, answer and"
    " each event, accounts, counts in metrics, writes a log line",
    install=_penstock_install,
    launch=_penstock_launch,
)
NGINX = Subject(
    name="nginx",
    does="copies bytes; reads no JSON (the limit)",
    install=_nginx_install,
    launch=_nginx_launch,
    start_s=5.0,
)
