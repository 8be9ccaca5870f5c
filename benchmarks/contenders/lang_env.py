"""The environment of the contenders that play one: a fixed number of tokens, paid by the share of even ones."""

import gymnasium as gym
from gymnasium.spaces import Discrete, Sequence


class EvenTokens(gym.Env):
    """A token MDP that costs nothing: an observation is a random prompt and the tokens since."""

    def __init__(self, prompt: int, tokens: int, vocabulary: int):
        self.action_space = Discrete(vocabulary)
        self.observation_space = Sequence(Discrete(vocabulary))
        self.prompt, self.tokens = prompt, tokens  # how many
        self.text: tuple[int, ...] = ()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.text = tuple(self.np_random.integers(self.action_space.n, size=self.prompt).tolist())
        return self.text, {}

    def step(self, action: int):
        self.text = (*self.text, int(action))
        over = len(self.text) == self.prompt + self.tokens
        reward = sum(token % 2 == 0 for token in self.text[self.prompt :]) / self.tokens if over else 0.0
        return self.text, reward, over, False, {}
