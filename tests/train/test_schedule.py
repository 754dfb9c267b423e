import pytest

from langpose_dist.train.schedule import learning_rate_factor


def factors(**options) -> list[float]:
    defaults = {"num_steps": 11, "warmup_steps": 2, "schedule": "cosine", "final_ratio": 0.1}
    return [learning_rate_factor(step, **(defaults | options)) for step in range(11)]


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert factors(warmup_steps=4)[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
def test_decay_falls_from_the_peak_to_the_final_ratio(schedule: str) -> None:
    values = factors(schedule=schedule)[2:]
    assert values[0] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True)


def test_middle_of_the_decays_by_hand() -> None:
    assert factors()[6] == pytest.approx(0.55)  # halfway between 1 and 0.1
    assert factors(schedule="exponential")[6] == pytest.approx(0.1**0.5)


def test_constant_stays_and_no_warm_up_starts_at_the_peak() -> None:
    assert factors(schedule="constant", warmup_steps=0) == [1.0] * 11
