"""Blackjack's returns, counted exactly."""

import gymnasium as gym
import numpy as np
import pytest

from gymformer.evaluation.blackjack import (
    CARDS,
    BlackjackState,
    Hand,
    _beginnings,
    blackjack_optimum,
    blackjack_return,
    blackjack_states,
    blackjack_visits,
    dealer_scores,
    natural_return,
    stick_return,
)

HANDS = 8000


def test_what_can_be_counted_by_hand():
    """A dealer with a hard 16 ends at 17 … 21 with one card each and busts with 6 to 10: 8 of 13. A soft 17 stands. Two aces are 12."""
    assert dealer_scores(Hand(16, False)) == pytest.approx(
        {17: 1 / 13, 18: 1 / 13, 19: 1 / 13, 20: 1 / 13, 21: 1 / 13, 0: 8 / 13}
    )
    assert dealer_scores(Hand(7, True)) == {17: 1.0} and Hand(2, True).value == 12 and not Hand(12, True).usable_ace
    states = blackjack_states()
    assert len(states) == 280 and {s.player_sum for s in states if s.usable_ace} == set(range(12, 22))
    assert min(s.player_sum for s in states) == 4


def test_a_natural_is_paid_as_the_registered_environment_pays_it():
    """Every second card of the dealer, weighted by its chance; a dealer who has to draw has lost whatever comes."""
    game = gym.make("Blackjack-v1").unwrapped
    for dealer in (1, 5, 10):
        expected = 0.0
        for card, chance in CARDS.items():
            game.reset(seed=card)
            game.player, game.dealer = [1, 10], [dealer, card]
            expected += chance * game.step(0)[1]
        assert natural_return(dealer) == pytest.approx(expected)
    # A policy that always sticks: 2/13 · 4/13 of all hands are naturals, and without their privilege it would bring so much less.
    sticks = dict.fromkeys(blackjack_states(), 0.0)
    flat = sum(p * stick_return(hand.value, dealer) for (hand, dealer), p in _beginnings().items())
    privilege = sum(p * (natural_return(dealer) - stick_return(21, dealer)) for dealer, p in CARDS.items())
    assert blackjack_return(sticks) - flat == pytest.approx(8 / 169 * privilege) and privilege > 0.07


def test_the_optimum_is_the_one_of_the_books():
    """Sutton and Barto, figure 5.2: sticks at 20 and 21 whatever the dealer shows, hits a 16 against a 10, and not against a 6."""
    best, policy = blackjack_optimum()
    assert best == pytest.approx(-0.0431, abs=1e-4)
    for (player, dealer, ace), hits in {(20, 10, 0): 0, (16, 10, 0): 1, (16, 6, 0): 0, (12, 2, 0): 1, (12, 4, 0): 0, (18, 9, 1): 1,
                                        (18, 8, 1): 0, (11, 5, 0): 1}.items():  # fmt: skip
        assert policy[BlackjackState(player, dealer, ace)] == hits, (player, dealer, ace)
    for state in list(policy)[::7]:
        assert blackjack_return(policy | {state: 1 - policy[state]}) <= best + 1e-12


def test_it_is_what_the_environment_pays():
    """8,000 hands of a policy that hits below 17 and at times above: four standard errors are 0.043."""
    hit = {state: float(state.player_sum < 17) if not state.usable_ace else 0.5 for state in blackjack_states()}
    env, rng, paid, met = gym.make("Blackjack-v1"), np.random.default_rng(0), [], 0
    hand, _ = env.reset(seed=0)
    for _ in range(HANDS):
        hand, _ = env.reset()
        over = False
        while not over:
            met += 1
            hand, reward, over, _, _ = env.step(int(rng.random() < hit[BlackjackState(*map(int, hand))]))
        paid.append(reward)
    assert np.mean(paid) == pytest.approx(blackjack_return(hit), abs=0.043)
    assert met / HANDS == pytest.approx(sum(blackjack_visits(hit).values()), abs=0.03)
