"""Words of a recommendation."""

from __future__ import annotations

from selector.phrases import size


def test_sizes_stand_in_powers_of_a_thousand() -> None:
    assert [size(count) for count in (0, 1, 999, 160_000, 2_500_000, 3_000_000_000)] == [
        "0 bytes",
        "1 byte",
        "999 bytes",
        "160.0 kB",
        "2.5 MB",
        "3.0 GB",
    ]
