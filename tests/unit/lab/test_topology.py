import pytest

from pushmirror.config.model import PushKind
from pushmirror.lab.network import plan


def names(sites: int, depth: int) -> list[str]:
    return [place.name for place in plan(sites, PushKind.STAGED, depth)]


@pytest.mark.parametrize(
    ("sites", "depth", "expected"),
    [
        (1, 1, "owner hub site1"),
        (3, 1, "owner hub site1 site2 site3"),
        (1, 2, "owner hub site1 site1a site1b"),
        (3, 2, "owner hub site1 site2 site3 site3a site3b"),
        (2, 3, "owner hub site1 site2 site2a site2b site2ba site2bb"),
    ],
)
def test_the_last_site_of_each_hub_is_a_hub_down_to_the_depth(sites: int, depth: int, expected: str) -> None:
    assert names(sites, depth) == expected.split()


def test_hubs_are_woken_with_their_sites_and_the_others_as_asked() -> None:
    pushed = {place.name: (place.push, place.is_hub) for place in plan(2, PushKind.ALL, 2)}
    assert pushed["owner"] == (PushKind.NONE, True)
    assert pushed["hub"] == pushed["site2"] == (PushKind.MHOP, True)
    assert pushed["site1"] == pushed["site2b"] == (PushKind.ALL, False)


def test_every_place_comes_after_the_one_that_it_mirrors() -> None:
    seen: set[str | None] = {None}
    for place in plan(3, PushKind.STAGED, 3):
        assert place.above in seen
        seen.add(place.name)
