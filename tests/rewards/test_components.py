"""Terms of a reward: weighted, named, added."""

import pytest

from gymformer.rewards import RewardComponent, RewardSum


class Brevity(RewardComponent):
    def __init__(self, weight: float = 1.0):
        super().__init__(name="brevity", weight=weight, compute_fn=self._compute_reward)

    def _compute_reward(self, state: dict) -> float:
        return 1.0 / (1 + len(state["text"]))


def test_a_subclass_with_its_own_method_is_weighted():
    assert Brevity(weight=3.0)({"text": "ab"}) == pytest.approx(1.0)


def test_a_function_of_the_text_becomes_a_component():
    assert RewardComponent.of_text("length", len, weight=0.5)({"text": "abcd"}) == 2.0


def test_a_sum_adds_and_keeps_the_names():
    total = RewardSum([Brevity(2.0), RewardComponent.of_text("length", len, weight=-0.25)])
    state = {"text": "abc"}  # 2 / (1 + 3) and -0.25 · 3
    assert total.terms(state) == {"brevity": 0.5, "length": -0.75}
    assert total(state) == -0.25
    assert RewardSum([])(state) == 0.0


def test_weights_may_change_between_two_calls():
    component = Brevity()
    total = RewardSum([component])
    component.weight = 4.0
    assert total({"text": ""}) == 4.0


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match=r"the reward 'brevity' has weight (nan|inf); a weight is a finite number"):
        Brevity(weight)


def test_a_component_without_function_is_refused():
    with pytest.raises(ValueError, match="the reward 'empty' has no compute_fn"):
        RewardComponent("empty")


def test_two_components_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"need different names, got \['brevity', 'brevity'\]"):
        RewardSum([Brevity(), Brevity()])
