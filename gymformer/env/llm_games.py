"""Games of Gymnasium and MiniGrid that a language model can play: wrapped, never copied."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymformer.env.llm_env import LLMEnv, choices, fields

__all__ = ["BlackjackLLM", "CartPoleLLM", "FrozenLakeLLM", "LunarLanderLLM", "MiniGridEmptyLLM", "TaxiLLM"]

# MiniGrid's coding of a cell: minigrid.core.constants.OBJECT_TO_IDX, DIR_TO_VEC
MINIGRID_OBJECTS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
GOAL = MINIGRID_OBJECTS.index("goal")


def _game(env_ids: tuple[str, ...], render_mode: str | None, arguments: dict[str, Any]) -> gym.Env:
    """The first of `env_ids` that this Gymnasium has; they are versions of one game."""
    env_id = next((name for name in env_ids if name in gym.registry), env_ids[0])
    return gym.make(env_id, render_mode=render_mode, disable_env_checker=True, **arguments)


def _ordered(parts: Mapping[str, spaces.Space]) -> spaces.Dict:
    """The parts in this order; from a plain dict, Gymnasium would sort the names."""
    return spaces.Dict(OrderedDict(parts))


def _named(box: gym.Space, *names: str) -> spaces.Dict:
    """The entries of a vector, by name; each is a vector of one number."""
    assert isinstance(box, spaces.Box)
    low, high = box.low.astype(np.float32), box.high.astype(np.float32)
    return _ordered({name: spaces.Box(low[i : i + 1], high[i : i + 1]) for i, name in enumerate(names)})


def _by_name(space: spaces.Space, vector: np.ndarray) -> dict[str, np.ndarray]:
    assert isinstance(space, spaces.Dict)
    return {name: np.array([number], np.float32) for name, number in zip(space, vector, strict=True)}


class BlackjackLLM(LLMEnv):
    """Description: `Blackjack-v1`. Arguments: those of the game (natural, sab). Success: the hand is won."""

    def __init__(self, render_mode: str | None = None, **arguments: Any):
        game = _game(("Blackjack-v1",), render_mode, arguments)
        names = ("player_sum", "dealer_card", "usable_ace")
        super().__init__(game, _ordered(dict(zip(names, game.observation_space, strict=True))))  # type: ignore[arg-type]

    def observe(self, observation: tuple[int, int, int]) -> dict[str, Any]:
        return dict(zip(("player_sum", "dealer_card", "usable_ace"), map(int, observation), strict=True))

    def get_observation_schema(self) -> dict[str, Any]:
        return fields(player_sum="the sum of your cards", dealer_card="the dealer's open card; 1 is an ace",
                      usable_ace="1 if an ace of yours counts as 11 without a bust, else 0")  # fmt: skip

    def get_action_schema(self) -> dict[str, Any]:
        return choices("stick: take no more cards", "hit: take another card")

    def get_goal_description(self) -> str:
        return ("You play Blackjack against a dealer, who takes cards until 17 or more. Come as close to 21 as you can; whoever "
                "exceeds 21 has lost at once. Picture cards count 10, an ace 11 or 1.")  # fmt: skip

    def get_reward_description(self) -> str:
        return "1 for a win, 0 for a draw, -1 for a loss."

    def is_success(self, episode_return: float, terminated: bool) -> bool:
        return episode_return > 0


class LunarLanderLLM(LLMEnv):
    """Description: `LunarLander-v3`. Arguments: those of the game. Success: a return of 200 or more."""

    def __init__(self, render_mode: str | None = None, **arguments: Any):
        game = _game(("LunarLander-v3", "LunarLander-v2"), render_mode, arguments)
        names = ("x", "y", "velocity_x", "velocity_y", "angle", "angular_velocity", "left_leg", "right_leg")
        super().__init__(game, _named(game.observation_space, *names))

    def observe(self, observation: np.ndarray) -> dict[str, Any]:
        return _by_name(self.observation_space, observation)

    def get_observation_schema(self) -> dict[str, Any]:
        return fields(x="horizontal position; the pad is at 0, positive is right", y="height over the pad",
                      velocity_x="positive is rightward", velocity_y="negative is downward",
                      angle="in radians; 0 is upright, positive leans left", angular_velocity="positive turns to the left",
                      left_leg="1 if the left leg touches the ground", right_leg="1 if the right leg touches the ground")  # fmt: skip

    def get_action_schema(self) -> dict[str, Any]:
        return choices("do nothing", "fire the left engine: pushes right, turns left", "fire the main engine: pushes up",
                       "fire the right engine: pushes left, turns right")  # fmt: skip

    def get_goal_description(self) -> str:
        return "You steer a lander. Bring it down on the pad at (0, 0), upright and slowly, on both legs, with little fuel."

    def get_reward_description(self) -> str:
        return ("Every step pays for coming closer, slower and more upright, and 10 for each leg on the ground; engines cost "
                "0.03 (side) and 0.3 (main) a step; a crash costs 100, a landing pays 100.")  # fmt: skip


class TaxiLLM(LLMEnv):
    """Description: `Taxi-v4` (`Taxi-v3` where Gymnasium has no v4). Arguments: those of the game. Success: delivered in time."""

    def __init__(self, render_mode: str | None = None, **arguments: Any):
        game = _game(("Taxi-v4", "Taxi-v3"), render_mode, arguments)
        sizes = {"taxi_row": 5, "taxi_column": 5, "passenger": 5, "destination": 4}
        super().__init__(game, _ordered({name: spaces.Discrete(size) for name, size in sizes.items()}))

    def observe(self, observation: int) -> dict[str, Any]:
        row, column, passenger, destination = self.game.unwrapped.decode(int(observation))  # type: ignore[attr-defined]
        return {"taxi_row": row, "taxi_column": column, "passenger": passenger, "destination": destination}

    def get_observation_schema(self) -> dict[str, Any]:
        return fields(taxi_row="0 is the top", taxi_column="0 is the left",
                      passenger="0: at Red; 1: at Green; 2: at Yellow; 3: at Blue; 4: in the taxi",
                      destination="0: Red; 1: Green; 2: Yellow; 3: Blue")  # fmt: skip

    def get_action_schema(self) -> dict[str, Any]:
        return choices("move down (row + 1)", "move up (row - 1)", "move right (column + 1)", "move left (column - 1)",
                       "pick the passenger up", "drop the passenger off")  # fmt: skip

    def get_goal_description(self) -> str:
        rows = "\n".join(row.tobytes().decode() for row in self.game.unwrapped.desc)  # type: ignore[attr-defined]
        return ("You drive a taxi on a grid of 5 by 5. Go to the passenger, pick up, go to the destination, drop off. Red is at row 0, "
                "column 0; Green at row 0, column 4; Yellow at row 4, column 0; Blue at row 4, column 3. You cannot drive "
                f"through a | of the map:\n{rows}")  # fmt: skip

    def get_reward_description(self) -> str:
        return "-1 a step, 20 for the delivery, -10 for picking up or dropping off where that is not possible."

    def is_success(self, episode_return: float, terminated: bool) -> bool:
        return terminated


class CartPoleLLM(LLMEnv):
    """Description: `CartPole-v1`. Arguments: those of the game. Success: a return of 475 or more."""

    def __init__(self, render_mode: str | None = None, **arguments: Any):
        game = _game(("CartPole-v1",), render_mode, arguments)
        super().__init__(game, _named(game.observation_space, "position", "velocity", "angle", "angular_velocity"))

    def observe(self, observation: np.ndarray) -> dict[str, Any]:
        return _by_name(self.observation_space, observation)

    def get_observation_schema(self) -> dict[str, Any]:
        return fields(position="of the cart; positive is right", velocity="of the cart; positive is rightward",
                      angle="of the pole in radians; 0 is upright, positive leans right",
                      angular_velocity="of the pole; positive turns to the right")  # fmt: skip

    def get_action_schema(self) -> dict[str, Any]:
        return choices("push the cart to the left", "push the cart to the right")

    def get_goal_description(self) -> str:
        return "A pole stands on a cart. Keep it upright (within 0.2 radians) and the cart near 0 (within 2.4), for long."

    def get_reward_description(self) -> str:
        return "1 for every step."


class FrozenLakeLLM(LLMEnv):
    """Description: `FrozenLake-v1`. Arguments: those of the game (map_name, is_slippery, …). Success: the goal is reached."""

    def __init__(self, render_mode: str | None = None, **arguments: Any):
        game = _game(("FrozenLake-v1",), render_mode, arguments)
        rows, columns = game.unwrapped.desc.shape  # type: ignore[attr-defined]
        super().__init__(game, _ordered({"row": spaces.Discrete(rows), "column": spaces.Discrete(columns)}))

    def observe(self, observation: int) -> dict[str, Any]:
        row, column = divmod(int(observation), self.game.unwrapped.desc.shape[1])  # type: ignore[attr-defined]
        return {"row": row, "column": column}

    def get_observation_schema(self) -> dict[str, Any]:
        return fields(row="yours; 0 is the top", column="yours; 0 is the left")

    def get_action_schema(self) -> dict[str, Any]:
        return choices("left", "down", "right", "up")

    def get_goal_description(self) -> str:
        rows = "\n".join(row.tobytes().decode() for row in self.game.unwrapped.desc)  # type: ignore[attr-defined]
        slips = ", and the ice is slippery: you may go to the side of where you want to" if self._slips() else ""
        return f"You cross a frozen lake from S to G, over ice (F), without stepping into a hole (H){slips}. The map:\n{rows}"

    def get_reward_description(self) -> str:
        return "1 for reaching the goal."

    def is_success(self, episode_return: float, terminated: bool) -> bool:
        return episode_return > 0

    def _slips(self) -> bool:
        assert self.game.spec is not None
        return bool(self.game.spec.kwargs.get("is_slippery", True))


class MiniGridEmptyLLM(LLMEnv):
    """Description: `MiniGrid-Empty-Random-5x5-v0`: an empty room with a goal, entered at a random place.

    Observation: what lies ahead, and where the goal is seen from here, read off the image of 7 by 7 cells.
    Arguments: game_id: another of MiniGrid's empty rooms. Success: the goal is reached.
    """

    def __init__(self, render_mode: str | None = None, game_id: str = "MiniGrid-Empty-Random-5x5-v0"):
        import minigrid  # noqa: F401 - registers its environments

        parts = {"ahead": spaces.Discrete(len(MINIGRID_OBJECTS)), "goal_visible": spaces.Discrete(2),
                 "goal_ahead": spaces.Discrete(7), "goal_right": spaces.Discrete(7, start=-3),
                 "direction": spaces.Discrete(4)}  # fmt: skip
        super().__init__(_game((game_id,), render_mode, {}), _ordered(parts))

    def observe(self, observation: dict[str, Any]) -> dict[str, Any]:
        kinds = observation["image"][:, :, 0]  # (7, 7): [right, down], the agent at [3, 6] looking up
        places = np.argwhere(kinds == GOAL)
        right, down = map(int, places[0]) if len(places) else (3, 6)
        return {"ahead": int(kinds[3, 5]), "goal_visible": int(len(places) > 0), "goal_ahead": 6 - down,
                "goal_right": right - 3, "direction": int(observation["direction"])}  # fmt: skip

    def get_observation_schema(self) -> dict[str, Any]:
        things = "; ".join(f"{number}: {name}" for number, name in enumerate(MINIGRID_OBJECTS))
        return fields(ahead=f"what is in the next cell ahead of you ({things})", goal_visible="1 if you see the goal, else 0",
                      goal_ahead="cells that the goal lies ahead of you", goal_right="cells that it lies to your right; negative: left",
                      direction="where you look. 0: east; 1: south; 2: west; 3: north")  # fmt: skip

    def get_action_schema(self) -> dict[str, Any]:
        return choices("turn left", "turn right", "go ahead one cell", "pick up", "drop", "toggle", "done (does nothing)")

    def get_goal_description(self) -> str:
        return "You are in an empty room with walls around it. Turn and walk until you stand on the green goal."

    def get_reward_description(self) -> str:
        return "Up to 1 for reaching the goal, less the later."

    def is_success(self, episode_return: float, terminated: bool) -> bool:
        return episode_return > 0
