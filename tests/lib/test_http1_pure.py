"""Origins and proxy rules: decided without a socket."""

import pytest

from penstock.lib.http1 import Client, Origin
from penstock.lib.http1.dial import default_ssl_context
from penstock.lib.http1.proxy import Proxy, from_environment, proxy_for


@pytest.mark.parametrize(
    ("url", "origin", "path", "authority"),
    [
        ("https://api.x.com/v1", Origin("https", "api.x.com", 443), "/v1", "api.x.com"),
        ("https://API.x.com/v1/", Origin("https", "api.x.com", 443), "/v1", "api.x.com"),
        ("http://h:8000", Origin("http", "h", 8000), "", "h:8000"),
        ("http://h:80/", Origin("http", "h", 80), "", "h"),
        ("https://h:80", Origin("https", "h", 80), "", "h:80"),
        ("http://[::1]:9/a/b", Origin("http", "::1", 9), "/a/b", "[::1]:9"),
        ("http://bücher.example", Origin("http", "xn--bcher-kva.example", 80), "", "xn--bcher-kva.example"),
        ("unix:/run/e.sock", Origin("http", "localhost", 80, "/run/e.sock"), "", "localhost"),
        (
            "http+unix://%2Frun%2Fe.sock/v1",
            Origin("http", "localhost", 80, "/run/e.sock"),
            "/v1",
            "localhost",
        ),
    ],
)
def test_origins(url: str, origin: Origin, path: str, authority: str) -> None:
    assert Origin.parse(url) == (origin, path)
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "api.x.com",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x/?k=1",
        "https://x/#f",
        "http://x:y",
        "unix:r",
    ],
)
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Origin.parse(url)


def test_an_origin_in_words() -> None:
    assert str(Origin("https", "x", 443)) == "https://x"
    assert str(Origin("http", "localhost", 80, "/s")) == "unix:/s"


def test_proxies_from_an_environment() -> None:
    environ = {
        "http_proxy": "http://low",
        "HTTP_PROXY": "http://up",
        "HTTPS_PROXY": "http://s",
        "no_proxy": "a",
    }
    assert from_environment(environ) == {"http": "http://low", "https": "http://s", "no": "a"}
    assert from_environment({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}) == {}
    assert from_environment({"ALL_PROXY": "http://x", "https_proxy": ""}) == {"all": "http://x"}


def test_a_client_reads_the_environment_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://p")
    assert Client().proxies == {"https": "http://p"}
    assert Client(proxies={}).proxies == {}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p:3128", Proxy("p", 3128, None)),
        ("p:3128", Proxy("p", 3128, None)),
        ("http://p", Proxy("p", 80, None)),
        ("https://p", Proxy("p", 443, None, is_tls=True)),
        ("http://u:%40@p", Proxy("p", 80, b"Basic dTpA")),
        ("http://u@p", Proxy("p", 80, b"Basic dTo=")),
    ],
)
def test_proxy_urls(url: str, proxy: Proxy) -> None:
    assert Proxy.parse(url) == proxy


@pytest.mark.parametrize(
    ("host", "rules", "proxied"),
    [
        ("api.x.com", "", True),
        ("api.x.com", "*", False),
        ("api.x.com", "api.x.com", False),
        ("api.x.com", "x.com", False),
        ("api.x.com", ".x.com", False),
        ("x.com", ".x.com", True),
        ("api.x.com", "*.x.com", False),
        ("apix.com", "x.com", True),
        ("API.x.com", " X.COM , y", False),
        ("api.x.com", "api.x.com:443", False),
        ("api.x.com", "api.x.com:8443", True),
        ("api.x.com", ",,", True),
        ("10.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3:443", False),
        ("10.1.2.3", "10.1.2.3:80", True),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("fd00::1", "fd00::/8", False),
        ("fd00::1", "[fd00::1]:443", False),
        ("fd00::1", "fd00::1", False),
        ("localhost", "", False),
        ("a.localhost", "", False),
        ("127.8.8.8", "", False),
        ("::1", "", False),
    ],
)
def test_no_proxy(host: str, rules: str, proxied: bool) -> None:
    proxies = {"all": "http://p", "no": rules}
    assert (proxy_for(Origin("https", host, 443), proxies) is not None) is proxied


def test_the_scheme_chooses_the_proxy() -> None:
    proxies = {"http": "http://a", "all": "http://b"}
    assert proxy_for(Origin("http", "x", 80), proxies) == Proxy("a", 80, None)
    assert proxy_for(Origin("https", "x", 443), proxies) == Proxy("b", 80, None)
    assert proxy_for(Origin("http", "x", 80, "/socket"), proxies) is None
    assert proxy_for(Origin("http", "x", 80), {}) is None


def test_the_default_context_verifies() -> None:
    context = default_ssl_context()
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
