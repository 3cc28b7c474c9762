from penstock.types.identity import ROLES, lowest


def test_the_lowest_role_counts() -> None:
    assert lowest(["admin", "viewer", "developer"]) == "viewer"
    assert [lowest([role, "developer"]) for role in ROLES] == [*["developer"] * 4, "viewer"]
