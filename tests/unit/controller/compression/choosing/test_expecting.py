"""What is expected of a network follows what was seen of others, the more the nearer they are."""

import pytest

from controller.compression.choosing.expecting import Scaled, Seen, expected, figures

DROP = 0.02


def pruned(keep: float) -> tuple[dict[str, object], ...]:
    return ({"op": "prune", "keep": keep},)


def test_accuracy_when_nothing_was_seen_then_is_that_of_the_version_the_surer_the_less_is_taken_away() -> None:
    near, far = (expected(pruned(keep), [], score=0.9, drop=DROP) for keep in (0.8, 0.1))
    assert near.mean == far.mean == 0.0
    assert near.deviation < far.deviation


def test_accuracy_when_a_neighbour_lost_much_then_is_expected_to_lose_the_more_the_nearer_it_is() -> None:
    seen = [Seen(pruned(0.25), -0.1, 10_000)]
    lost = [-expected(pruned(keep), seen, score=0.9, drop=DROP).mean for keep in (0.8, 0.5, 0.25, 0.15)]
    assert lost == sorted(lost)
    assert lost[2] == pytest.approx(0.1, abs=0.005)
    assert lost[3] == pytest.approx(lost[2])  # a walk: what comes after is as likely to rise as to fall


def test_accuracy_when_measured_on_few_samples_then_is_believed_less() -> None:
    told = {
        count: expected(pruned(0.5), [Seen(pruned(0.5), -0.02, count)], score=0.9, drop=DROP) for count in (20, 10**6)
    }
    assert -0.02 < told[20].mean < 0
    assert told[10**6].mean == pytest.approx(-0.02, abs=1e-4)
    assert told[20].deviation > told[10**6].deviation


def test_accuracy_when_more_was_lost_than_the_budget_expects_then_others_are_less_sure() -> None:
    calm, wild = (
        expected(pruned(0.5), [Seen(pruned(0.1), -lost, 10_000)], score=0.9, drop=DROP) for lost in (0.01, 0.3)
    )
    assert wild.deviation > 3 * calm.deviation


def test_costs_when_networks_were_measured_then_follow_their_power() -> None:
    base = {"size_bytes": 1000, "latency_p50_ms": 1.0}
    scaled = [Scaled(share, {"size_bytes": share, "latency_p50_ms": share**0.2}) for share in (0.1, 0.3, 0.5)]
    told = figures(pruned(0.2), base, scaled)
    assert told["size_bytes"] == pytest.approx(200)
    assert 0.2**0.27 < told["latency_p50_ms"] < 0.2**0.2


def test_costs_when_weights_are_binary_then_the_file_shrinks_and_the_latency_stays() -> None:
    base = {"size_bytes": 1600, "latency_p50_ms": 1.0}
    assert figures(({"op": "binarize"},), base, []) == {"size_bytes": 100.0, "latency_p50_ms": 1.0}
