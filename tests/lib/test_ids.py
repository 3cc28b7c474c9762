from penstock.lib.ids import is_sane_id, new_id


def test_new_ids_differ_and_are_sane() -> None:
    ids = {new_id("req_") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_sane_id(value) and value.startswith("req_") for value in ids)


def test_what_may_be_echoed() -> None:
    assert is_sane_id("trace-1:a.b_c")
    assert is_sane_id("x" * 128)
    for bad in ("", "x" * 129, "a b", "a\r\nx: y", "é", "-leading", "a\n"):
        assert not is_sane_id(bad), bad
