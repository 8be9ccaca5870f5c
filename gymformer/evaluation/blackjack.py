"""What a policy of Gymnasium's Blackjack-v1 brings, exactly: every hand and every card counted, none of them drawn.

The rules are those that it is registered with (sab=True; Sutton and Barto, example 5.1): an endless deck, the dealer takes cards until
17 or more, soft ones included, an ace and a ten dealt (a natural) lose to nothing and draw with another natural alone, and every
win pays 1.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

__all__ = ["BlackjackState", "blackjack_optimum", "blackjack_return", "blackjack_states", "blackjack_visits"]

CARDS = {card: (4 if card == 10 else 1) / 13 for card in range(1, 11)}  # an ace is 1
GOAL, DEALER_STANDS, BUST = 21, 17, 0  # BUST is below every score
STICK, HIT = 0, 1


class BlackjackState(NamedTuple):
    """What the player sees, as the environment gives it."""

    player_sum: int
    dealer_card: int
    usable_ace: int


class Hand(NamedTuple):
    """Its value with each ace as 1, and whether there is one."""

    low: int
    has_ace: bool

    def with_card(self, card: int) -> "Hand":
        return Hand(self.low + card, self.has_ace or card == 1)

    @property
    def usable_ace(self) -> bool:
        return self.has_ace and self.low + 10 <= GOAL

    @property
    def value(self) -> int:
        return self.low + 10 * self.usable_ace


EMPTY = Hand(0, False)


@cache
def dealer_scores(hand: Hand) -> Mapping[int, float]:
    """score -> probability of it, with which the dealer ends who holds `hand`; BUST beyond 21."""
    if hand.low > GOAL:
        return {BUST: 1.0}
    if hand.value >= DEALER_STANDS:
        return {hand.value: 1.0}
    found: dict[int, float] = {}
    for card, probability in CARDS.items():
        for score, share in dealer_scores(hand.with_card(card)).items():
            found[score] = found.get(score, 0.0) + probability * share
    return found


def stick_return(player_sum: int, dealer_card: int) -> float:
    """P(the player is nearer to 21) - P(the dealer is)."""
    scores = dealer_scores(EMPTY.with_card(dealer_card)).items()
    return sum(p * ((player_sum > score) - (player_sum < score)) for score, p in scores)


def natural_return(dealer_card: int) -> float:
    """Of sticking to a natural: 1, and 0 where the dealer's other card makes one as well."""
    return 1.0 - (CARDS[11 - dealer_card] if dealer_card in (1, 10) else 0.0)


def _seen(hand: Hand, dealer_card: int) -> BlackjackState:
    return BlackjackState(hand.value, dealer_card, int(hand.usable_ace))


def _beginnings() -> dict[tuple[Hand, int], float]:
    """(the player's first two cards, the dealer's open one) -> probability."""
    found: dict[tuple[Hand, int], float] = {}
    for dealer, p in CARDS.items():
        for first, q in CARDS.items():
            for second, r in CARDS.items():
                key = EMPTY.with_card(first).with_card(second), dealer
                found[key] = found.get(key, 0.0) + p * q * r
    return found


def blackjack_states() -> list[BlackjackState]:
    """Every state in which the player may have to choose."""
    hands = {hand for hand, _ in _beginnings()}
    for _ in range(GOAL):  # an episode takes fewer cards
        hands |= {after for hand in hands for card in CARDS if (after := hand.with_card(card)).low <= GOAL}
    return sorted({_seen(hand, dealer) for hand in hands for dealer in CARDS})


def blackjack_return(hit: Mapping[BlackjackState, float]) -> float:
    """The expected return of the policy that hits with these probabilities. Raises KeyError for a state that it lacks."""

    @cache
    def value(hand: Hand, dealer: int, is_dealt: bool = False) -> float:
        if hand.low > GOAL:
            return -1.0
        p = hit[_seen(hand, dealer)]
        stick = natural_return(dealer) if is_dealt and hand.value == GOAL else stick_return(hand.value, dealer)
        return p * sum(q * value(hand.with_card(card), dealer) for card, q in CARDS.items()) + (1 - p) * stick

    return sum(p * value(hand, dealer, is_dealt=True) for (hand, dealer), p in _beginnings().items())


def blackjack_optimum() -> tuple[float, dict[BlackjackState, float]]:
    """The highest expected return, and a policy that has it: probabilities of hitting, 0 or 1."""

    @cache
    def values(hand: Hand, dealer: int) -> tuple[float, float]:
        """Of sticking, and of hitting."""
        drawn = sum(
            q * (max(values(after, dealer)) if (after := hand.with_card(card)).low <= GOAL else -1.0)
            for card, q in CARDS.items()
        )
        return stick_return(hand.value, dealer), drawn

    policy: dict[BlackjackState, float] = {}
    for state in blackjack_states():
        hand = Hand(state.player_sum - 10 * state.usable_ace, bool(state.usable_ace))
        stick, drawn = values(hand, state.dealer_card)
        policy[state] = float(drawn > stick)
    return blackjack_return(policy), policy


def blackjack_visits(hit: Mapping[BlackjackState, float]) -> dict[BlackjackState, float]:
    """How often each state is met in an episode of this policy, on average."""
    visits = dict.fromkeys(blackjack_states(), 0.0)
    hands = _beginnings()
    while hands:
        following: dict[tuple[Hand, int], float] = {}
        for (hand, dealer), p in hands.items():
            state = _seen(hand, dealer)
            visits[state] += p
            for card, q in CARDS.items():
                after = hand.with_card(card)
                if after.low <= GOAL and hit[state]:
                    following[after, dealer] = following.get((after, dealer), 0.0) + p * q * hit[state]
        hands = following
    return visits
