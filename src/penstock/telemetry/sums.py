"""Metrics of several processes as one: what each of them counts, added up.

counters, histograms     added; of processes that died, too, or a scrape would see them fall
gauges                   added: requests in flight here and there
_HIGHEST                 the highest: what is one thing for all, and each has its own opinion of
"""

from collections.abc import Iterable, Sequence

import msgspec
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_HIGHEST = frozenset({"penstock_breaker_state", "penstock_deployment_down", "penstock_build_info"})

Labels = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True, array_like=True):
    """samples: their name, labels in order, value."""

    name: str
    said: str
    kind: str
    samples: list[tuple[str, Labels, float]]


Families = list[Family]
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Families).decode


def families(metrics: Iterable[Metric]) -> Families:
    return [
        Family(
            one.name,
            one.documentation,
            one.type,
            [(sample.name, tuple(sample.labels.items()), sample.value) for sample in one.samples],
        )
        for one in metrics
    ]


def summed(parts: Iterable[Families]) -> Families:
    """In the order in which they come first."""
    kinds: dict[str, Family] = {}
    tables: dict[str, dict[tuple[str, Labels], float]] = {}
    for part in parts:
        for family in part:
            kinds.setdefault(family.name, family)
            table = tables.setdefault(family.name, {})
            is_highest = family.name in _HIGHEST
            for name, labels, value in family.samples:
                key = name, labels
                known = table.get(key)
                if known is None:
                    table[key] = value
                else:
                    table[key] = max(known, value) if is_highest else known + value
    return [
        Family(name, family.said, family.kind, [(*key, value) for key, value in tables[name].items()])
        for name, family in kinds.items()
    ]


def counters(part: Families) -> Families:
    """What of a process outlives it."""
    return [family for family in part if family.kind in ("counter", "histogram")]


def text(part: Families) -> bytes:
    """The text exposition."""
    return generate_latest(_Given(part))


class _Given(Collector):
    def __init__(self, part: Sequence[Family]) -> None:
        self._part = part

    def collect(self) -> Iterable[Metric]:
        for family in self._part:
            metric = Metric(family.name, family.said, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric
