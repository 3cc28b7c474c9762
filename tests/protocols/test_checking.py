from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from penstock.protocols.checking import Checker
from penstock.types.errors import InvalidRequest


class Item(Struct):
    value: Annotated[int, Meta(ge=1)]


class Root(Struct):
    items: Annotated[list[Item], Meta(min_length=2)] | None = None
    by_name: dict[Annotated[str, Meta(max_length=3)], Item] | None = None
    anything: Any = None
    choice: Literal["one", "two"] | Item | None = None
    level: Annotated[float, Meta(ge=0.5, le=1.5)] | None = None
    text: Annotated[str, Meta(min_length=3)] | None = None
    flag: bool | None = None
    levels: dict[str, Annotated[float, Meta(ge=0, le=5)]] | None = None
    level_or_flag: bool | float | None = None
    share: Annotated[float, Meta(gt=0, le=1)] | None = None


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"items": [{"value": 1}]}, "items", "`items` must have at least 2 items."),
        (
            {"items": [{"value": 1}, {"value": 0}]},
            "items[1].value",
            "`items[1].value` is 0; it must be at least 1.",
        ),
        ({"items": [{"value": 1}, {}]}, "items[1].value", "`items[1].value` is required."),
        ({"by_name": {"a": {"value": "x"}}}, "by_name", "`by_name`"),
        ({"by_name": {"a": 1}}, "by_name", "`by_name`"),
        ({"levels": {"a": 1, "b": 7}}, "levels.b", "`levels.b` is 7; it must be from 0 to 5."),
        ({"by_name": {"long": {"value": 1}}}, "by_name", "has a key that is not allowed"),
        (
            {"choice": "on"},
            "choice",
            "`choice` is 'on'; allowed: one, two (or an object); did you mean 'one'?",
        ),
        ({"choice": "zzz"}, "choice", "`choice` is 'zzz'; allowed: one, two (or an object)."),
        ({"choice": []}, "choice", "`choice` must be one of: one, two or an object, not an array."),
        ({"level": 2}, "level", "`level` is 2; it must be from 0.5 to 1.5."),
        ({"share": 0}, "share", "`share` is 0; it must be above 0 and at most 1."),
        ({"share": 2}, "share", "`share` is 2; it must be above 0 and at most 1."),
        ({"text": "x"}, "text", "`text` must have at least 3 characters."),
        ({"flag": 1}, "flag", "`flag` must be a boolean, not an integer."),
        (
            {"level_or_flag": "x"},
            "level_or_flag",
            "`level_or_flag` must be a boolean or a number, not a string.",
        ),
    ],
)
def test_errors_say_what_is_allowed(body: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Checker(Root).check(body)
    assert str(caught.value.param).startswith(param)
    assert message in caught.value.message


def test_what_fits_is_converted() -> None:
    assert Checker(Root).check({"items": [{"value": 1}, {"value": 2}], "unknown": 1}).items == [
        Item(1),
        Item(2),
    ]
